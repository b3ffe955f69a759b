"""The room's door: loads of every profile in, the demand to plan for out.

Pure and deterministic: "now" is an argument, the state is explicit and can be written down and taken up again.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from autoscaler.domain.demand import Demand, ProfileDemand, Quantiles, RateForecast
from autoscaler.domain.observation import Moments, ProfileLoad
from autoscaler.domain.policy import Calendar
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.calendar import LoadEvent
from autoscaler.forecast.learned import Model, TrainingJob
from autoscaler.forecast.memory import USUAL
from autoscaler.forecast.series import SeriesForecaster, Target, ask, on_grid, turn
from autoscaler.forecast.state import Plain, from_plain, to_plain

SIGNALS = ("requests", "uncached_prompt_tokens", "output_tokens")
"""What is forecast of every profile, per second."""

STALE_AFTER = Seconds(300.0)
"""A profile not seen for longer is Missing: its pools are held."""

HORIZONS = (Seconds(60.0), Seconds(180.0))
HOLD = Seconds(60.0)
"""Windows scored from the first sample on, so that a replayed past counts before anybody asks; others begin with the
scores of the nearest."""

OUTAGE = 8
"""Minutes of silence of every profile at once that are taken for an outage of the measurement."""

BUSY = 0.5
"""Requests/s in the hour before; from there on, minutes of silence are no chance."""

MEMORY = Seconds(600.0)
"""Over which the moments of request lengths are averaged."""


@dataclass(slots=True)
class Lengths:
    """Moments of one kind of token count, averaged over the last minutes (weights: time)."""

    moments: Moments | None = None
    seen_s: float = 0.0

    def observe(self, dt: float, moments: Signal[Moments]) -> None:
        """Take in the moments of the requests of the last ``dt`` seconds."""
        if isinstance(moments, Missing) or not moments.mean > 0:
            return
        self.seen_s = self.seen_s * math.exp(-dt / MEMORY) + dt
        if self.moments is None:
            self.moments = moments
            return
        step = min(1.0, dt / self.seen_s)
        mean = self.moments.mean + step * (moments.mean - self.moments.mean)
        second = self.moments.second + step * (moments.second - self.moments.second)
        self.moments = Moments(mean, max(second, mean**2))

    def or_exponential(self, mean: float) -> Moments:
        """Return the moments; before any were seen, those of an exponential distribution of the given mean."""
        return self.moments if self.moments is not None else Moments(mean, 2.0 * mean**2)


@dataclass(slots=True)
class ProfileForecaster:
    """All that is remembered of one profile."""

    series: dict[str, SeriesForecaster] = field(default_factory=lambda: {name: SeriesForecaster() for name in SIGNALS})
    prompt: Lengths = field(default_factory=Lengths)
    output: Lengths = field(default_factory=Lengths)
    fresh_share: float = 1.0  # uncached share of prompt tokens
    seen: Instant | None = None

    def remember(self, at: Instant, load: ProfileLoad) -> list[tuple[SeriesForecaster, int]]:
        """Take in one tick's load; return how many minutes this completed. A missing signal is a gap in its series."""
        dt = 15.0 if self.seen is None else min(max(at - self.seen, 0.0), 60.0)
        self.prompt.observe(dt, load.prompt_tokens)
        self.output.observe(dt, load.output_tokens)
        self._share(load)
        rates = (load.requests_per_second, load.uncached_prompt_tokens_per_second, load.output_tokens_per_second)
        grains = (1.0, self.fresh_share * _grain(self.prompt), _grain(self.output))
        completed = []
        for name, rate, grain in zip(SIGNALS, rates, grains, strict=True):
            if not isinstance(rate, Missing) and math.isfinite(rate):
                series = self.series[name]
                completed.append((series, series.remember(at, max(0.0, rate), grain)))
                self.seen = at
        return completed

    def _share(self, load: ProfileLoad) -> None:
        prompt, uncached = load.prompt_tokens_per_second, load.uncached_prompt_tokens_per_second
        if not isinstance(prompt, Missing) and not isinstance(uncached, Missing) and prompt > 0:
            self.fresh_share += 0.1 * (min(1.0, uncached / prompt) - self.fresh_share)

    def missing(self, at: Instant) -> Missing | None:
        """Return why nothing can be said of this profile, if so."""
        for name, series in self.series.items():
            if series.last is None:
                return Missing(GapReason.ABSENT, at, f"no sample of {name} yet")
            if at - series.last > STALE_AFTER:
                return Missing(GapReason.STALE, series.last, f"{name} not seen for {at - series.last:.0f} s")
        return None


