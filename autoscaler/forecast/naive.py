"""Forecasters that any better one has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.forecast.memory import SPANS, Memory, look_ahead
from autoscaler.performance.step import FloatArray


@dataclass(slots=True)
class LastValue:
    """The last minute goes on."""

    name: str = "last-value"
    needs: int = 0
    every: int = 0
    prior: float = 1.0

    @staticmethod
    def fit(several: Sequence["LastValue"], memories: Sequence[Memory]) -> None:
        """Learn nothing."""

    @staticmethod
    def predict(several: Sequence["LastValue"], memories: Sequence[Memory]) -> FloatArray:  # noqa: ARG004 - all alike
        """Return the mean of the last minute, for every node."""
        return np.array([[memory.latest] for memory in memories])


@dataclass(slots=True)
class Ewma:
    """The exponential average goes on."""

    span: int
    needs: int = 0
    every: int = 0
    prior: float = 1.0

    @property
    def name(self) -> str:
        """Return the name with the span in minutes."""
        return f"ewma{self.span}"

    @staticmethod
    def fit(several: Sequence["Ewma"], memories: Sequence[Memory]) -> None:
        """Learn nothing."""

    @staticmethod
    def predict(several: Sequence["Ewma"], memories: Sequence[Memory]) -> FloatArray:
        """Return the average, for every node."""
        spans = [SPANS.index(each.span) for each in several]
        return np.array([[memory.levels[span]] for memory, span in zip(memories, spans, strict=True)])


@dataclass(slots=True)
class RollingQuantile:
    """A quantile of the last ten minutes goes on (0.5: what to expect; 0.95: a bound)."""

    probability: float = 0.5
    minutes: int = 10
    name: str = "rolling-quantile"
    needs: int = 1
    every: int = 0
    prior: float = 1.0

    @staticmethod
    def fit(several: Sequence["RollingQuantile"], memories: Sequence[Memory]) -> None:
        """Learn nothing."""

    @staticmethod
    def predict(several: Sequence["RollingQuantile"], memories: Sequence[Memory]) -> FloatArray:
        """Return the quantile of the last minutes that are no gaps, for every node."""
        newest = np.full((len(several), max(each.minutes for each in several)), np.nan)
        for row, each, memory in zip(newest, several, memories, strict=True):
            past = memory.minutes.between(memory.minutes.end - each.minutes, memory.minutes.end)
            row[: len(past)] = past
        newest.sort(axis=1)  # gaps last
        last = (~np.isnan(newest)).sum(axis=1) - 1
        rank = np.array([each.probability for each in several]) * last
        low = np.maximum(rank.astype(np.int64), 0)
        ends = np.take_along_axis(newest, np.stack([low, np.clip(low + 1, 0, np.maximum(last, 0))], axis=1), axis=1)
        said = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * (rank - low)
        latest = np.array([memory.latest for memory in memories])
        return np.where(last < 0, latest, said)[:, None]


@dataclass(slots=True)
class Trend:
    """The damped local trend of the filter bank."""

    name: str = "damped-trend"
    needs: int = 0
    every: int = 0
    prior: float = 1.0

    @staticmethod
    def fit(several: Sequence["Trend"], memories: Sequence[Memory]) -> None:
        """Learn nothing: the filters adapt with every sample."""

    @staticmethod
    def predict(several: Sequence["Trend"], memories: Sequence[Memory]) -> FloatArray:  # noqa: ARG004 - all alike
        """Return level plus fading slope at each node."""
        look_ahead(memories)
        return np.array([memory.ahead()[0] for memory in memories])
