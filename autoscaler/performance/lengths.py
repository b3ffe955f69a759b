"""How long prompts and outputs are, and how much of a prompt the cache saves, from histograms and token rates."""

import math
from dataclasses import dataclass

import numpy as np

from autoscaler.domain.observation import Moments
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a request: counts up to rising bounds, as histograms give them, and their exact mean where known.

    ``cumulative[i]`` requests have at most ``bounds[i]`` tokens; the last bound may be inf.
    """

    bounds: tuple[float, ...]
    cumulative: tuple[float, ...]
    mean: float | None = None  # from the histogram's sum and count, which no bucket coarsens

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        filling = all(a <= b for a, b in zip(self.cumulative, self.cumulative[1:], strict=False))
        if len(self.bounds) != len(self.cumulative) or not (rising and filling):
            msg = f"bounds and cumulative counts rise together, not {self.bounds} and {self.cumulative}"
            raise ValueError(msg)

    @property
    def count(self) -> float:
        """Return how many requests were counted."""
        return self.cumulative[-1] if self.cumulative else 0.0

    def quantile(self, probability: float) -> float:
        """Return the tokens that a share of requests does not exceed, geometrically between bounds; 0 if empty."""
        wanted = probability * self.count
        below, lower = 0.0, 1.0
        for bound, cumulative in zip(self.bounds, self.cumulative, strict=True):
            if cumulative >= wanted and cumulative > below:
                upper = bound if math.isfinite(bound) else 2.0 * lower
                share = (wanted - below) / (cumulative - below)
                return float(lower * (max(upper, lower) / lower) ** share)
            below, lower = cumulative, max(bound, 1.0)
        return 0.0

    def moments(self, at: Instant) -> Signal[Moments]:
        """Return the first two moments: spread from the buckets, level from the exact mean where it is known."""
        if self.count <= 0:
            return Missing(GapReason.NOT_A_NUMBER, at, "no request in the window")
        levels = np.array([self.quantile(float(p)) for p in (np.arange(64) + 0.5) / 64])
        rough = float(levels.mean())
        mean = self.mean if self.mean is not None and self.mean > 0 else rough
        return Moments(mean, float((levels**2).mean()) * (mean / rough) ** 2)


def uncached_share(computed_tokens: float, prompt_tokens: float, at: Instant) -> Signal[float]:
    """Return the share of prompt tokens that prefill computes, from rates or counts over one window."""
    if not prompt_tokens > 0:
        return Missing(GapReason.NOT_A_NUMBER, at, "no prompt token in the window")
    share = computed_tokens / prompt_tokens
    if not -1e-6 <= share <= 1.1:
        return Missing(GapReason.INCONSISTENT, at, f"{computed_tokens:g} computed of {prompt_tokens:g} prompt tokens")
    return min(1.0, max(0.0, share))
