"""Joins metrics and fleet into one Observation per tick; the same join replays the past from Prometheus."""

import dataclasses
import math
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar

from autoscaler import collector
from autoscaler.domain.observation import EngineLoad, ModelObservation, Observation, ProfileLoad
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.signal import Gap, GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.engines import Engines
from autoscaler.observe.fleet import FleetSource, FleetView
from autoscaler.observe.loads import Loads
from autoscaler.observe.profiles import ProfileTable
from autoscaler.observe.samples import Snapshot

T = TypeVar("T", ProfileLoad, EngineLoad)

SCRAPES_IN_WINDOW = 4
"""A rate over fewer scrape intervals stands on one or two differences."""

STALE_AFTER = Seconds(60.0)

_OPTIONAL = frozenset({"queued_requests"})
"""Signals whose absence is no fault: most pickers run without flow control."""


class MetricsSource(Protocol):
    """Evaluates the catalogue's readings at a moment, past or present."""

    windows: Windows

    async def read(self, now: Instant) -> Snapshot:
        """Return every reading's rows; seldom readings may be left out.

        Raises:
            ObservationError: the source does not answer.
        """
        ...

    async def more(self, snapshot: Snapshot, readings: Collection[str], models: Collection[str]) -> Snapshot:
        """Return a snapshot that holds seldom readings too, of the engines of some models at least.

        Raises:
            ObservationError: the source does not answer.
        """
        ...


class PastMetrics(MetricsSource, Protocol):
    """Evaluates the readings at many moments at once."""

    def read_range(self, start: Instant, end: Instant, step: Seconds) -> AsyncIterator[Snapshot]:
        """Yield a snapshot for each moment, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Joined:
    """One policy's part of a snapshot, its missing signals not yet dated; and what the snapshot did not hold for it."""

    model: ModelObservation
    engines: Engines


class Join:
    """Turns a snapshot and the fleet into an Observation. Remembers only since when each signal has been missing."""

    def __init__(self, policies: Sequence[SLOPolicy], windows: Windows) -> None:
        """Take the policies to observe.

        Raises:
            InputError: a policy has no default profile.
        """
        self.follow(policies, windows)
        self._looks = _Looks()

    def follow(self, policies: Sequence[SLOPolicy], windows: Windows) -> None:
        """Observe these policies from now on; since when a signal has been missing is still remembered.

        Raises:
            InputError: a policy has no default profile.
        """
        self._tables = tuple(ProfileTable(policy) for policy in policies)
        self._windows = windows
        self._stale_after = stale_after(windows)

    def observation(
        self, snapshot: Snapshot, fleets: Mapping[str, FleetView] | Missing, gaps: Sequence[Gap] = ()
    ) -> Observation:
        """Return what is known at the snapshot's moment. ``gaps``: what is known to be missing beforehand."""
        return self.dated(snapshot.at, self.joined(snapshot, fleets), gaps)

    def joined(
        self, snapshot: Snapshot, fleets: Mapping[str, FleetView] | Missing, only: Collection[str] | None = None
    ) -> dict[str, Joined]:
        """Return each policy's part by ``SLOPolicy.key``; ``only``: of these policies."""
        tables = [table for table in self._tables if only is None or table.policy.key in only]
        return {table.policy.key: self._joined(table, snapshot, _view(table.policy, fleets)) for table in tables}

    def dated(self, at: Instant, joined: Mapping[str, Joined], gaps: Sequence[Gap] = ()) -> Observation:
        """Return the whole of all parts, each missing signal dated; once per moment."""
        models, found = {}, list(gaps)
        looks = self._looks.begun(at)
        for key, part in joined.items():
            loads = {name: looks.dated(load, key, name) for name, load in part.model.loads.items()}
            engines = {name: looks.dated(load, key, name) for name, load in part.model.engines.items()}
            models[key] = replace(part.model, loads=MappingProxyType(loads), engines=MappingProxyType(engines))
            if not gaps:  # a source that is gone altogether is one gap, not hundreds
                found += _gaps(models[key], part.engines)
        self._looks = looks
        return Observation(at, MappingProxyType(models), tuple(found))

    def _joined(self, table: ProfileTable, snapshot: Snapshot, fleet: FleetView) -> Joined:
        engines = Engines.of(table, snapshot, fleet, self._windows, self._stale_after)
        loads = Loads(table, snapshot, engines, self._windows, self._stale_after)
        model = ModelObservation(
            policy=table.policy.key,
            loads=loads.all(),
            fleet=fleet.workloads,
            engines=engines.loads(),
            unmatched_share=loads.unmatched_share(),
            paused=fleet.paused,
            paused_scale_down=fleet.paused_scale_down,
        )
        return Joined(model, engines)


