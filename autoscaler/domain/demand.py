"""What the plan has to serve: the forecast of each profile's load, handed from forecast to plan."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.domain.observation import Moments
from autoscaler.domain.signal import Signal
from autoscaler.domain.units import Seconds


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Levels of a quantity by probability, rising in both; interpolated between, held beyond the ends."""

    probabilities: tuple[float, ...]
    levels: tuple[float, ...]

    def at(self, probability: float) -> float:
        """Return the level that is not exceeded with the given probability."""
        points = list(zip(self.probabilities, self.levels, strict=True))
        if probability <= points[0][0]:
            return points[0][1]
        for (p0, x0), (p1, x1) in itertools.pairwise(points):
            if probability <= p1:
                return x0 + (x1 - x0) * (probability - p0) / (p1 - p0)
        return points[-1][1]


@dataclass(frozen=True, slots=True)
class RateForecast:
    """One rate over the planning window that begins ``horizon`` from now: its mean there, its maximum until then."""

    horizon: Seconds
    now: float  # the present level, smoothed over the observation window
    mean: Quantiles
    maximum: Quantiles


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
