"""A forecaster by itself: fit on past minutes, updated minute by minute, asked for quantiles.

The same experts, mixture and calibration as in the controller, on a grid of minutes: what the benchmark, the
conformance suite and reports use.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np

from autoscaler.domain.demand import Quantiles
from autoscaler.domain.units import Instant
from autoscaler.forecast.autoregression import Autoregression
from autoscaler.forecast.conformal import PROBABILITIES
from autoscaler.forecast.experts import AnyExpert, Council, all_experts
from autoscaler.forecast.learned import Kind, Learned
from autoscaler.forecast.naive import Ewma, LastValue, RollingQuantile, Trend
from autoscaler.forecast.seasonal import DayProfile
from autoscaler.forecast.series import SeriesForecaster
from autoscaler.performance.step import FloatArray

CALIBRATED_ON = 1440
"""Minutes at the end of the past on which forecasts are made and scored; what lies farther back is learned from."""

EXPERTS: Mapping[str, Callable[[], AnyExpert]] = MappingProxyType(
    {
        "last-value": LastValue,
        "ewma3": lambda: Ewma(3),
        "ewma10": lambda: Ewma(10),
        "ewma30": lambda: Ewma(30),
        "rolling-quantile": RollingQuantile,
        "damped-trend": Trend,
        "autoregression": Autoregression,
        "day-profile": DayProfile,
        "ridge": lambda: Learned(Kind.RIDGE),
        "boosting": lambda: Learned(Kind.BOOSTING),
        "boosting-q95": lambda: Learned(Kind.BOOSTING_Q95),
    }
)
MIXTURE = "mixture"


class Forecaster(Protocol):
    """Forecasts one series of minutes."""

    def fit(self, values: FloatArray, first: int = 0) -> None:
        """Begin anew with a past: rates by minute, oldest first, NaN where there is a gap; trains what is due."""
        ...

    def update(self, value: float) -> None:
        """Take in the next minute's rate; NaN: a gap. Never trains."""
        ...

    def predict(self, horizons: Sequence[int], quantiles: Sequence[float]) -> FloatArray:
        """Return quantiles (in [0.5, 1)) of the minute ``h`` minutes ahead, shape (horizons, quantiles)."""
        ...


class MinuteForecaster:
    """A calibrated expert, or the mixture of all, on a grid of minutes."""

    def __init__(self, name: str = MIXTURE, *, grain: float = 1.0) -> None:
        """Take the forecaster of that name, not fitted yet.

        Args:
            name: one of ``EXPERTS``, or ``mixture``.
            grain: what one arrival adds to the load per second (E[X^2]/E[X] of its tokens; 1 for requests).

        Raises:
            KeyError: there is no such expert.
        """
        self._experts = all_experts if name == MIXTURE else lambda: [EXPERTS[name]()]
        if name != MIXTURE:
            EXPERTS[name]  # a wrong name fails here and not at the first fit
        self.grain = grain
        self.fit(np.empty(0))

    def fit(self, values: FloatArray, first: int = 0) -> None:
        """Begin anew with a past; see ``Forecaster``."""
        self.series = SeriesForecaster(council=Council.of(*self._experts()))
        self.next = first
        for value in values[:-CALIBRATED_ON].tolist():
            self._take(value, self.series.remember)
        self.train()
        for value in values[-CALIBRATED_ON:].tolist():
            self._take(value, self.series.observe)
        self.train()

    def train(self) -> None:
        """Train, here and now, what is due."""
        for job in self.series.training_jobs():
            self.series.adopt(job.run())

    def update(self, value: float) -> None:
        """Take in the next minute; see ``Forecaster``."""
        self._take(value, self.series.observe)

    def _take(self, value: float, into: Callable[[Instant, float, float], object]) -> None:
        self.next += 1
        at = Instant(60.0 * self.next)
        if not np.isnan(value):
            into(at, value, self.grain)
        elif self.series.last is not None:
            self.series.pass_over(at)

    def predict(self, horizons: Sequence[int], quantiles: Sequence[float]) -> FloatArray:
        """Return quantiles; see ``Forecaster``.

        Raises:
            ValueError: a quantile lies outside [0.5, 1), or no value has been seen yet.
        """
        if any(not PROBABILITIES[0] <= q < 1.0 for q in quantiles):
            msg = f"quantiles {tuple(quantiles)}: bounds are known from {PROBABILITIES[0]} up to 1 (excluded)"
            raise ValueError(msg)
        path = self.series.path()
        bounds = [Quantiles(PROBABILITIES, self.series.point(path, horizon)[1]) for horizon in horizons]
        return np.array([[bound.at(q) for q in quantiles] for bound in bounds])
