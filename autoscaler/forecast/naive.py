"""Forecasters that any better one has to beat."""

from dataclasses import dataclass

from autoscaler.forecast.memory import SPANS, Memory
from autoscaler.performance.step import FloatArray


@dataclass(slots=True)
class LastValue:
    """The last minute goes on."""

    name: str = "last-value"
    needs: int = 0
    every: int = 0
    prior: float = 1.0

    def fit(self, memory: Memory) -> None:
        """Learn nothing."""

    def predict(self, memory: Memory) -> float:
        """Return the mean of the last minute, for every node."""
        return memory.latest


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

    def fit(self, memory: Memory) -> None:
        """Learn nothing."""

    def predict(self, memory: Memory) -> float:
        """Return the average, for every node."""
        return memory.levels[SPANS.index(self.span)]


@dataclass(slots=True)
class RollingQuantile:
    """A quantile of the last ten minutes goes on (0.5: what to expect; 0.95: a bound)."""

    probability: float = 0.5
    minutes: int = 10
    name: str = "rolling-quantile"
    needs: int = 1
    every: int = 0
    prior: float = 1.0

    def fit(self, memory: Memory) -> None:
        """Learn nothing."""

    def predict(self, memory: Memory) -> float:
        """Return the quantile of the last minutes that are no gaps, for every node."""
        end = memory.minutes.end
        newest: list[float] = memory.minutes.between(end - self.minutes, end).tolist()
        seen = sorted(v for v in newest if v >= 0.0)
        if not seen:
            return memory.latest
        rank = self.probability * (len(seen) - 1)
        low = int(rank)
        high = min(low + 1, len(seen) - 1)
        return seen[low] + (seen[high] - seen[low]) * (rank - low)


@dataclass(slots=True)
class Trend:
    """The damped local trend of the filter bank."""

    name: str = "damped-trend"
    needs: int = 0
    every: int = 0
    prior: float = 1.0

    def fit(self, memory: Memory) -> None:
        """Learn nothing: the filters adapt with every sample."""

    def predict(self, memory: Memory) -> FloatArray:
        """Return level plus fading slope at each node."""
        return memory.ahead()[0]
