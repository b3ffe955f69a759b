"""Joins metrics and fleet into one Observation per tick; the same join replays the past from Prometheus."""

import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

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
        """Return every reading's rows.

        Raises:
            ObservationError: the source does not answer.
        """
        ...


class PastMetrics(MetricsSource, Protocol):
    """Evaluates the readings at many moments at once."""

    def read_range(self, start: Instant, end: Instant, step: Seconds) -> AsyncIterator[Snapshot]:
        """Yield a snapshot for each moment, oldest first."""
        ...


class Join:
    """Turns a snapshot and the fleet into an Observation. Remembers only since when each signal has been missing."""

    def __init__(self, policies: Sequence[SLOPolicy], windows: Windows) -> None:
        """Take the policies to observe.

        Raises:
            InputError: a policy has no default profile.
        """
        self.follow(policies, windows)
        self._good: dict[tuple[str, str], Instant] = {}  # last look at which a signal was there
        self._first: dict[tuple[str, str], Instant] = {}  # first look at a signal that never was
        self._looked: set[tuple[str, str]] = set()  # at this observation

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
        self._looked.clear()
        models = {}
        found = list(gaps)
        for table in self._tables:
            fleet = _view(table.policy, fleets)
            model, engines = self._model(table, snapshot, fleet)
            models[table.policy.key] = model
            if not gaps:  # a source that is gone altogether is one gap, not hundreds
                found += _gaps(model, engines)
        for memory in (self._good, self._first):  # of pods that are gone
            for key in memory.keys() - self._looked:
                del memory[key]
        return Observation(snapshot.at, MappingProxyType(models), tuple(found))

    def _model(self, table: ProfileTable, snapshot: Snapshot, fleet: FleetView) -> tuple[ModelObservation, Engines]:
        engines = Engines.of(table, snapshot, fleet, self._windows, self._stale_after)
        loads = Loads(table, snapshot, engines, self._windows, self._stale_after)
        key = table.policy.key
        model = ModelObservation(
            policy=key,
            loads=MappingProxyType(
                {n: self._dated(load, f"{key}/{n}", snapshot.at) for n, load in loads.all().items()}
            ),
            fleet=fleet.workloads,
            engines=MappingProxyType({n: self._dated(load, n, snapshot.at) for n, load in engines.loads().items()}),
            unmatched_share=loads.unmatched_share(),
            paused=fleet.paused,
            paused_scale_down=fleet.paused_scale_down,
        )
        return model, engines

    def _dated(self, load: T, subject: str, at: Instant) -> T:
        """Date each missing signal: by its last good look where there was one, else by the first look at it."""
        changed: dict[str, Any] = {}
        for field in dataclasses.fields(load):
            value = getattr(load, field.name)
            key = (field.name, subject)
            self._looked.add(key)
            if not isinstance(value, Missing):
                self._good[key] = at
                continue
            known = self._good.get(key, self._first.setdefault(key, at))
            if known < value.since:
                changed[field.name] = dataclasses.replace(value, since=known)
        return dataclasses.replace(load, **changed) if changed else load


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
        return self._join.observation(snapshot, gaps[0].missing if fleets is None else fleets, gaps)


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
    for field in dataclasses.fields(load):
        value = getattr(load, field.name)
        if isinstance(value, Missing) and value.reason is not GapReason.NOT_A_NUMBER and field.name not in _OPTIONAL:
            yield field.name, value