_FIELDS = {of.__name__: tuple(field.name for field in dataclasses.fields(of)) for of in (ProfileLoad, EngineLoad)}

_Subject: TypeAlias = tuple[str, str, str]
"""A profile or a pod: what it is, whose policy's, its name."""


@dataclass(slots=True)
class _Looks:
    """Since when signals are missing, as of one look at every subject; the look before is remembered."""

    at: Instant = Instant(-math.inf)
    missing: dict[_Subject, dict[str, Instant]] = field(default_factory=dict)  # by signal: since when
    before: "_Looks | None" = None

    def begun(self, at: Instant) -> "_Looks":
        """Return the next look."""
        self.before = None
        return _Looks(at, before=self)

    def dated(self, load: T, policy: str, name: str) -> T:
        """Date each missing signal: by its last good look where there was one, else by the first look at it."""
        gone = {
            name: value for name in _FIELDS[type(load).__name__] if isinstance(value := getattr(load, name), Missing)
        }
        subject = (type(load).__name__, policy, name)
        known = self.missing[subject] = self._known(subject, gone)
        older: dict[str, Any] = {
            name: replace(value, since=known[name]) for name, value in gone.items() if known[name] < value.since
        }
        return replace(load, **older) if older else load

    def _known(self, subject: _Subject, gone: Iterable[str]) -> dict[str, Instant]:
        if self.before is None or subject not in self.before.missing:  # never looked at, or gone for a while
            return dict.fromkeys(gone, self.at)
        already = self.before.missing[subject]
        return {name: already.get(name, self.before.at) for name in gone}  # there, at the look before


class ClusterObserver:
    """Observes the world for the loop: metrics from one source, the fleet from another."""

    def __init__(self, policies: Sequence[SLOPolicy], metrics: MetricsSource, fleet: FleetSource) -> None:
        """Join two sources for some policies."""
        self._metrics = metrics
        self._fleet = fleet
        self._join = Join(policies, metrics.windows)

    def follow(self, policies: Sequence[SLOPolicy], metrics: MetricsSource) -> None:
        """Observe these policies from now on, through a source that reads their series."""
        self._metrics = metrics
        self._join.follow(policies, metrics.windows)

    async def observe(self, now: Instant) -> Observation:
        """Return what is known at ``now``, which may lie in the past.

        Raises:
            ObservationError: neither source answers.
        """
        with collector.paused():
            return await self._observe(now)

    async def _observe(self, now: Instant) -> Observation:
        gaps: list[Gap] = []
        fleets: Mapping[str, FleetView] | None = None
        try:
            snapshot = await self._metrics.read(now)
        except ObservationError as error:
            missing = Missing(GapReason.UNREACHABLE, now, str(error))
            gaps.append(Gap("metrics", "", missing))
            snapshot = Snapshot.unreachable(missing)
        try:
            fleets = await self._fleet.fleets(now)
        except ObservationError as error:
            gaps.append(Gap("fleet", "", Missing(GapReason.UNREACHABLE, now, str(error))))
        if len(gaps) == 2:
            msg = "; ".join(gap.missing.detail for gap in gaps)
            raise ObservationError(msg)
        known = gaps[0].missing if fleets is None else fleets
        return self._join.dated(now, await self._joined(snapshot, known), gaps)

    async def _joined(self, snapshot: Snapshot, fleets: Mapping[str, FleetView] | Missing) -> dict[str, Joined]:
        """Join; whose snapshot says too little is joined again, until nothing is left to ask.

        Who asks again has asked before, so a reading is either in the snapshot for all of them or for none.
        """
        joined = self._join.joined(snapshot, fleets)
        while wanting := {key: part.engines for key, part in joined.items() if part.engines.lacking}:
            readings = frozenset[str]().union(*(engines.lacking for engines in wanting.values()))
            models = frozenset[str]().union(*(engines.models for engines in wanting.values()))
            try:
                snapshot = await self._metrics.more(snapshot, readings, models)
            except ObservationError as error:
                missing = Missing(GapReason.UNREACHABLE, snapshot.at, str(error))
                snapshot = snapshot.extended(dict.fromkeys(readings, missing))
            joined |= self._join.joined(snapshot, fleets, only=wanting.keys())
        return joined


