"""From irregular ticks to minutes: the memory of one series.

A sample is a rate that held since the sample before it. Minutes that are less than half covered are gaps (NaN), never
zeros.

Kept for two weeks: the newest day in single precision, what is only learned from in half of it (three to four digits,
where chance arrivals leave two), because these minutes are most of what a controller remembers.
"""

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.state import TRANSIENT
from autoscaler.performance.step import FloatArray

IntArray: TypeAlias = NDArray[np.int64]
ShortFloatArray: TypeAlias = NDArray[np.float32]
HalfFloatArray: TypeAlias = NDArray[np.float16]

LONGEST_SAMPLE = Seconds(90.0)
"""A sample speaks for at most so much time before it; what lies further back was not seen."""

HOUR = 60
RECENT = 10
"""Minutes of which it is told how many were records."""

DAYS_KEPT = 14
MINUTES_PER_DAY = 1440


KEPT = (DAYS_KEPT + 1) * MINUTES_PER_DAY

COARSE = 1024.0
"""Unit of half precision: it reaches from 0.00006 to 67 million tokens or requests per second."""


@dataclass(slots=True)
class Minutes:
    """Means of whole minutes, newest last, and the minute that is being filled.

    A gap is kept as the value before it, with a minus sign (of zeros, too).
    """

    first: int = 0  # number (Unix time / 60) of the first minute kept
    count: int = 0  # complete minutes kept
    older: HalfFloatArray = field(default_factory=lambda: np.empty(0, np.float16))  # whole days; unit: COARSE
    newer: ShortFloatArray = field(default_factory=lambda: np.empty(256, np.float32))  # beyond count: room to grow
    filling: int = -1  # number of the minute being filled; -1: no sample yet
    area: float = 0.0  # rate x seconds seen in it
    seen_s: float = 0.0
    peaks: dict[int, float] = field(default_factory=dict, compare=False, metadata=TRANSIENT)  # highest of the newest n
    broken: int | None = field(default=None, compare=False, metadata=TRANSIENT)  # records of late; None: to be counted

    @property
    def end(self) -> int:
        """Return the number of the minute after the newest complete one."""
        return self.first + self.count

    @property
    def values(self) -> FloatArray:
        """Return all complete minutes; NaN where there is a gap."""
        return _seen(self._kept(0, self.count))

    @property
    def whole(self) -> FloatArray:
        """Return all complete minutes, each gap filled with the value before it."""
        return self.newest(self.count)

    def newest(self, minutes: int) -> FloatArray:
        """Return the newest complete minutes, as many as there are, each gap filled with the value before it."""
        return np.abs(self._kept(max(0, self.count - minutes), self.count), dtype=np.float64)

    def between(self, start: int, end: int) -> FloatArray:
        """Return the values of minutes ``start`` to ``end`` (excluded), as far as they are kept."""
        return _seen(self._kept(max(0, start - self.first), min(self.count, max(0, end - self.first))))

    def at(self, minute: int) -> float:
        """Return the value of a minute of the newest day; NaN: a gap."""
        value = self.newer.item(minute - self.first - len(self.older))
        return math.nan if math.copysign(1.0, value) < 0.0 else value

    def highest(self, minutes: int) -> float:
        """Return the highest of the newest minutes; 0 before there are any."""
        if minutes not in self.peaks:
            self.peaks[minutes] = float(self.newest(minutes).max(initial=0.0))
        return self.peaks[minutes]

    def records(self) -> int:
        """Return how many of the newest ``RECENT`` minutes were higher than each of the hour before them."""
        if self.broken is None:
            past = self.newest(RECENT + HOUR)
            newest = range(max(1, len(past) - RECENT), len(past))
            self.broken = sum(bool(past[i] > past[max(0, i - HOUR) : i].max()) for i in newest)
        return self.broken

    def _changed(self) -> None:
        self.peaks.clear()
        self.broken = None

    def add(self, since: Instant, until: Instant, rate: float) -> int:
        """Spread a rate over the time it was measured in; return how many minutes this completed."""
        start = max(since, until - LONGEST_SAMPLE)
        if self.filling < 0:
            self.filling = self.first = math.floor(start / 60.0)
        completed = 0
        while True:
            edge = (self.filling + 1) * 60.0
            share = min(until, edge) - max(start, self.filling * 60.0)
            if share > 0:
                self.area += rate * share
                self.seen_s += share
            if until < edge:
                return completed
            self._close(self.area / self.seen_s if self.seen_s >= 30.0 else math.nan)
            completed += 1

    def forget(self, start: int, end: int) -> None:
        """Turn minutes ``start`` to ``end`` (excluded) of the newest day into a gap: what was measured was no load."""
        first = self.first + len(self.older)
        low, high = max(0, start - first), max(0, end - first)
        bridge = self.newer[low - 1] if low > 0 else self.newer[low:high]
        self.newer[low:high] = -np.abs(bridge)
        self._changed()

    def _kept(self, low: int, high: int) -> ShortFloatArray:
        """Return minutes ``low`` to ``high`` (excluded), counted from the first, as they are kept."""
        split = len(self.older)
        newer = self.newer[max(0, low - split) : max(0, high - split)]
        if low >= split:
            return newer
        return np.concatenate([self.older[low:high] * np.float32(COARSE), newer])

    def _close(self, value: float) -> None:
        newer = self.count - len(self.older)
        if newer == 2 * MINUTES_PER_DAY:
            self._age()
            newer -= MINUTES_PER_DAY
        if newer == len(self.newer):
            room = min(max(newer // 8, 128), 2 * MINUTES_PER_DAY - newer)
            self.newer = np.concatenate([self.newer, np.empty(room, np.float32)])
        before = abs(self.newer.item(newer - 1)) if newer else 0.0
        self._changed()
        self.newer[newer] = -before if math.isnan(value) else value
        self.count, self.filling, self.area, self.seen_s = self.count + 1, self.filling + 1, 0.0, 0.0

    def _age(self) -> None:
        """Move the first of two newer days to the older ones; the oldest leaves when there are too many."""
        limit = float(np.finfo(np.float16).max)
        day = np.clip(self.newer[:MINUTES_PER_DAY] / np.float32(COARSE), -limit, limit).astype(np.float16)
        self.newer[:MINUTES_PER_DAY] = self.newer[MINUTES_PER_DAY:]
        older = np.concatenate([self.older, day])
        leaving = max(0, len(older) + 2 * MINUTES_PER_DAY - KEPT)
        self.older = older[leaving:].copy()
        self.first, self.count = self.first + leaving, self.count - leaving


def _seen(kept: ShortFloatArray) -> FloatArray:
    """Return minutes as they are kept, NaN where there is a gap."""
    return np.where(np.signbit(kept), np.nan, kept).astype(np.float64)
