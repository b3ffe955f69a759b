"""What the engines of one policy report: per pod, and as totals of the pods on whose side a signal counts."""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import EngineLoad, Moments
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe import coverage
from autoscaler.observe.catalogue import BY_ROLE, MODEL, NAMESPACE, POD, ROLE, Windows
from autoscaler.observe.coverage import Covered
from autoscaler.observe.fleet import FleetView
from autoscaler.observe.profiles import ProfileTable
from autoscaler.observe.samples import Histogram, Row, Snapshot, as_signal, grouped, ratio, slope, total

ROLE_LABELS: Mapping[str, Role] = MappingProxyType(
    {
        "prefill": Role.PREFILL,
        "encode-prefill": Role.PREFILL,
        "decode": Role.DECODE,
        "prefill-decode": Role.UNIFIED,
        "encode-prefill-decode": Role.UNIFIED,
        "both": Role.UNIFIED,
    }
)
"""Values of the label ``llm-d.ai/role``. An encoder (``encode``) neither computes prompts nor generates."""

_POINTS_TO_BELIEVE = 3
"""Points of a trail (15 s apart) through which requests must have run before a still pod is called frozen."""

PROGRESS = ("prompts", "generated", "finished")
"""Readings of which one moves while requests run."""

FIRST_SCRAPE_WITHIN = Seconds(60.0)
"""How long after it became ready a pod may stay without a sample: it has to be discovered, then its turn comes."""

_REPORTING = (PodState.READY, PodState.DRAINING)


def prefills(role: Role) -> bool:
    """Tell whether pods of a role count for requests and prompt tokens."""
    return role.prefills


def decodes(role: Role) -> bool:
    """Tell whether pods of a role count for output tokens."""
    return role.decodes


SAME = 1e-9
"""Relative difference up to which two sums of the same rates, added up in another order, are taken as equal."""


class _Rows(dict[str, Mapping[str, Sequence[Row]]]):
    """The rows of one policy's pods, by reading as they are asked for, and by pod; pods without rows are left out."""

    def __init__(self, table: ProfileTable, snapshot: Snapshot, pods: Collection[str]) -> None:
        """Take whose rows, and from where."""
        super().__init__()
        self.table = table
        self.lacking: set[str] = set()  # asked for, but left out of the snapshot
        self._snapshot = snapshot
        self._pods = pods

    def __missing__(self, reading: str) -> Mapping[str, Sequence[Row]]:
        """Pick the rows of a reading."""
        if reading not in self._snapshot.readings:
            self.lacking.add(reading)
            return {}
        found = self[reading] = _by_pod(self.table, self._snapshot, reading, self._pods)
        return found


