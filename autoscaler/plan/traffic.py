"""What the stages of a model have to serve: classes of requests, and the levels their load may reach."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from autoscaler.domain.demand import ProfileDemand, RateForecast
from autoscaler.domain.observation import Moments
from autoscaler.domain.pool import Role
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.units import Seconds

FloatArray = NDArray[np.float64]

# Requests of a class by length: bins of the length distribution, finer where long prompts decide who misses.
_LENGTH_BINS = np.array([0.0, 0.5, 0.8, 0.93, 0.98, 1.0])
LENGTH_WEIGHTS: FloatArray = np.diff(_LENGTH_BINS)
_LENGTH_SCORES: FloatArray = ndtri((_LENGTH_BINS[:-1] + _LENGTH_BINS[1:]) / 2)

# Levels of load that a forecast holds possible: bins of its distribution, finer above, where capacity is decided.
_LEVEL_BINS = np.array([0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.995, 1.0])
LEVEL_WEIGHTS: FloatArray = np.diff(_LEVEL_BINS)
_MEDIAN_AND_LEVELS = np.array([0.5, *(_LEVEL_BINS[:-1] + _LEVEL_BINS[1:]) / 2])


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """One profile as the stages see it."""

    profile: RequestProfile
    prompt: Moments  # tokens of one prompt
    uncached: Moments  # of these, computed by prefill
    output: Moments
    burstiness: float  # index of dispersion of arrivals over seconds (1: Poisson)

    @classmethod
    def of(cls, profile: RequestProfile, demand: ProfileDemand) -> "TrafficClass":
        """Join what the operator promised with what the forecast expects."""
        return cls(
            profile, demand.prompt_tokens, demand.uncached_prompt_tokens, demand.output_tokens, demand.burstiness
        )

    @property
    def context_tokens(self) -> float:
        """Return the mean context of a decode step of this class: outputs weight it, long ones hold longest."""
        mean_output = self.output.mean
        if mean_output <= 0:
            return self.prompt.mean
        return self.prompt.mean + self.output.second / (2.0 * mean_output)


def lengths(moments: Moments) -> FloatArray:
    """Return the token counts that stand for a log-normal length distribution, one per bin of LENGTH_WEIGHTS."""
    if moments.mean <= 0:
        return np.zeros_like(LENGTH_WEIGHTS)
    variance = math.log1p(moments.squared_variation)
    return np.asarray(np.exp(math.log(moments.mean) - variance / 2 + math.sqrt(variance) * _LENGTH_SCORES))


@dataclass(frozen=True, slots=True)
class Levels:
    """Load of one role at one horizon: tokens per second of each class, at each level that may come.

    ``tokens_per_s``: shape (levels, classes), rising over levels; ``weights``: how likely each is, shape (levels,).
    """

    horizon: Seconds
    tokens_per_s: FloatArray
    weights: FloatArray = field(default_factory=lambda: LEVEL_WEIGHTS)

    @property
    def expected_tokens_per_s(self) -> FloatArray:
        """Return the expected tokens per second of each class, shape (classes,)."""
        return np.asarray(self.weights @ self.tokens_per_s)

    def highest(self) -> "Levels":
        """Return the highest level alone, as if it were certain."""
        return replace(self, tokens_per_s=self.tokens_per_s[-1:], weights=np.ones(1))

    def with_flow(self, share: float) -> "Levels":
        """Return levels that carry a further flow, given as a share of the expected load, in the same mix."""
        return replace(self, tokens_per_s=self.tokens_per_s + share * self.expected_tokens_per_s)

    def part(self, share: float) -> "Levels":
        """Return levels of a share of the load, in the same mix."""
        return self if share == 1.0 else replace(self, tokens_per_s=share * self.tokens_per_s)

    def at_least(self, tokens_per_s: FloatArray) -> "Levels":
        """Return levels none of which lies below a load, shape (classes,)."""
        return replace(self, tokens_per_s=np.maximum(self.tokens_per_s, tokens_per_s))


def levels(role: Role, horizon: Seconds, demands: Sequence[ProfileDemand], margin: float = 1.0) -> Levels:
    """Return what a role may have to serve ``horizon`` from now.

    ``margin``: factor on the distance of each level from the median (``risk``).

    Profiles are taken as independent: their excesses over the median add up in squares, not in full. At each level
    the total excess is shared among the classes as their own excesses are.
    """
    means = [_tokens(role, demand)[horizon].mean for demand in demands]
    found = np.array([_between(mean.probabilities) @ mean.levels for mean in means]).T
    medians, own = found[0], found[1:] - found[0]
    apart, together = np.abs(own).sum(axis=1), np.sqrt((own**2).sum(axis=1))
    shrink = np.divide(together, apart, out=np.ones_like(apart), where=apart > 0)
    return Levels(horizon, np.maximum(0.0, medians + margin * own * shrink[:, None]))


@functools.cache
def _between(probabilities: tuple[float, ...]) -> FloatArray:
    """Return the matrix that takes quantiles at these probabilities to the median and the levels' own ones."""
    return np.array([np.interp(_MEDIAN_AND_LEVELS, probabilities, known) for known in np.eye(len(probabilities))]).T


def present(role: Role, horizon: Seconds, demands: Sequence[ProfileDemand]) -> FloatArray:
    """Return what a role has to serve now: tokens per second of each class, shape (classes,)."""
    return np.array([_tokens(role, demand)[horizon].now for demand in demands])


def _tokens(role: Role, demand: ProfileDemand) -> Mapping[Seconds, RateForecast]:
    return demand.output_tokens_per_second if role is Role.DECODE else demand.uncached_prompt_tokens_per_second
