"""Expositions kept in memory, and the catalogue's readings evaluated over them: metrics without a Prometheus.

For the simulator, for recordings, and for clusters whose engines and pickers are scraped directly.
"""

import math
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from prometheus_client.parser import text_string_to_metric_families

from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe import catalogue
from autoscaler.observe.catalogue import MODEL, NAMESPACE, TRAIL_STEP, Function, Reading, Series, Windows
from autoscaler.observe.samples import Key, Row, Snapshot
from autoscaler.observe.track import LOOKBACK, Track

Labels = tuple[tuple[str, str], ...]
Heads = dict[str, tuple[str, Labels]]
"""Name and labels by the text in which a target writes them: it writes the same text at each scrape."""

_WANTED = catalogue.series_names()
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one target may send before it is refused: a target that floods would otherwise take the controller down."""

    exposition_bytes: int = 16 * 2**20
    series_per_target: int = 20_000
    label_value_chars: int = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped, and the labels that the scrape adds to each of its series."""

    labels: Mapping[str, str]

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.labels.items())))

    @property
    def name(self) -> str:
        """Name the target in messages."""
        return "/".join(self.labels.get(label, "") for label in (NAMESPACE, "pod"))


@dataclass(slots=True)
class _Seen:
    """The series that a target showed at its latest scrape."""

    tracks: set[tuple[str, Labels]] = field(default_factory=set)


