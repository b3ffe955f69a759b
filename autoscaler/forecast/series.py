"""One series: from samples at irregular ticks to quantiles of its mean and of its maximum over a window ahead."""

import bisect
import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from autoscaler.domain.demand import Quantiles
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast import experts, records
from autoscaler.forecast.calendar import LoadEvent, factor_at
from autoscaler.forecast.conformal import PROBABILITIES, Calibration
from autoscaler.forecast.experts import AnyExpert, Council
from autoscaler.forecast.learned import Model, TrainingJob, training_job
from autoscaler.forecast.memory import SECONDS, Memory, along
from autoscaler.forecast.minutes import HOUR, Minutes
from autoscaler.forecast.onoff import OnOff
from autoscaler.forecast.state import TRANSIENT

Window: TypeAlias = tuple[int, int]
"""Minutes from now to the start of the planning window, and its length in minutes."""


class Target(StrEnum):
    """What is said of a window."""

    MEAN = "mean"  # over the window
    HIGHEST = "highest"  # minute from now to the window's end


GRID = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45, 60)
"""Windows are calibrated at these minutes: a measured start-up time that drifts by seconds keeps its scores."""

DEVIATIONS = (0.0, 1.2816, 1.6449, 2.3263, 2.5758)
"""At PROBABILITIES: the prior of a series without history, normal. Heavier tails (1.4 to 3.3) covered half a point
more and bought more than that (``docs/reference/forecast-short.md``)."""

MEAN_ERROR = 0.8
"""Mean absolute error of a normal distribution, in deviations."""

UPPER = 0.9
"""From this probability on, a quantile is a bound to plan with."""

TOGETHER = 256
"""Series that are computed at once: more make arrays that leave the processor's caches and fill the memory."""

ON_SHARE = 0.2
"""Errors of an on/off load are shares of at least so much of its on-level."""


@functools.lru_cache(maxsize=1024)
def on_grid(horizon: Seconds) -> int:
    """Return the grid's minute that covers a horizon."""
    minutes = math.ceil(horizon / 60.0 - 1e-9)
    return GRID[min(bisect.bisect_left(GRID, minutes), len(GRID) - 1)]


@dataclass(frozen=True, slots=True)
class Issued:
    """A forecast that waits for the truth."""

    minute: int  # the first that was unknown when it was made
    expected: float
    level: float
    spread: float
    offsets: tuple[float, ...]
    prior: float  # of the spread

    def bounds(self) -> tuple[float, ...]:
        """Return the quantiles that this forecast stands for, before caps."""
        return tuple([max(0.0, self.expected + offset * self.level * self.spread) for offset in self.offsets])


@dataclass(slots=True)
class Ledger:
    """Forecasts and scores of one target and window."""

    scores: Calibration = field(default_factory=Calibration)
    waiting: list[Issued] = field(default_factory=list)

    def settle(self, target: Target, window: Window, minutes: Minutes) -> None:
        """Score every forecast whose window is over; a gap in it says nothing."""
        horizon, span = window[0], sum(window)
        while self.waiting and self.waiting[0].minute + span <= minutes.end:
            issued = self.waiting.pop(0)
            came = minutes.between(issued.minute, issued.minute + span)
            if len(came) < span or np.isnan(came).any():
                continue
            truth = float(came[horizon:].mean()) if target is Target.MEAN else float(came.max())
            error = (truth - issued.expected) / issued.level
            self.scores.add(error, issued.spread, issued.offsets, issued.prior, span)


