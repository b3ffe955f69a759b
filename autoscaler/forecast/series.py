"""One series: from samples at irregular ticks to quantiles of its mean and of its maximum over a window ahead."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from autoscaler.domain.demand import Quantiles, RateForecast
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.conformal import PROBABILITIES, Calibration
from autoscaler.forecast.minutes import LONGEST_SAMPLE, Minutes
from autoscaler.forecast.trend import TrendBank

Window: TypeAlias = tuple[int, int]
"""Minutes from now to the start of the planning window, and its length in minutes."""

GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45, 60)
"""Windows are calibrated at these minutes: a measured start-up time that drifts by seconds keeps its scores."""

DEVIATIONS = (0.0, 1.2816, 1.6449, 2.3263, 2.5758)
"""Of a normal distribution, at PROBABILITIES: the prior of a series without history."""

RUNAWAY = 3.0
"""No forecast exceeds so many times the highest minute of the last hour."""


def on_grid(horizon: Seconds) -> int:
    """Return the grid's minute that covers a horizon."""
    minutes = math.ceil(horizon / 60.0 - 1e-9)
    return next((g for g in GRID if g >= minutes), GRID[-1])


@dataclass(frozen=True, slots=True)
class Issued:
    """A forecast that waits for the truth."""

    minute: int  # the first minute that was unknown
    mean: float
    maximum: float
    scale: float
    mean_offsets: tuple[float, ...]
    maximum_offsets: tuple[float, ...]


@dataclass(slots=True)
class Ledger:
    """Forecasts and scores of one window."""

    mean: Calibration = field(default_factory=Calibration)
    maximum: Calibration = field(default_factory=Calibration)
    waiting: deque[Issued] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Offsets of other profiles' errors, for a profile without history."""

    mean: tuple[float, ...]
    maximum: tuple[float, ...]


