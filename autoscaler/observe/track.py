"""One series over time, and PromQL's functions over it: the numbers of Prometheus 2.x, extrapolation included.

Ranges are closed at both ends, as before Prometheus 3.0; times are whole milliseconds, as Prometheus stores them.
"""

import bisect
import math
from array import array
from itertools import pairwise

from autoscaler.domain.units import Instant, Seconds

LOOKBACK = Seconds(300.0)
"""How old an instant value may be before it counts as gone (Prometheus' default)."""


class Track:
    """Samples of one series in the order of their times."""

    __slots__ = ("_ended", "_lost", "_times", "_values")

    def __init__(self) -> None:
        """Begin without a sample."""
        self._times = array("d")
        self._values = array("d")
        self._lost = array("d")  # what resets took away up to each sample: the sum of the values before them
        self._ended = array("d")  # when the target stopped showing this series

    def __len__(self) -> int:
        return len(self._times)

    def append(self, at: Instant, value: float) -> None:
        """Add a sample; one that is not newer than the last is dropped, as Prometheus drops it."""
        moment = round(at, 3)
        if self._times and moment <= self._times[-1]:
            return
        lost = self._lost[-1] if self._lost else 0.0
        if self._values and value < self._values[-1]:
            lost += self._values[-1]
        self._times.append(moment)
        self._values.append(value)
        self._lost.append(lost)

    def end(self, at: Instant) -> None:
        """Note that the target was scraped (or failed to be) without this series."""
        if self._times and (not self._ended or self._ended[-1] < self._times[-1]):
            self._ended.append(round(at, 3))

    def forget(self, until: Instant) -> None:
        """Drop samples before a moment."""
        first = bisect.bisect_left(self._times, until)
        if first:
            del self._times[:first], self._values[:first], self._lost[:first]
        del self._ended[: bisect.bisect_left(self._ended, until)]

    def last(self, at: Instant) -> tuple[Instant, float] | None:
        """Return time and value of the newest sample within the lookback, unless the series had ended by then."""
        index = bisect.bisect_right(self._times, at) - 1
        if index < 0 or self._times[index] < at - LOOKBACK:
            return None
        ending = bisect.bisect_right(self._ended, at) - 1
        if ending >= 0 and self._ended[ending] > self._times[index]:
            return None
        return Instant(self._times[index]), self._values[index]

    def count(self, at: Instant, window: Seconds) -> float | None:
        """Return the number of samples in the window; None without any."""
        low, high = self._range(at, window)
        return float(high - low) if high > low else None

    def average(self, at: Instant, window: Seconds) -> float | None:
        """Return the mean of the samples in the window."""
        low, high = self._range(at, window)
        return math.fsum(self._values[low:high]) / (high - low) if high > low else None

    def peak(self, at: Instant, window: Seconds) -> float | None:
        """Return the largest sample in the window."""
        low, high = self._range(at, window)
        numbers = [value for value in self._values[low:high] if not math.isnan(value)]
        return max(numbers) if numbers else math.nan if high > low else None

    def rate(self, at: Instant, window: Seconds) -> float | None:
        """Return the increase per second of a counter; None with fewer than two samples in the window.

        The increase between the first and the last sample is extrapolated to the window's ends, but by no more than
        half a sampling interval where the series begins or ends inside, and not below zero at the beginning.
        """
        low, high = self._range(at, window)
        if high - low < 2:
            return None
        last = high - 1
        # a difference of long sums: rounding could make it fall just below zero
        increase = max(0.0, self._values[last] - self._values[low] + (self._lost[last] - self._lost[low]))
        sampled = self._times[last] - self._times[low]
        typical = sampled / (last - low)
        before = self._times[low] - (at - window)
        if increase > 0.0 and self._values[low] >= 0.0:
            before = min(before, sampled * (self._values[low] / increase))
        behind = at - self._times[last]
        covered = sampled + sum(gap if gap < typical * 1.1 else typical / 2.0 for gap in (before, behind))
        return increase * (covered / sampled) / window

    def interval(self) -> Seconds | None:
        """Return the median distance of samples; None with fewer than two."""
        gaps = sorted(later - earlier for earlier, later in pairwise(self._times))
        return Seconds(gaps[len(gaps) // 2]) if gaps else None

    def _range(self, at: Instant, window: Seconds) -> tuple[int, int]:
        return bisect.bisect_left(self._times, at - window), bisect.bisect_right(self._times, at)
