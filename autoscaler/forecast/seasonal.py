"""Days (and weeks) that resemble each other: the present level times what usually follows at this time of day."""

from dataclasses import dataclass, field

import numpy as np

from autoscaler.forecast.memory import NODES, SPANS, Memory
from autoscaler.forecast.minutes import MINUTES_PER_DAY
from autoscaler.performance.step import FloatArray

SMOOTHED_OVER = 31
"""Minutes; a profile finer than that would repeat yesterday's noise."""

CLIP = (0.5, 2.0)
"""How much the profile may change the present level."""


def day_profile(values: FloatArray, first: int) -> FloatArray:
    """Return the mean load of each minute of the day over up to seven days, smoothed around the clock.

    Args:
        values: minutes, NaN where there is a gap, at least a day.
        first: number (Unix time / 60) of the first of them.

    Returns:
        Shape (1440,), > 0: 5 % of the mean is added, so that quiet hours do not divide by nothing.
    """
    kept = values[-7 * MINUTES_PER_DAY :]
    start = (first + len(values) - len(kept)) % MINUTES_PER_DAY
    days = -(-(start + len(kept)) // MINUTES_PER_DAY)
    padded = np.full(days * MINUTES_PER_DAY, np.nan)
    padded[start : start + len(kept)] = kept
    table = padded.reshape(days, MINUTES_PER_DAY)
    seen = ~np.isnan(table)
    counts = seen.sum(axis=0)
    overall = float(np.nanmean(kept)) if seen.any() else 0.0
    means = np.where(counts > 0, np.where(seen, table, 0.0).sum(axis=0) / np.maximum(counts, 1), overall)
    half = SMOOTHED_OVER // 2
    around = np.concatenate([means[-half:], means, means[:half]])
    smooth = np.convolve(around, np.full(SMOOTHED_OVER, 1.0 / SMOOTHED_OVER), mode="valid")
    return np.asarray(smooth + 0.05 * overall + 1e-12)


FEWEST_ALIKE = 2
"""Days of the same kind (of work, or of rest) below which all days count."""


def days_alike(values: FloatArray, first: int, rest: frozenset[int]) -> FloatArray:
    """Return minutes in which days unlike the newest are gaps: rest days while people work, and the reverse."""
    days = (first + np.arange(len(values))) // MINUTES_PER_DAY
    resting = np.isin(days, list(rest))
    alike = resting == resting[-1]
    if alike.sum() < FEWEST_ALIKE * MINUTES_PER_DAY:
        return values
    return np.where(alike, values, np.nan)


@dataclass(slots=True)
class DayProfile:
    """The ten-minute average times the change that the mean day shows from now to then."""

    rest: frozenset[int] = frozenset()  # numbers of days (Unix time / 86,400 s) on which people rest; none: all alike
    profile: list[float] = field(default_factory=list)
    name: str = "day-profile"
    needs: int = MINUTES_PER_DAY
    every: int = 60
    prior: float = 1.0

    def fit(self, memory: Memory) -> None:
        """Take the mean of the last days anew."""
        values, first = memory.minutes.values, memory.minutes.first
        alike = days_alike(values, first, self.rest) if self.rest else values
        self.profile = day_profile(alike, first).tolist()

    def predict(self, memory: Memory) -> FloatArray:
        """Return the average times the profile's ratio, at each node."""
        now = (memory.minutes.end - 1) % MINUTES_PER_DAY
        level = memory.levels[SPANS.index(10)]
        if not self.profile:
            return np.full(len(NODES), level)
        here = self.profile[now]
        ratios = [self.profile[(now + node) % MINUTES_PER_DAY] / here for node in NODES]
        return level * np.clip(ratios, *CLIP)
