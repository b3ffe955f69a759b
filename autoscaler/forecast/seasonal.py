"""Days (and weeks) that resemble each other: the present level times what usually follows at this time of day."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.policy import Calendar
from autoscaler.forecast.calendar import local, resting
from autoscaler.forecast.memory import NODES, SPANS, Memory
from autoscaler.forecast.minutes import MINUTES_PER_DAY, IntArray, ShortFloatArray
from autoscaler.performance.step import FloatArray

SMOOTHED_OVER = 31
"""Minutes; a profile finer than that would repeat yesterday's noise."""

LEAD = np.array(NODES)

CLIP = (0.5, 2.0)
"""How much the profile may change the present level."""


def day_profile(values: FloatArray, minute_of_day: IntArray) -> FloatArray:
    """Return the mean load of each minute of the day, smoothed around the clock.

    Args:
        values: minutes, NaN where there is a gap.
        minute_of_day: of each of them, 0 to 1439.

    Returns:
        Shape (1440,), > 0: 5 % of the mean is added, so that quiet hours do not divide by nothing.
    """
    seen = ~np.isnan(values)
    overall = float(values[seen].mean()) if seen.any() else 0.0
    counts = np.bincount(minute_of_day[seen], minlength=MINUTES_PER_DAY)
    sums = np.bincount(minute_of_day[seen], weights=values[seen], minlength=MINUTES_PER_DAY)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
    half = SMOOTHED_OVER // 2
    around = np.concatenate([means[-half:], means, means[:half]])
    smooth = np.convolve(around, np.full(SMOOTHED_OVER, 1.0 / SMOOTHED_OVER), mode="valid")
    return np.asarray(smooth + 0.05 * overall + 1e-12)


FEWEST_ALIKE = 2
"""Days of the same kind (of work, or of rest) below which all days count."""

LOOKS_BACK = 7 * MINUTES_PER_DAY
"""So many of the newest minutes (of days alike) are averaged."""


def days_alike(minutes: IntArray, calendar: Calendar | None) -> NDArray[np.bool_]:
    """Tell which minutes belong to days like the newest: days of rest, or of work; all, while few do.

    Args:
        minutes: on the clock of the calendar (``calendar.local``), at least one.
        calendar: which days are alike; None: all.
    """
    if calendar is not None:
        rest = resting(minutes, calendar)
        alike = np.asarray(rest == rest[-1])
        if alike.sum() >= FEWEST_ALIKE * MINUTES_PER_DAY:
            return alike
    return np.ones(len(minutes), dtype=bool)


@dataclass(slots=True)
class DayProfile:
    """The ten-minute average times the change that the mean day shows from now to then."""

    calendar: Calendar | None = None  # whose days; None: days of UTC, all alike
    ahead: int = 0  # minutes that the clock of the calendar is ahead of UTC
    profile: ShortFloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    name: str = "day-profile"
    needs: int = MINUTES_PER_DAY
    every: int = 60
    prior: float = 1.0

    @staticmethod
    def fit(several: Sequence["DayProfile"], memories: Sequence[Memory]) -> None:
        """Take the mean of the last days anew."""
        for each, memory in zip(several, memories, strict=True):
            each._fit(memory)  # noqa: SLF001 - one of them

    @staticmethod
    def predict(several: Sequence["DayProfile"], memories: Sequence[Memory]) -> FloatArray:
        """Return the average times the profile's ratio, at each node."""
        return np.array([each._said(memory) for each, memory in zip(several, memories, strict=True)])  # noqa: SLF001

    def _fit(self, memory: Memory) -> None:
        values = memory.minutes.values
        minutes = local(memory.minutes.first + np.arange(len(values)), self.calendar)
        self.ahead = int(minutes[-1]) - (memory.minutes.end - 1)
        newest = np.flatnonzero(days_alike(minutes, self.calendar))[-LOOKS_BACK:]
        self.profile = day_profile(values[newest], minutes[newest] % MINUTES_PER_DAY).astype(np.float32)

    def _said(self, memory: Memory) -> FloatArray:
        now = (memory.minutes.end - 1 + self.ahead) % MINUTES_PER_DAY
        level = memory.levels[SPANS.index(10)]
        if not len(self.profile):
            return np.full(len(NODES), level)
        ratios = self.profile[(now + LEAD) % MINUTES_PER_DAY] / self.profile.item(now)
        return np.asarray(level * np.clip(ratios, *CLIP), dtype=np.float64)