@dataclass(slots=True)
class SeriesForecaster:
    """Level, trend, memory and calibration of one signal of one profile."""

    minutes: Minutes = field(default_factory=Minutes)
    bank: TrendBank = field(default_factory=TrendBank)
    ledgers: dict[Window, Ledger] = field(default_factory=dict)
    last: Instant | None = None  # of the newest sample
    usual: float = 0.0  # EWMA over 15 minutes, what errors are shares of
    seen_s: float = 0.0  # time behind it
    grain: float = 1.0  # variance x time of chance arrivals: load x E[X^2] / E[X]

    def observe(self, at: Instant, rate: float, grain: float) -> None:
        """Take in a sample: the rate since the last one, and the grain of its arrivals (its own unit, > 0)."""
        dt = LONGEST_SAMPLE if self.last is None else at - self.last
        if dt <= 0:
            return  # a clock that went back tells nothing new
        since = Instant(at - min(dt, 60.0)) if self.last is None else self.last
        measured = min(dt, 60.0)
        self.grain = grain
        self.bank.update(dt, rate, max(rate, self.bank.level, grain / measured) * grain / measured)
        memory = math.exp(-min(dt, 60.0) / 450.0)
        self.seen_s = self.seen_s * memory + measured
        self.usual += (rate - self.usual) * min(1.0, measured / self.seen_s)
        self.last = at
        if self.minutes.add(since, at, rate):
            self._settle()
            self._issue()

    def _settle(self) -> None:
        """Score every forecast whose window is over."""
        for (horizon, hold), ledger in self.ledgers.items():
            while ledger.waiting and ledger.waiting[0].minute + horizon + hold <= self.minutes.end:
                issued = ledger.waiting.popleft()
                came = self.minutes.between(issued.minute, issued.minute + horizon + hold)
                if len(came) < horizon + hold or any(math.isnan(value) for value in came):
                    continue  # a gap says nothing about the forecast
                mean = sum(came[horizon:]) / hold
                ledger.mean.add((mean - issued.mean) / issued.scale, issued.mean_offsets)
                ledger.maximum.add((max(came) - issued.maximum) / issued.scale, issued.maximum_offsets)

    def _issue(self) -> None:
        for window, ledger in self.ledgers.items():
            mean, maximum = self._centre(window, 0.0)
            priors = self._prior(window, 0.0)
            span = float(sum(window))
            ledger.waiting.append(
                Issued(
                    self.minutes.end,
                    mean,
                    maximum,
                    self._scale,
                    ledger.mean.blended(priors.mean, span),
                    ledger.maximum.blended(priors.maximum, span),
                )
            )

    @property
    def _scale(self) -> float:
        return max(self.usual, self.bank.level, self.grain / 60.0)

    @property
    def _cap(self) -> float:
        hour = [
            value for value in self.minutes.between(self.minutes.end - 60, self.minutes.end) if not math.isnan(value)
        ]
        return RUNAWAY * max([*hour, self.bank.level, self.grain / 60.0])

    def _centre(self, window: Window, late: float) -> tuple[float, float]:
        """Return the expected mean over a window and the highest expected level until its end."""
        horizon, hold = 60.0 * window[0] + late, 60.0 * window[1]
        inside = [self.bank.ahead(horizon + share * hold)[0] for share in (0.0, 0.5, 1.0)]
        highest = max(self.bank.level, self.bank.ahead(0.5 * horizon)[0], *inside)
        cap = self._cap
        return min((inside[0] + 2.0 * inside[1] + inside[2]) / 4.0, cap), min(highest, cap)

    def _prior(self, window: Window, late: float) -> Borrowed:
        """Return what the filter itself expects to err by, in shares of the scale."""
        horizon, hold = 60.0 * window[0] + late, 60.0 * window[1]
        variance = self.bank.ahead(horizon + 0.5 * hold)[1]
        chance = self.bank.roughness * max(self.bank.level, self.grain / 60.0) * self.grain
        mean = math.sqrt(variance + chance / hold) / self._scale
        peak = math.sqrt(variance + chance / 60.0) / self._scale
        lift = 0.5 * math.log2(1.0 + sum(window))  # the highest of several minutes lies above any one of them
        return Borrowed(
            tuple(z * mean for z in DEVIATIONS),
            tuple((z + 0.5 * lift) * peak for z in DEVIATIONS),
        )

    def watch(self, window: Window) -> Ledger:
        """Return the ledger of a window; a new one starts with the scores of the nearest."""
        if window not in self.ledgers:
            self.ledgers[window] = self._inherited(window)
        return self.ledgers[window]

    def _inherited(self, window: Window) -> Ledger:
        near = min(self.ledgers, key=lambda w: abs(math.log(sum(w) / sum(window))), default=None)
        if near is None:
            return Ledger()
        other = self.ledgers[near]
        return Ledger(mean=other.mean.copy(), maximum=other.maximum.copy())

    def forecast(self, at: Instant, horizon: Seconds, hold: Seconds, borrowed: Borrowed | None = None) -> RateForecast:
        """Return quantiles of the mean over [at + horizon, + hold] and of the maximum minute until then.

        The maximum is never below the present level, nor are the mean's P90 and above below half of it: the forecast
        adds to the present load, and taking capacity away is decided elsewhere.

        Raises:
            ValueError: there was no sample yet.
        """
        if self.last is None:
            msg = "no sample yet, so no forecast"
            raise ValueError(msg)
        window = (on_grid(horizon), on_grid(hold))
        ledger = self.watch(window)
        late = horizon - 60.0 * window[0] + max(0.0, at - self.last)
        late = max(late, -60.0 * window[0])
        mean, maximum = self._centre(window, late)
        priors = self._prior(window, late)
        if borrowed is not None:
            priors = _between(priors, borrowed)
        span, scale, now, cap = float(sum(window)), self._scale, self.bank.level, 2.0 * self._cap
        means = [mean + offset * scale for offset in ledger.mean.blended(priors.mean, span)]
        peaks = [maximum + offset * scale for offset in ledger.maximum.blended(priors.maximum, span)]
        floors = [0.0 if q < 0.9 else 0.5 * now for q in PROBABILITIES]
        return RateForecast(
            horizon=horizon,
            now=now,
            mean=Quantiles(PROBABILITIES, _clipped(means, floors, cap)),
            maximum=Quantiles(PROBABILITIES, _clipped(peaks, [now] * len(peaks), cap)),
        )


def _between(one: Borrowed, other: Borrowed) -> Borrowed:
    return Borrowed(
        tuple((a + b) / 2.0 for a, b in zip(one.mean, other.mean, strict=True)),
        tuple((a + b) / 2.0 for a, b in zip(one.maximum, other.maximum, strict=True)),
    )


def _clipped(levels: Sequence[float], floors: Sequence[float], cap: float) -> tuple[float, ...]:
    """Return levels between floor and cap that never fall with the probability."""
    out: list[float] = []
    for level, floor in zip(levels, floors, strict=True):
        bounded = max(min(level, cap), floor, 0.0)
        out.append(max(bounded, out[-1]) if out else bounded)
    return tuple(out)