@dataclass(slots=True)
class SeriesForecaster:
    """Memory, experts and calibration of one signal of one profile."""

    memory: Memory = field(default_factory=Memory)
    council: Council = field(default_factory=Council)
    states: OnOff = field(default_factory=OnOff)
    ledgers: dict[Target, dict[Window, Ledger]] = field(default_factory=lambda: {target: {} for target in Target})
    foreseen: list[float] | None = field(default=None, metadata=TRANSIENT)  # the path from the newest sample on

    @property
    def last(self) -> Instant | None:
        """Return the time of the newest sample; None: there was none."""
        return self.memory.last

    @classmethod
    def of(cls, *chosen: AnyExpert) -> "SeriesForecaster":
        """Return a forecaster that listens to the given experts instead of to all."""
        return cls(council=Council.of(*chosen))

    def observe(self, at: Instant, rate: float, grain: float) -> None:
        """Take in a sample.

        Args:
            at: now; not later than the sample before it: ignored.
            rate: the load since the last sample, >= 0.
            grain: load times this is variance times seconds of chance arrivals (1 for requests; E[X^2]/E[X] for
                tokens), > 0.
        """
        turn([(self, self.remember(at, rate, grain))])

    def remember(self, at: Instant, rate: float, grain: float) -> int:
        """Take in a sample; return how many minutes it completed: unless ``turn`` closes them nothing is scored there.

        So a sample of the farther past is learned from as cheaply as possible.
        """
        self.foreseen = None
        return self.memory.add(at, rate, grain)

    def forget(self, start: int, end: int) -> None:
        """Turn minutes ``start`` to ``end`` (excluded) into a gap: what was measured there was no load."""
        self.foreseen = None
        self.memory.minutes.forget(start, end)

    def issue(self, path: list[float]) -> None:
        """Score forecasts of windows that are over by now, and make those that begin here."""
        self.foreseen = path
        off = self.states.is_off(self.memory.usual)
        for target, ledgers in self.ledgers.items():
            for window, ledger in ledgers.items():
                ledger.settle(target, window, self.memory.minutes)
                if not off:
                    ledger.waiting.append(self._issued(path, target, window, 0.0, None))

    def _issued(
        self, path: Sequence[float], target: Target, window: Window, late: float, borrowed: tuple[float, ...] | None
    ) -> Issued:
        horizon, hold, span = 60.0 * window[0] + late, 60.0 * window[1], float(sum(window))
        expected = _expected(path, target, horizon, hold)
        level = max(self.memory.share, ON_SHARE * self.states.on_level if self.states.applies else 0.0)
        prior = MEAN_ERROR * self._doubt(target, horizon, hold) / level
        scores = self.watch(window, target).scores
        spread = scores.spread(prior)
        floor = (self.memory.bank.cautious_level - expected) / (level * spread)
        offsets = _lifted(scores.blended(borrowed or _normal(target, span), span), floor)
        return Issued(self.memory.minutes.end, expected, level, spread, offsets, prior)

    def _doubt(self, target: Target, horizon: float, hold: float) -> float:
        """Return the deviation that the filters themselves expect."""
        bank, grain = self.memory.bank, self.memory.grain
        variance = along(self.memory.ahead()[1], horizon + 0.5 * hold)
        chance = bank.roughness * max(bank.level, grain / 60.0) * grain
        return math.sqrt(variance + chance / (hold if target is Target.MEAN else 60.0))

    def watch(self, window: Window, target: Target = Target.MEAN) -> Ledger:
        """Return the ledger of a window; a new one starts with the scores of the nearest."""
        ledgers = self.ledgers[target]
        if window not in ledgers:
            near = min(ledgers, key=lambda w: abs(math.log(sum(w) / sum(window))), default=None)
            ledgers[window] = Ledger() if near is None else Ledger(ledgers[near].scores.copy())
        return ledgers[window]

    def training_jobs(self) -> tuple[TrainingJob, ...]:
        """Return what should be learned (anew) now; whoever runs a job hands its model to ``adopt``."""
        minutes, learners = self.memory.minutes, self.council.learners()
        return tuple(
            training_job(learner.kind, self.memory)
            for learner in learners
            if minutes.count >= learner.needs and learner.due(minutes.end)
        )

    def adopt(self, model: Model) -> None:
        """Let the expert of the model's kind speak with it from the next minute on."""
        for learner in self.council.learners():
            if learner.kind is model.kind:
                learner.model = model

    def path(self, events: Sequence[LoadEvent] = ()) -> Sequence[float]:
        """Return the load expected at each of ``NODES``, known events included.

        Raises:
            ValueError: there was no sample yet.
        """
        if self.memory.last is None:
            msg = "no sample yet, so no forecast"
            raise ValueError(msg)
        ask([self])
        path = self.foreseen or []
        if not events:
            return path
        return [level * factor for level, factor in zip(path, self._factors(self.memory.last, events), strict=True)]

    @staticmethod
    def _factors(now: Instant, events: Sequence[LoadEvent]) -> list[float]:
        """Return what events make of the load at each of ``NODES``, times what they make of it now."""
        here = factor_at(events, now)
        return [factor_at(events, Instant(now + offset)) / here for offset in SECONDS]

    def lift(self, events: Sequence[LoadEvent]) -> float:
        """Return how many times the present load events announce at most; 1 without any."""
        return 1.0 if self.memory.last is None else max(1.0, *self._factors(self.memory.last, events))

    def pass_over(self, at: Instant) -> None:
        """Note that nothing is known up to ``at``: minutes close as gaps, uncertainty grows with the next sample."""
        turn([(self, self.memory.minutes.add(at, at, 0.0))])

    def point(self, path: Sequence[float], horizon: int) -> tuple[float, tuple[float, ...]]:
        """Return the expected load of the minute that ends ``horizon`` minutes ahead, and its quantiles."""
        issued = self._issued(path, Target.MEAN, (horizon - 1, 1), 0.0, None)
        ahead = float(horizon)
        return issued.expected, self._bounded(issued, ahead, self._caps(ahead, 1.0))

    def _caps(self, ahead: float, lift: float) -> Sequence[float]:
        """Return what no bound exceeds, by probability: announced events ``lift`` what the last hour allows."""
        if self.states.applies:
            return [max(self.memory.bank.level, self.states.highest)] * len(PROBABILITIES)
        peak = self.memory.highest(HOUR)
        passed = records.chance(self.memory.minutes, self.memory.bank.level, ahead)
        return [lift * peak * factor for factor in _growth(passed)]

    def _bounded(
        self, issued: Issued, ahead: float, caps: Sequence[float], *, highest: bool = False
    ) -> tuple[float, ...]:
        """Return the quantiles of a forecast that reaches ``ahead`` minutes, capped, upper ones not below the load now.

        ``highest``: it is of the highest load until then, none of whose quantiles lies below the load now.
        """
        now, states = self.memory.bank.level, self.states
        levels = issued.bounds()
        if states.is_off(self.memory.usual):
            levels = tuple(
                max(min(level, states.threshold), states.bound(q, ahead, now, highest=highest))
                for q, level in zip(PROBABILITIES, levels, strict=True)
            )
        floors = [now if highest or q >= UPPER else 0.0 for q in PROBABILITIES]
        return _clipped(levels, floors, caps)

    def forecast(
        self,
        path: Sequence[float],
        horizon: Seconds,
        hold: Seconds,
        *,
        target: Target = Target.MEAN,
        age: float = 0.0,
        borrowed: tuple[float, ...] | None = None,
        lift: float = 1.0,
    ) -> Quantiles:
        """Return quantiles of the mean over [now + horizon, + hold], or of the highest minute until then.

        The highest is never below the present level, nor are the mean's P90 and above: the forecast adds to the present
        load, and taking capacity away is decided elsewhere.

        Args:
            path: what ``path`` returned for this tick.
            horizon: seconds from now to the start of the window, > 0.
            hold: seconds that the window lasts, > 0.
            target: which of both; scores are kept from the first time on that it is asked for.
            age: seconds since the newest sample.
            borrowed: offsets of other profiles' errors, at PROBABILITIES, for a series without enough of its own.
            lift: what ``lift`` returned for this tick.
        """
        window = (on_grid(horizon), on_grid(hold))
        late = max(horizon - 60.0 * window[0] + age, -60.0 * window[0])
        issued = self._issued(path, target, window, late, borrowed)
        ahead = float(sum(window))
        highest = target is Target.HIGHEST
        return Quantiles(PROBABILITIES, self._bounded(issued, ahead, self._caps(ahead, lift), highest=highest))