def _grain(lengths: Lengths) -> float:
    """Return E[X^2]/E[X]: what one more request adds to the variance of a token rate, per unit of load."""
    moments = lengths.or_exponential(1000.0)
    return moments.second / moments.mean


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and whose it is."""

    profile: str
    signal: str
    model: Model


@dataclass(frozen=True, slots=True)
class Training:
    """Work that may run anywhere, in a thread or process of the caller: a second at most, deterministic."""

    profile: str
    signal: str
    job: TrainingJob

    def run(self) -> Trained:
        """Train."""
        return Trained(self.profile, self.signal, self.job.run())


@dataclass(slots=True)
class LoadForecaster:
    """Forecasts the load of every profile of one policy."""

    profiles: dict[str, ProfileForecaster] = field(default_factory=dict)
    calendar: Calendar | None = None  # days of work and of rest have profiles of their own; None: all are alike
    looked_at: int = 0  # the minute up to which outages were looked for

    def observe(self, at: Instant, loads: Mapping[str, ProfileLoad], *, long_ago: bool = False) -> None:
        """Take in one tick; see the function of this name, which takes in those of many policies at once."""
        observe([(self, loads)], at, long_ago=long_ago)

    def remember(self, at: Instant, loads: Mapping[str, ProfileLoad]) -> list[tuple[SeriesForecaster, int]]:
        """Take in one tick; return how many minutes this completed. A profile never seen before starts here."""
        completed = []
        for name, load in loads.items():
            if name not in self.profiles:
                self.profiles[name] = _watching(ProfileForecaster(), self.calendar)
            completed += self.profiles[name].remember(at, load)
        return completed

    def live_by(self, calendar: Calendar | None) -> None:
        """Cut days, and tell those of rest, by this calendar from now on; profiles of days follow within the hour."""
        self.calendar = calendar
        for series in self.series:
            series.council.live_by(calendar)

    @property
    def series(self) -> list[SeriesForecaster]:
        """Return the series of all profiles."""
        return [series for profile in self.profiles.values() for series in profile.series.values()]

    def forget_outages(self) -> None:
        """Turn minutes in which every profile was silent for long into gaps: then the measurement failed, not the load.

        The present level stays at what was measured; only learning and scores skip the span.
        """
        minutes = [series.memory.minutes for series in self.series]
        end = min(each.end for each in minutes)
        if end == self.looked_at:
            return
        self.looked_at = end
        if any((each.between(end - OUTAGE, end) > 0).any() for each in minutes):
            return
        if any(self._was_busy(profile, end - OUTAGE) for profile in self.profiles.values()):
            for series in self.series:
                series.forget(end - OUTAGE, end)

    @staticmethod
    def _was_busy(profile: ProfileForecaster, until: int) -> bool:
        """Tell whether silence after minute ``until`` cannot be chance, nor the habit of an on/off load."""
        requests = profile.series["requests"]
        before = requests.memory.minutes.between(until - 60, until)
        seen = before[~np.isnan(before)]
        return len(seen) > 0 and float(seen.mean()) > BUSY and not requests.states.applies

    def demand(
        self,
        at: Instant,
        horizons: Sequence[Seconds],
        hold: Seconds,
        events: Mapping[str, Sequence[LoadEvent]] = MappingProxyType({}),
    ) -> Demand:
        """Return what each profile will ask for.

        Args:
            at: now.
            horizons: start-up times to plan for, > 0.
            hold: length of the planning window that begins at each horizon, > 0.
            events: known changes of load by profile, present or to come; a past one is part of the memory.

        Returns:
            By profile: quantiles of each rate's mean over [at + h, at + h + hold]; Missing for a profile of which a
            signal was never seen, or not for five minutes.
        """
        foresee([self])
        return {
            name: self._profile(at, name, horizons=horizons, hold=hold, events=events.get(name, ()))
            for name in self.profiles
        }

    def highest(
        self, at: Instant, horizons: Sequence[Seconds], hold: Seconds
    ) -> Mapping[str, Signal[Mapping[str, Mapping[Seconds, Quantiles]]]]:
        """Return what the load of each profile may reach at any minute until the end of each window.

        No plan asks for it: its scores are kept from the first time on that somebody does.

        Returns:
            By profile, signal and horizon; Missing as in ``demand``.
        """
        return {
            name: profile.missing(at)
            or {signal: _highest(profile.series[signal], horizons, hold) for signal in SIGNALS}
            for name, profile in self.profiles.items()
        }

    def training_jobs(self, at_most: int = 1) -> tuple["Training", ...]:
        """Return what should be learned (anew) now, oldest need first; run it off the tick, then ``adopt`` the result.

        Each job is a copy of what it needs, so that ``observe`` goes on meanwhile. Asking again before the result is
        adopted returns the same jobs.
        """
        due = (
            Training(name, signal, job)
            for name, profile in self.profiles.items()
            for signal, series in profile.series.items()
            for job in series.training_jobs()
        )
        return tuple(itertools.islice(due, at_most))

    def adopt(self, trained: "Trained") -> None:
        """Let a model speak from now on; one for a profile that is gone meanwhile is dropped."""
        profile = self.profiles.get(trained.profile)
        if profile is not None:
            profile.series[trained.signal].adopt(trained.model)

    def to_state(self) -> Plain:
        """Return the whole state as plain values, fit for JSON."""
        return to_plain(self)

    @classmethod
    def from_state(cls, state: Plain) -> "LoadForecaster":
        """Return a forecaster that goes on where the one that wrote ``state`` stood.

        Raises:
            InputError: this is not such a state.
        """
        return from_plain(cls, state)

    def _profile(
        self, at: Instant, name: str, *, horizons: Sequence[Seconds], hold: Seconds, events: Sequence[LoadEvent]
    ) -> Signal[ProfileDemand]:
        profile = self.profiles[name]
        gap = profile.missing(at)
        if gap is not None:
            return gap
        rates = {
            signal: self._rates(at, name, signal, horizons=horizons, hold=hold, events=events) for signal in SIGNALS
        }
        requests, prompt, output = (profile.series[signal].memory.levels[USUAL] for signal in SIGNALS)
        lengths = profile.prompt.or_exponential(prompt / requests if requests > 0 else 0.0)
        share = profile.fresh_share
        return ProfileDemand(
            profile=name,
            requests_per_second=rates["requests"],
            uncached_prompt_tokens_per_second=rates["uncached_prompt_tokens"],
            output_tokens_per_second=rates["output_tokens"],
            prompt_tokens=lengths,
            uncached_prompt_tokens=Moments(share * lengths.mean, share**2 * lengths.second),
            output_tokens=profile.output.or_exponential(output / requests if requests > 0 else 0.0),
            burstiness=max(1.0, profile.series["requests"].memory.bank.roughness),
        )

    def _rates(
        self,
        at: Instant,
        name: str,
        signal: str,
        *,
        horizons: Sequence[Seconds],
        hold: Seconds,
        events: Sequence[LoadEvent],
    ) -> Mapping[Seconds, RateForecast]:
        series = self.profiles[name].series[signal]
        others = [other.series[signal] for key, other in self.profiles.items() if key != name]
        age = 0.0 if series.last is None else max(0.0, at - series.last)
        path = series.path(events)
        lift = series.lift(events) if events else 1.0
        now = series.memory.bank.level
        return {
            h: RateForecast(
                h, now, series.forecast(path, h, hold, age=age, borrowed=_borrowed(others, h, hold), lift=lift)
            )
            for h in horizons
        }


def observe(
    several: Sequence[tuple[LoadForecaster, Mapping[str, ProfileLoad]]], at: Instant, *, long_ago: bool = False
) -> None:
    """Take in one tick of several policies: arrays over many series cost little more than over one.

    Args:
        several: forecasters, and their loads by profile. Ticks may be irregular.
        at: now.
        long_ago: remember only, as cheaply as possible: for a replayed past of more than a day ago (scores of older
            forecasts would be forgotten by now anyway).
    """
    completed = [each for forecaster, loads in several for each in forecaster.remember(at, loads)]
    if not long_ago:
        turn(completed)
    for forecaster, _ in several:
        forecaster.forget_outages()


def foresee(several: Iterable[LoadForecaster]) -> None:
    """Ask the experts of several policies at once, so that each ``demand`` finds what they say."""
    ask(itertools.chain.from_iterable(forecaster.series for forecaster in several))


def _watching(profile: ProfileForecaster, calendar: Calendar | None) -> ProfileForecaster:
    for series in profile.series.values():
        series.council.live_by(calendar)
        for horizon in HORIZONS:
            series.watch((on_grid(horizon), on_grid(HOLD)))
    return profile


def _highest(series: SeriesForecaster, horizons: Sequence[Seconds], hold: Seconds) -> Mapping[Seconds, Quantiles]:
    path = series.path()
    return {h: series.forecast(path, h, hold, target=Target.HIGHEST) for h in horizons}


def _borrowed(others: Iterable[SeriesForecaster], horizon: Seconds, hold: Seconds) -> tuple[float, ...] | None:
    """Return the mean offsets of the profiles that have enough scores of this window; None where none has."""
    window = (on_grid(horizon), on_grid(hold))
    ledgers = [other.ledgers[Target.MEAN].get(window) for other in others]
    lent = [ledger.scores.offsets() for ledger in ledgers if ledger is not None and len(ledger.scores) >= 120]
    return _average(lent) if lent else None


def _average(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))
