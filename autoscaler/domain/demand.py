"""What the plan has to serve: the forecast of each profile's load, handed from forecast to plan."""

import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from autoscaler.domain.observation import Moments
from autoscaler.domain.signal import Missing, Signal
from autoscaler.domain.units import Seconds


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Levels of a quantity by probability, rising in both; interpolated between, held beyond the ends."""

    probabilities: tuple[float, ...]
    levels: tuple[float, ...]

    def at(self, probability: float) -> float:
        """Return the level that is not exceeded with the given probability."""
        place = bisect.bisect_left(self.probabilities, probability)
        if place in {0, len(self.probabilities)}:
            return self.levels[min(place, len(self.levels) - 1)]
        p0, p1 = self.probabilities[place - 1], self.probabilities[place]
        x0, x1 = self.levels[place - 1], self.levels[place]
        return x0 + (x1 - x0) * (probability - p0) / (p1 - p0)


@dataclass(frozen=True, slots=True)
class RateForecast:
    """The mean of one rate over the planning window that begins ``horizon`` from now."""

    horizon: Seconds
    now: float  # the present level, smoothed over the observation window
    mean: Quantiles


@dataclass(frozen=True, slots=True)
class ProfileDemand:
    """What one profile will ask for, at each horizon that some variant's start-up time needs."""

    profile: str
    requests_per_second: Mapping[Seconds, RateForecast]
    uncached_prompt_tokens_per_second: Mapping[Seconds, RateForecast]
    output_tokens_per_second: Mapping[Seconds, RateForecast]
    prompt_tokens: Moments
    uncached_prompt_tokens: Moments
    output_tokens: Moments
    burstiness: float  # index of dispersion of arrivals over seconds (1: Poisson)


Demand = Mapping[str, Signal[ProfileDemand]]
"""By profile name; Missing where nothing can be said, which holds every pool that serves the profile."""


def unchanging(demand: Demand) -> Demand:
    """Return a demand that stays at the present level of each rate, for certain."""

    def certain(rate: RateForecast) -> RateForecast:
        level = Quantiles((0.5,), (rate.now,))
        return replace(rate, mean=level)

    return changed(demand, certain)


def changed(demand: Demand, change: Callable[[RateForecast], RateForecast]) -> Demand:
    """Return a demand with every forecast of a rate changed."""

    def rates(known: Mapping[Seconds, RateForecast]) -> Mapping[Seconds, RateForecast]:
        return {horizon: change(rate) for horizon, rate in known.items()}

    def profile(known: ProfileDemand) -> ProfileDemand:
        return replace(
            known,
            requests_per_second=rates(known.requests_per_second),
            uncached_prompt_tokens_per_second=rates(known.uncached_prompt_tokens_per_second),
            output_tokens_per_second=rates(known.output_tokens_per_second),
        )

    return {name: known if isinstance(known, Missing) else profile(known) for name, known in demand.items()}