def turn(closing: Iterable[tuple[SeriesForecaster, int]]) -> None:
    """Close as many minutes of each series as are said: learn from them, and issue forecasts from their end."""
    alike: dict[tuple[int, int], list[SeriesForecaster]] = {}
    for series, completed in closing:
        if completed:
            alike.setdefault((series.memory.minutes.end, completed), []).append(series)
    for (end, completed), each in alike.items():
        if end % HOUR < completed:
            for series in each:
                series.states.learn(series.memory.minutes.values)
        for several in _together(each):
            memories = [series.memory for series in several]
            paths = experts.turn([series.council for series in several], memories, completed)
            for series, path in zip(several, paths.tolist(), strict=True):
                series.issue(path)


def ask(several: Iterable[SeriesForecaster]) -> None:
    """Ask the experts of several series at once, as far as they were not asked since the newest sample."""
    due = [series for series in several if series.foreseen is None and series.last is not None]
    for some in _together(due):
        paths = experts.paths([series.council for series in some], [series.memory for series in some])
        for series, path in zip(some, paths.tolist(), strict=True):
            series.foreseen = path


def _together(several: Sequence[SeriesForecaster]) -> Iterator[Sequence[SeriesForecaster]]:
    return (several[start : start + TOGETHER] for start in range(0, len(several), TOGETHER))


def _expected(path: Sequence[float], target: Target, horizon: float, hold: float) -> float:
    """Return the expected mean over a window, or the highest expected level until its end."""
    first, middle, last = (along(path, horizon + part * hold) for part in (0.0, 0.5, 1.0))
    if target is Target.MEAN:
        return (first + 2.0 * middle + last) / 4.0
    return max(along(path, 0.0), along(path, 0.5 * horizon), first, middle, last)


@functools.lru_cache(maxsize=1024)
def _growth(passed: float) -> tuple[float, ...]:
    """Return ``records.factor`` at each of PROBABILITIES."""
    return tuple(records.factor(passed, q) for q in PROBABILITIES)


@functools.cache
def _normal(target: Target, span: float) -> tuple[float, ...]:
    """Return the offsets of a series without history, by the minutes of a window: those of a normal distribution."""
    # the highest of several minutes lies above any one of them
    lift = 0.25 * math.log2(1.0 + span) if target is Target.HIGHEST else 0.0
    return tuple((z + lift) / MEAN_ERROR for z in DEVIATIONS)


def _lifted(offsets: Sequence[float], floor: float) -> tuple[float, ...]:
    """Return offsets of which those of upper quantiles do not lie below ``floor``, the present level."""
    return tuple(
        [offset if q < UPPER else max(offset, floor) for q, offset in zip(PROBABILITIES, offsets, strict=True)]
    )


def _clipped(levels: Sequence[float], floors: Sequence[float], caps: Sequence[float]) -> tuple[float, ...]:
    """Return levels between floor and cap that never fall with the probability."""
    least, out = 0.0, []
    for level, floor, cap in zip(levels, floors, caps, strict=True):
        least = max(least, min(level, cap), floor)
        out.append(least)
    return tuple(out)