@dataclass(frozen=True, slots=True)
class Engines:
    """The rows of one policy's pods."""

    snapshot: Snapshot
    roles: Mapping[str, Role]  # by pod
    newest: Mapping[str, Signal[Instant]]  # by pod, also of pods that should report and do not
    partial: Mapping[str, Missing]  # by variant of which ready pods do not report
    rows: _Rows
    covered: Mapping[str, Covered]  # by pod that reports and is older than the window
    window: Seconds
    _on: dict[Callable[[Role], bool], list[str]] = field(default_factory=dict, init=False)  # pods that report, by side

    @classmethod
    def of(
        cls, table: ProfileTable, snapshot: Snapshot, fleet: FleetView, windows: Windows, stale_after: Seconds
    ) -> "Engines":
        """Select the rows of a policy's pods: those the fleet names, else those of its model that carry a role."""
        members, whole = _members(table, fleet), _is_whole(fleet)
        candidates = members if whole else {**members, **dict.fromkeys(_speaking(table, snapshot))}
        rows = _Rows(table, snapshot, candidates)
        roles = _roles(table, rows["engine_newest"], members, only_members=whole)
        newest = {pod: _freshness(pod, rows, snapshot, stale_after) for pod in roles}
        partial = _partial(table, fleet, newest, snapshot.at, FIRST_SCRAPE_WITHIN)
        shown = {
            pod: state
            for pod, state in newest.items()
            if pod not in members or pod in rows["engine_newest"] or members[pod].state in _REPORTING
        }
        old = (
            _older_than(Seconds(windows.fast + FIRST_SCRAPE_WITHIN), members, snapshot.at)
            | rows["engine_before"].keys()
        )
        reporting = {
            pod: rows["engine_newest"][pod]
            for pod, state in shown.items()
            if pod in old and not isinstance(state, Missing)
        }
        covered = coverage.of_targets(rows["engine_times"], reporting, snapshot.at, windows.fast)
        return cls(snapshot, roles, shown, partial, rows, covered, windows.fast)

    @property
    def lacking(self) -> frozenset[str]:
        """Return the readings that were asked for and that the snapshot leaves out."""
        return frozenset(self.rows.lacking)

    @property
    def models(self) -> frozenset[str]:
        """Return the names under which the engines serve."""
        return frozenset(row.labels.get(MODEL, "") for rows in self.rows["engine_newest"].values() for row in rows)

    def loads(self) -> dict[str, EngineLoad]:
        """Return what each pod reports."""
        speaking = [pod for pod, state in self.newest.items() if not isinstance(state, Missing)]
        told = {load.pod: load for load in self._told(speaking)}
        return {
            pod: _silent(pod, state) if isinstance(state, Missing) else told[pod] for pod, state in self.newest.items()
        }

    def gap(self, side: Callable[[Role], bool], variants: Mapping[str, Role]) -> Missing | None:
        """Return why totals of a side cannot be formed: a ready pod is silent, or nobody reports."""
        for variant, missing in self.partial.items():
            if side(variants[variant]):
                return missing
        states = [state for pod, state in self.newest.items() if side(self.roles[pod])]
        fresh = [state for state in states if not isinstance(state, Missing)]
        if fresh:
            return None
        silent = (state for state in states if isinstance(state, Missing))
        return next(silent, Missing(GapReason.ABSENT, self.snapshot.at, "no engine reports"))

    def rates_gap(self, side: Callable[[Role], bool]) -> Missing | None:
        """Return why a side's totals of rates cannot be believed: samples leave too much of the window open."""
        if failure := self.snapshot.failure("engine_times", "engine_before"):
            return failure
        targets = {pod: found for pod, found in self.covered.items() if side(self.roles[pod])}
        return coverage.gap(targets, self.snapshot.at, self.window)

    def on(self, side: Callable[[Role], bool], reading: str) -> list[Row]:
        """Return the rows of a reading from the pods of a side that report."""
        pods = self._on.get(side)
        if pods is None:
            fresh = (pod for pod, state in self.newest.items() if not isinstance(state, Missing))
            pods = self._on[side] = [pod for pod in fresh if side(self.roles[pod])]
        found = self.rows[reading] if pods else {}
        return [row for pod in pods for row in found.get(pod, ())]

    def histogram(self, side: Callable[[Role], bool], name: str) -> Histogram | None:
        """Return a histogram of times over the pods of a side that report; None if nothing was observed.

        Prometheus adds it up over every pod of a model and role. Where these pods observed as much as that sum holds,
        no other pod has a share in it; else their own buckets count.
        """
        counts = [row for row in self.on(side, f"{name}_count") if not math.isnan(row.value)]
        observed = math.fsum(row.value for row in counts)
        if not observed > 0.0:
            return None
        by_role = self.snapshot.by(f"{name}_shared", *BY_ROLE)
        groups = {row.key(BY_ROLE) for row in counts}
        shared = Histogram.of(
            row for group in sorted(groups) for row in by_role.get(group, ()) if self.rows.table.is_selected(row)
        )
        if shared is not None and math.isclose(shared.total, observed, rel_tol=SAME):
            return shared
        return Histogram.of(self.on(side, f"{name}_bucket"))

    def offered(self) -> float | None:
        """Return requests per second as offered: what finishes, and what piles up (served is not offered)."""
        finished = total(self.on(prefills, "finished"))
        piling = slope([*self.on(prefills, "running_trail"), *self.on(prefills, "waiting_trail")])
        return None if finished is None or piling is None else max(0.0, finished + piling)

    def in_flight(self) -> float | None:
        """Return the requests inside prefill pods at the begin of the fast window."""
        trail = [*self.on(prefills, "running_trail"), *self.on(prefills, "waiting_trail")]
        first = min((row.at for row in trail), default=None)
        return total([row for row in trail if row.at == first])

    def hit_rate(self) -> float | None:
        """Return the share of prompt tokens that prefill finds in its cache; NaN if no prompt came for long.

        Hits over queries would count a waiting request again and again, and on decode pods "cached" means "pulled".
        """
        for reading in ("prompt_sources", "prompt_sources_long"):
            sources = self.on(prefills, reading)
            own = [row for row in sources if row.labels.get("source") != "external_kv_transfer"]
            share = ratio(total([r for r in own if r.labels.get("source") == "local_cache_hit"]), total(own))
            if share is not None and not math.isnan(share):
                return share
        return ratio(total(self.on(prefills, "prefix_hits")), total(self.on(prefills, "prompts")))

    def lengths(self, kind: str, side: Callable[[Role], bool]) -> Moments | None:
        """Return the moments of prompt or output lengths over all pods of a side; None if nothing finished.

        Engines that allow other lengths have other buckets, so moments are formed per pod and then averaged.
        """
        parts: list[tuple[float, Moments]] = []
        buckets = grouped(self.on(side, f"engine_{kind}_bucket"), (POD,))
        sums = grouped(self.on(side, f"engine_{kind}_sum"), (POD,))
        for pod, rows in sums.items():
            histogram, summed = Histogram.of(buckets.get(pod, ())), total(rows)
            if histogram and summed is not None and histogram.total > 0.0:
                parts.append((histogram.total, histogram.moments(summed / histogram.total)))
        weight = math.fsum(count for count, _ in parts)
        if not weight > 0.0:
            return None
        mean = math.fsum(count * moments.mean for count, moments in parts) / weight
        return Moments(mean, math.fsum(count * moments.second for count, moments in parts) / weight)

    def _told(self, pods: Sequence[str]) -> Iterator[EngineLoad]:
        """Yield what pods report that are not silent; signal by signal, which takes half the time of pod by pod."""

        def signals(values: Iterable[float | None], *readings: str) -> list[Signal[float]]:
            if failure := self.snapshot.failure(*readings):
                return [failure for _ in pods]
            return [
                value if value is not None and math.isfinite(value) else self._untold(pod, value, readings[0])
                for pod, value in zip(pods, values, strict=True)
            ]

        def rows(reading: str) -> list[Sequence[Row]]:
            found = self.rows[reading]
            return [found.get(pod, ()) for pod in pods]

        def of(reading: str) -> list[Signal[float]]:
            return signals(map(total, rows(reading)), reading)

        def mean(name: str) -> list[Signal[float]]:
            part, whole = f"{name}_sum", f"{name}_count"
            return signals(map(ratio, map(total, rows(part)), map(total, rows(whole))), part, whole)

        open_windows = [self._rates_gap_of(pod) for pod in pods]

        def rate(known: list[Signal[float]]) -> list[Signal[float]]:
            return [gap or value for gap, value in zip(open_windows, known, strict=True)]

        computed = signals((_computed(self.rows, pod) for pod in pods), "prompt_sources", "prompts", "prefix_hits")
        return map(
            EngineLoad,
            pods,
            of("running"),
            of("waiting_capacity"),
            of("waiting_deferred"),
            of("kv_use"),
            signals(map(_capacity, rows("kv_size")), "kv_size"),
            rate(of("prompts")),
            rate(computed),
            rate(of("generated")),
            rate(of("finished")),
            mean("engine_itl"),
            mean("prefill_time"),
            mean("queue_time"),
            mean("engine_ttft"),
            rate(of("preemptions")),
            (self.newest[pod] for pod in pods),
        )

    def _untold(self, pod: str, value: float | None, reading: str) -> Signal[float]:
        return as_signal(value, self.snapshot.at, f"{reading} of {pod}")

    def _rates_gap_of(self, pod: str) -> Missing | None:
        """Return why the rates of a pod that reports cannot be believed (what is over what is, still can)."""
        if failure := self.snapshot.failure("engine_times", "engine_before"):
            return failure
        return coverage.gap({pod: self.covered[pod]}, self.snapshot.at, self.window) if pod in self.covered else None