class PrometheusHistory:
    """What was observable in the past, without the fleet: the controller's memory across restarts."""

    def __init__(self, policies: Sequence[SLOPolicy], metrics: PastMetrics) -> None:
        """Read the past of some policies."""
        self._policies = tuple(policies)
        self._metrics = metrics

    async def past(self, start: Instant, end: Instant, step: Seconds) -> AsyncIterator[Observation]:
        """Yield what would have been observed at start, start + step, ..., at most ``end``.

        Raises:
            ObservationError: the source does not answer.
        """
        join = Join(self._policies, self._metrics.windows)
        async for snapshot in self._metrics.read_range(start, end, step):
            unknown = Missing(GapReason.ABSENT, snapshot.at, "the past of the fleet is not recorded")
            yield join.observation(snapshot, unknown)


def namespaces(policies: Sequence[SLOPolicy]) -> tuple[str, ...]:
    """Return the namespaces whose series the policies need."""
    return tuple(sorted({policy.namespace for policy in policies}))


def kept_labels(policies: Sequence[SLOPolicy]) -> tuple[str, ...]:
    """Return the labels that some policy's ``metrics.matchers`` name: a source has to keep them in its rows."""
    return tuple(sorted({label for policy in policies for label, _ in policy.metrics.matchers}))


def windows_for(interval: Seconds | None, defaults: Windows | None = None) -> Windows:
    """Return windows that hold enough scrapes; with an unknown scrape interval the defaults."""
    chosen = defaults or Windows()
    if interval is None:
        return chosen
    return Windows(Seconds(max(chosen.fast, SCRAPES_IN_WINDOW * interval)), Seconds(max(chosen.long, 20 * interval)))


def stale_after(windows: Windows) -> Seconds:
    """Return the age from which a sample is not acted on: a window, which holds four scrapes, at most 60 s."""
    return Seconds(min(STALE_AFTER, windows.fast))


def _view(policy: SLOPolicy, fleets: Mapping[str, FleetView] | Missing) -> FleetView:
    """Return a policy's view; every variant of it is Missing where the source has nothing to say."""
    if not isinstance(fleets, Missing) and policy.key in fleets:
        return fleets[policy.key]
    unknown = fleets if isinstance(fleets, Missing) else None
    return FleetView(
        MappingProxyType(
            {
                variant.name: unknown or Missing(GapReason.ABSENT, Instant(0.0), f"no fleet of {policy.key}")
                for variant in policy.variants
            }
        )
    )


def _gaps(model: ModelObservation, engines: Engines) -> Iterator[Gap]:
    """Yield what is missing of a model. What merely did not happen (0/0) is none, nor is an optional signal."""
    for variant, workload in model.fleet.items():
        if isinstance(workload, Missing):
            yield Gap("fleet", f"{model.policy}/{variant}", workload)
    for variant, missing in engines.partial.items():
        yield Gap("engines", f"{model.policy}/{variant}", missing)
    for pod, load in model.engines.items():
        if isinstance(load.newest_sample, Missing):
            yield Gap("engine", pod, load.newest_sample)
    for profile, offered in model.loads.items():
        for name, missing in _missing(offered):
            yield Gap(name, f"{model.policy}/{profile}", missing)


def _missing(load: ProfileLoad) -> Iterator[tuple[str, Missing]]:
    for name in _FIELDS[type(load).__name__]:
        value = getattr(load, name)
        if isinstance(value, Missing) and value.reason is not GapReason.NOT_A_NUMBER and name not in _OPTIONAL:
            yield name, value