class MemorySource:
    """A window of scrapes that answers the catalogue's readings as Prometheus would."""

    def __init__(
        self,
        namespaces: Sequence[str],
        windows: Windows,
        *,
        matchers: Mapping[str, str] = MappingProxyType({}),
        keep: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> None:
        """Read series of some namespaces (none: of all) that carry the given labels; keep more labels in the rows."""
        self.windows = windows
        self.readings = catalogue.keeping(keep)
        self._namespaces = frozenset(namespaces)
        self._matchers = dict(matchers)
        self._limits = limits or Limits()
        self._tracks: dict[str, dict[Labels, Track]] = {}
        self._seen: dict[str, _Seen] = {}
        self._heads: dict[str, Heads] = {}
        self._keep = Seconds(max(windows.fast + windows.long, LOOKBACK) + TRAIL_STEP)

    def add(self, at: Instant, target: Target, exposition: str) -> None:
        """Take in one scrape.

        Raises:
            ObservationError: it is no exposition, or larger than allowed; it counts as a failed scrape.
        """
        shown = _Seen()
        try:
            samples = parsed(target, exposition, self._limits, self._heads.setdefault(target.name, {}))
        except ObservationError:
            self.failed(at, target)
            raise
        for name, labels, value in samples:
            self._tracks.setdefault(name, {}).setdefault(labels, Track()).append(at, value)
            shown.tracks.add((name, labels))
        self._end(at, target, still=shown)
        self._seen[target.name] = shown

    def failed(self, at: Instant, target: Target) -> None:
        """Note that a scrape did not succeed: as in Prometheus, the target's series end for now."""
        self._end(at, target, still=_Seen())

    def forget(self, now: Instant) -> None:
        """Drop what no reading at or after ``now`` can need."""
        for tracks in self._tracks.values():
            for labels in list(tracks):
                tracks[labels].forget(Instant(now - self._keep))
                if not len(tracks[labels]):
                    del tracks[labels]

    async def read(self, now: Instant) -> Snapshot:
        """Evaluate every reading at ``now``."""
        rows = {name: tuple(self.evaluate(reading, now)) for name, reading in self.readings.items()}
        return Snapshot(now, MappingProxyType(rows))

    async def more(self, snapshot: Snapshot, readings: Collection[str], models: Collection[str]) -> Snapshot:  # noqa: ARG002 - as the protocol has it
        """Return the snapshot: nothing was left out of it."""
        return snapshot

    async def read_range(self, start: Instant, end: Instant, step: Seconds) -> AsyncIterator[Snapshot]:
        """Yield what ``read`` returns at start, start + step, ..., at most ``end``."""
        for n in range(math.floor((end - start) / step + 1e-9) + 1):
            yield await self.read(Instant(start + n * step))

    async def present(self, names: Sequence[str], now: Instant) -> tuple[Row, ...]:
        """Return the series of these names that are there now, each with all its labels, ``__name__`` among them."""
        found = ((name, labels, track) for name in names for labels, track in self._tracks.get(name, {}).items())
        return tuple(
            Row({"__name__": name, **dict(labels)}, newest[1], now)
            for name, labels, track in found
            if (newest := track.last(now)) is not None
        )

    async def scrape_interval(self, now: Instant) -> Seconds | None:
        """Return the longest of the targets' median distances between scrapes; None if that cannot be told."""
        names = {series.name for series in self.readings["engine_newest"].series}
        recent = (track for name in names for track in self._tracks.get(name, {}).values() if track.last(now))
        return max((gap for track in recent if (gap := track.interval()) is not None), default=None)

    def evaluate(self, reading: Reading, now: Instant) -> Iterator[Row]:
        """Yield the rows of one reading; moments are whole milliseconds, as Prometheus takes them."""
        now = Instant(round(now, 3))
        moments = [now]
        if self.windows.step(reading) is not None:
            moments = self.windows.points(reading, Instant(now - self.windows.of(reading.span)), now)
        for moment in moments:
            yield from self._evaluate_once(reading, moment)

    def _evaluate_once(self, reading: Reading, now: Instant) -> Iterator[Row]:
        taken: set[Key] = set()
        for series in reading.series:
            groups = {
                key: value
                for key, value in self._joined(reading, series, now).items()
                if _part(reading, key) not in taken
            }
            for key, value in groups.items():
                yield Row({label: text for label, text in zip(reading.by, key, strict=True) if text}, value, now)
            taken |= {_part(reading, key) for key in groups}

    def _joined(self, reading: Reading, series: Series, now: Instant) -> dict[Key, float]:
        """Apply the function to each series, keep the largest of equals, then join the members of each group."""
        identity = (*reading.by, *(label for label in series.own if label not in reading.by))
        largest: dict[Key, float] = {}
        for labels, track in self._tracks.get(series.name, {}).items():
            values = dict(labels)
            value = self._applied(reading, track, now) if self._selected(series, values) else None
            if value is not None:
                key = tuple(values.get(label, "") for label in identity)
                known = largest.get(key, math.nan)
                largest[key] = value if math.isnan(known) or value > known else known
        groups: dict[Key, list[float]] = {}
        for key, value in largest.items():
            groups.setdefault(key[: len(reading.by)], []).append(value)
        return {key: _JOIN[reading.join](members) for key, members in groups.items()}

    def _applied(self, reading: Reading, track: Track, now: Instant) -> float | None:
        window = self.windows.of(reading.span)
        match reading.function:
            case Function.RATE:
                return track.rate(now, window)
            case Function.AVERAGE:
                return track.average(now, window)
            case Function.PEAK:
                return track.peak(now, window)
            case Function.LAST | Function.TRAIL:
                return found[1] if (found := track.last(now)) else None
            case Function.BEFORE:
                return track.count(Instant(now - self.windows.fast), window)
            case Function.TIME | Function.TIMES:
                return found[0] if (found := track.last(now)) else None

    def _selected(self, series: Series, labels: Mapping[str, str]) -> bool:
        """Tell whether a series is one of those that the query would select."""
        if self._namespaces and labels.get(NAMESPACE, "") not in self._namespaces:
            return False
        if series.named and not labels.get(MODEL):
            return False
        return all(labels.get(label, "") == value for label, value in (*series.where, *self._matchers.items()))

    def _end(self, at: Instant, target: Target, still: _Seen) -> None:
        for name, labels in self._seen.get(target.name, still).tracks - still.tracks:
            if (track := self._tracks.get(name, {}).get(labels)) is not None:
                track.end(at)


def parsed(
    target: Target, exposition: str, limits: Limits, heads: Heads | None = None
) -> list[tuple[str, Labels, float]]:
    """Return name, labels (those of the target included) and value of every series that some reading wants.

    Args:
        target: whose exposition it is.
        exposition: in Prometheus' text format.
        limits: what is still borne.
        heads: what earlier expositions of the same target began their lines with; is filled. Saves the slow parser.

    Raises:
        ObservationError: it is no exposition, or larger than allowed.
    """
    if len(exposition) > limits.exposition_bytes:
        msg = f"{target.name}: exposition of {len(exposition)} bytes, at most {limits.exposition_bytes} are read"
        raise ObservationError(msg)
    lines = wanted_lines(exposition)
    if len(lines) > limits.series_per_target:
        count, most = len(lines), limits.series_per_target
        msg = f"{target.name}: {count} series, at most {most} are read; a label there has too many values"
        raise ObservationError(msg)
    known: Heads = {} if heads is None else heads
    if len(known) > 4 * limits.series_per_target:
        known.clear()  # labels that never come again
    try:
        return [_sample(target, line, limits, known) for line in lines]
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        msg = f"{target.name}: not a metrics exposition: {str(error)[:200]}"
        raise ObservationError(msg) from error


def _sample(target: Target, line: str, limits: Limits, heads: Heads) -> tuple[str, Labels, float]:
    head, brace, tail = line.rpartition("}")
    if brace and head in heads and len(tail.split()) == 1:
        return (*heads[head], float(tail))
    (family,) = text_string_to_metric_families(line + "\n")
    (sample,) = family.samples
    longest = max(map(len, sample.labels.values()), default=0)
    if longest > limits.label_value_chars:
        msg = f"{target.name}: a label value of {sample.name} has {longest} characters"
        raise ObservationError(msg)
    # labels of the target win, as without honorLabels
    labels = tuple(sorted({**sample.labels, **target.labels}.items()))
    if brace:
        heads[head] = (sample.name, labels)
    return sample.name, labels, float(sample.value)


def wanted_lines(exposition: str) -> list[str]:
    """Return the lines of series that some reading wants: the parser is slow, and most series are not needed."""
    lines = (line.strip() for line in exposition.splitlines())
    return [line for line in lines if (name := _NAME.match(line)) and name.group() in _WANTED]


def _part(reading: Reading, key: Key) -> Key:
    """Return the part of a row's key on which alternative names exclude each other."""
    return tuple(value for label, value in zip(reading.by, key, strict=True) if label in reading.either)


def _mean(values: Iterable[float]) -> float:
    members = list(values)
    return math.fsum(members) / len(members)


_JOIN: Mapping[str, Callable[[Iterable[float]], float]] = MappingProxyType(
    {"sum": math.fsum, "max": max, "min": min, "avg": _mean}
)