_SIGNALS = tuple(field.name for field in dataclasses.fields(EngineLoad) if field.name != "pod")


def _silent(pod: str, why: Missing) -> EngineLoad:
    """Return what a pod reports that is silent, or not believed: each signal says why."""
    return EngineLoad(pod=pod, **dict.fromkeys(_SIGNALS, why))


def _speaking(table: ProfileTable, snapshot: Snapshot) -> Iterator[str]:
    """Yield the pods whose engines name a model of the policy."""
    for row in table.owned(snapshot, "engine_newest"):
        if pod := row.labels.get(POD, ""):
            yield pod


def _by_pod(table: ProfileTable, snapshot: Snapshot, reading: str, pods: Iterable[str]) -> dict[str, Sequence[Row]]:
    """Return the rows of some pods, without those that have none."""
    groups, namespace = snapshot.by(reading, NAMESPACE, POD), table.policy.namespace
    found = {pod: rows for pod in pods if (rows := groups.get((namespace, pod)))}
    if not table.policy.metrics.matchers:
        return found
    return {pod: own for pod, rows in found.items() if (own := list(filter(table.is_selected, rows)))}


def _members(table: ProfileTable, fleet: FleetView) -> dict[str, Pod]:
    workloads = [workload for workload in fleet.workloads.values() if isinstance(workload, Workload)]
    known = {variant.name for variant in table.policy.variants}
    return {pod.name: pod for workload in workloads for pod in workload.pods if pod.variant in known}


def _older_than(age: Seconds, members: Mapping[str, Pod], at: Instant) -> set[str]:
    """Return the pods that have been ready for longer than an age."""
    return {name for name, pod in members.items() if pod.ready_since is not None and at - pod.ready_since > age}


