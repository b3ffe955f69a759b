"""From irregular ticks to minutes: the memory of one series.

A sample is a rate that held since the sample before it. Minutes that are less than half covered are gaps (NaN), never
zeros.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.step import FloatArray

LONGEST_SAMPLE = Seconds(90.0)
"""A sample speaks for at most so much time before it; what lies further back was not seen."""

DAYS_KEPT = 14
MINUTES_PER_DAY = 1440


@dataclass(slots=True)
class Minutes:
    """Means of whole minutes, newest last, and the minute that is being filled."""

    first: int = 0  # number (Unix time / 60) of the first minute kept
    values: list[float] = field(default_factory=list)  # NaN: a gap
    filling: int = -1  # number of the minute being filled; -1: no sample yet
    area: float = 0.0  # rate x seconds seen in it
    seen_s: float = 0.0

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
            self._close()
            completed += 1

    def _close(self) -> None:
        self.values.append(self.area / self.seen_s if self.seen_s >= 30.0 else math.nan)
        self.filling, self.area, self.seen_s = self.filling + 1, 0.0, 0.0
        surplus = len(self.values) - DAYS_KEPT * MINUTES_PER_DAY
        if surplus >= MINUTES_PER_DAY:  # a day at a time: shifting a long list each minute would cost more
            del self.values[:surplus]
            self.first += surplus

    @property
    def end(self) -> int:
        """Return the number of the minute after the newest complete one."""
        return self.first + len(self.values)

    def between(self, start: int, end: int) -> Sequence[float]:
        """Return the values of minutes ``start`` to ``end`` (excluded), as far as they are kept."""
        return self.values[max(0, start - self.first) : max(0, end - self.first)]

    def array(self) -> FloatArray:
        """Return all complete minutes; NaN where there is a gap."""
        return np.asarray(self.values, dtype=np.float64)
