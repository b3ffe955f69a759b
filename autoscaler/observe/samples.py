"""What a reading returned: rows of labels and values, and what follows from them whatever their source."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from autoscaler.domain.observation import Moments
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant
from autoscaler.observe import catalogue
from autoscaler.performance import buckets

Key: TypeAlias = tuple[str, ...]
"""The values of some labels."""

Keys: TypeAlias = dict[tuple[str, ...], dict[int, Key]]
"""By names of labels: the key of each label set, by the ``id`` of the set, which has to live as long."""


class Row(NamedTuple):
    """One member of a reading's result. ``at``: the moment of evaluation, or of the point of a trail."""

    labels: Mapping[str, str]
    value: float
    at: Instant

    def key(self, labels: Iterable[str]) -> Key:
        """Return the values of some labels; a label that is not there is empty, as in Prometheus."""
        return tuple([self.labels.get(label, "") for label in labels])  # a list: half the time of a generator


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of readings, evaluated at one moment; a reading whose query failed is Missing as a whole.

    Seldom readings may be left out, or hold the rows of some models only.
    """

    at: Instant
    readings: Mapping[str, tuple[Row, ...] | Missing]
    keys: Keys = field(default_factory=dict, repr=False, compare=False)  # of the rows' labels, those that are known
    _groups: dict[tuple[str, ...], Mapping[Key, Sequence[Row]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _failed: dict[str, Missing] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._failed.update((name, rows) for name, rows in self.readings.items() if isinstance(rows, Missing))

    def by(self, reading: str, *labels: str) -> Mapping[Key, Sequence[Row]]:
        """Return the rows of a reading by the values of some labels.

        They are looked through once, whatever the number of policies that ask.
        """
        known = self._groups.get((reading, *labels))
        if known is None:
            keys = self.keys.setdefault(labels, {})  # many readings share the labels of a pod
            known = self._groups[(reading, *labels)] = grouped(self.rows(reading), labels, keys)
        return known

    def extended(self, readings: Mapping[str, tuple[Row, ...] | Missing]) -> "Snapshot":
        """Return a snapshot that holds more readings."""
        more = Snapshot(self.at, MappingProxyType({**self.readings, **readings}))
        more._groups.update((key, rows) for key, rows in self._groups.items() if key[0] not in readings)
        return more

    def rows(self, reading: str) -> tuple[Row, ...]:
        """Return the rows of a reading; none if its query failed (``failure`` tells)."""
        found = self.readings.get(reading, ())
        return () if isinstance(found, Missing) else found

    def failure(self, *readings: str) -> Missing | None:
        """Return why one of these readings is missing as a whole, if one is."""
        if not self._failed:  # the rule; asked for each signal of each pod
            return None
        return next((self._failed[name] for name in readings if name in self._failed), None)

    @classmethod
    def unreachable(cls, missing: Missing) -> "Snapshot":
        """Return the snapshot of a source that does not answer: every reading is missing."""
        return cls(missing.since, MappingProxyType(dict.fromkeys(catalogue.keeping(), missing)))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations per second by upper bound, cumulative; the last bound is infinite."""

    bounds: tuple[float, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Histogram | None":
        """Collect the buckets of one group; None without an infinite one (then the total is not known).

        Rates of buckets that were scraped together can shrink with the bound by rounding alone: made monotone.
        """
        sums: dict[float, float] = {}
        for row in rows:
            bound = _bound(row.labels.get("le", ""))
            if bound is not None and not math.isnan(row.value):
                sums[bound] = sums.get(bound, 0.0) + row.value
        if math.inf not in sums:
            return None
        bounds = tuple(sorted(sums))
        return cls(bounds, tuple(itertools.accumulate((sums[bound] for bound in bounds), max)))

    @property
    def total(self) -> float:
        """Return observations per second."""
        return self.cumulative[-1]

    def buckets(self) -> Iterator[tuple[float, float, float]]:
        """Yield lower bound, upper bound and rate of every bucket with observations."""
        low, below = 0.0, 0.0
        for high, upto in zip(self.bounds, self.cumulative, strict=True):
            if upto > below:
                yield low, high, upto - below
            low, below = high, upto

    def quantile(self, probability: float) -> float:
        """Return a quantile, interpolated in its bucket; beyond the last finite bound that bound (as PromQL does)."""
        rank, below = probability * self.total, 0.0
        for low, high, rate in self.buckets():
            if below + rate >= rank:
                return low if math.isinf(high) else low + (high - low) * (rank - below) / rate
            below += rate
        return 0.0

    def share_within(self, limit: float, mean: float) -> float:
        """Return the share of observations up to ``limit``; their ``mean`` tells where they lie in their buckets.

        What lies beyond the last finite bound counts as beyond the limit: the pessimistic reading.
        """
        rates = [upto - below for below, upto in itertools.pairwise((0.0, *self.cumulative))]
        return buckets.share_within(self.bounds[:-1], rates, mean, limit)

    def guessed_at(self, limit: float) -> float:
        """Return the share of observations in the bucket that ``limit`` divides: of these one can only guess."""
        divided = math.fsum(rate for low, high, rate in self.buckets() if low < limit < high)
        return divided / self.total

    def moments(self, mean: float) -> Moments:
        """Return the moments around an exactly known mean; the spread comes from the buckets, even inside each.

        Wide buckets make the spread read somewhat large (the safe side for waiting times). The bucket without an
        upper bound counts with its lower one.
        """
        first = second = 0.0
        for low, high, rate in self.buckets():
            top = low if math.isinf(high) else high
            first += rate * (low + top) / 2.0
            second += rate * (low * low + low * top + top * top) / 3.0
        if first <= 0.0:
            return Moments(mean, mean * mean)
        variation = max(1.0, second * self.total / (first * first))
        return Moments(mean, mean * mean * variation)


@functools.lru_cache(1024)
def _bound(text: str) -> float | None:
    """Read a bucket's bound: Go writes 1, Python 1.0, both mean the same."""
    try:
        return float(text)
    except ValueError:
        return None


def total(rows: Sequence[Row]) -> float | None:
    """Return the sum of values; None without rows; NaN if one is."""
    if len(rows) == 1:  # by far the most frequent: one engine of a pod
        return rows[0].value
    return math.fsum([row.value for row in rows]) if rows else None


def grouped(
    rows: Sequence[Row], labels: Sequence[str], keys: dict[int, Key] | None = None
) -> Mapping[Key, Sequence[Row]]:
    """Group rows by the values of some labels.

    ``keys``: of label sets by their ``id``, which must outlive this; is filled.
    """
    known: dict[int, Key] = {} if keys is None else keys
    ids = [id(row.labels) for row in rows]
    if not known.keys() >= set(ids):
        new = ((id(row.labels), row.key(labels)) for row in rows if id(row.labels) not in known)
        alike: dict[Key, Key] = {}  # all buckets of a pod have one key between them
        known.update((one, alike.setdefault(key, key)) for one, key in new)
    of_rows = [known[one] for one in ids]
    alone = dict(zip(of_rows, zip(rows, strict=True), strict=True))
    if len(alone) == len(rows):  # most readings have one row of a pod
        return alone
    groups: dict[Key, list[Row]] = {key: [] for key in alone}
    for key, row in zip(of_rows, rows, strict=True):
        groups[key].append(row)
    return groups


def slope(rows: Iterable[Row]) -> float | None:
    """Return the least-squares slope (1/s) of the sum of trails; None with fewer than two moments.

    Members are added up before the slope is taken: a new pod would otherwise jump. PromQL's ``deriv`` of a subquery.
    """
    sums: dict[float, float] = {}
    for row in rows:
        sums[row.at] = sums.get(row.at, 0.0) + row.value
    if len(sums) < 2:
        return None
    mean_t = math.fsum(sums) / len(sums)
    mean_v = math.fsum(sums.values()) / len(sums)
    spread = math.fsum((t - mean_t) ** 2 for t in sums)
    return math.fsum((t - mean_t) * (v - mean_v) for t, v in sums.items()) / spread


def as_signal(value: float | None, since: Instant, what: str) -> float | Missing:
    """Turn a computed value into a signal: nothing is ABSENT, 0/0 is NOT_A_NUMBER, never 0."""
    if value is None:
        return Missing(GapReason.ABSENT, since, f"no {what}")
    if math.isnan(value) or math.isinf(value):
        return Missing(GapReason.NOT_A_NUMBER, since, f"{what} is {value}")
    return value


def ratio(part: float | None, whole: float | None) -> float | None:
    """Return part / whole; None if one is absent, NaN if the whole is 0."""
    if part is None or whole is None:
        return None
    return part / whole if whole != 0.0 else math.nan