def _is_whole(fleet: FleetView) -> bool:
    """Tell whether the fleet names every pod: then any other pod in the metrics is gone, or not of this policy."""
    return (
        bool(fleet.workloads)
        and fleet.names_pods
        and not any(isinstance(workload, Missing) for workload in fleet.workloads.values())
    )


def _roles(
    table: ProfileTable, newest: Mapping[str, Sequence[Row]], members: Mapping[str, Pod], *, only_members: bool
) -> dict[str, Role]:
    """Return the role of each pod of the policy: as the fleet says, else as the pod's label says."""
    roles = {name: table.policy.variant(pod.variant).role for name, pod in members.items()}
    if only_members:
        return roles
    single = {variant.role for variant in table.policy.variants}
    for pod, rows in sorted(newest.items()):
        if pod in roles or not any(table.owns(row) for row in rows):
            continue
        label = rows[0].labels.get(ROLE, "")
        if label in ROLE_LABELS:
            roles[pod] = ROLE_LABELS[label]
        elif not label and len(single) == 1:
            roles[pod] = next(iter(single))
    return roles


def _freshness(pod: str, rows: _Rows, snapshot: Snapshot, stale_after: Seconds) -> Signal[Instant]:
    """Return the time of a pod's newest sample, or why the pod cannot be believed."""
    if failure := snapshot.failure("engine_newest"):
        return failure
    times = [row.value for row in rows["engine_newest"].get(pod, ())]
    if not times:
        return Missing(GapReason.ABSENT, snapshot.at, f"{pod} does not report")
    latest = Instant(max(times))
    if snapshot.at - latest > stale_after:
        return Missing(GapReason.STALE, latest, f"{pod}: newest sample is {snapshot.at - latest:.0f} s old")
    if _is_frozen(rows, pod):
        return Missing(GapReason.INCONSISTENT, snapshot.at, f"{pod}: requests run, but no counter moves")
    return latest


def _is_frozen(rows: _Rows, pod: str) -> bool:
    """Tell whether requests ran through the whole window while nothing was computed: stuck, or a frozen exporter.

    Without a picker such a pod would read as no load at all.
    """
    if any(total(rows[name].get(pod, ())) != 0.0 for name in PROGRESS):  # something moved, or is not known
        return False
    running = [row.value for row in rows["running_trail"].get(pod, ())]
    return len(running) >= _POINTS_TO_BELIEVE and min(running) > 0.0


def _partial(
    table: ProfileTable,
    fleet: FleetView,
    newest: Mapping[str, Signal[Instant]],
    at: Instant,
    grace: Seconds,
) -> dict[str, Missing]:
    """Return the variants of which ready pods are silent; a pod may be ready for ``grace`` before its first scrape."""
    found: dict[str, Missing] = {}
    for variant in table.policy.variants:
        workload = fleet.workloads.get(variant.name)
        if not isinstance(workload, Workload) or not fleet.names_pods:
            continue
        ready = [p for p in workload.in_state(PodState.READY) if p.ready_since is None or at - p.ready_since > grace]
        silent = {pod.name: state for pod in ready if isinstance(state := newest.get(pod.name), Missing)}
        if silent:
            reasons = {state.reason for state in silent.values()}
            whole = len(silent) == len(ready) and len(reasons) == 1
            found[variant.name] = Missing(
                reasons.pop() if whole else GapReason.PARTIAL,
                min(state.since for state in silent.values()),
                f"{len(ready) - len(silent)} of {len(ready)} ready pods of {variant.name} report; "
                f"silent: {', '.join(sorted(silent)[:3])}",
            )
    return found


def _computed(rows: _Rows, pod: str) -> float | None:
    """Return prompt tokens per second that a pod computed; before vLLM 0.16: all less those found in the cache."""
    if sources := rows["prompt_sources"].get(pod):
        return total([row for row in sources if row.labels.get("source") == "local_compute"])
    prompts = total(rows["prompts"].get(pod, ()))
    hits = None if prompts is None else total(rows["prefix_hits"].get(pod, ()))
    return None if prompts is None or hits is None else max(0.0, prompts - hits)


def _capacity(rows: Iterable[Row]) -> float | None:
    """Return the tokens that the KV cache of all ranks holds, from labels that are text and sometimes "None"."""
    sizes = [_size(row) for row in rows]
    known = [size for size in sizes if size is not None]
    return math.fsum(known) if known and len(known) == len(sizes) else None


def _size(row: Row) -> float | None:
    blocks, block, tokens = (
        row.labels.get(name, "") for name in ("num_gpu_blocks", "block_size", "kv_cache_size_tokens")
    )
    if tokens.isdigit():
        return float(tokens)
    return float(blocks) * float(block) if blocks.isdigit() and block.isdigit() else None
