"""What the engines of one policy report: per pod, and as totals of the pods on whose side a signal counts."""

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


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of one policy's pods, reading by reading as they are asked for."""

    table: ProfileTable
    snapshot: Snapshot
    pods: Collection[str]
    lacking: set[str] = field(default_factory=set)  # asked for, but left out of the snapshot
    _found: dict[str, Mapping[str, Sequence[Row]]] = field(default_factory=dict)

    def __getitem__(self, reading: str) -> Mapping[str, Sequence[Row]]:
        """Return the rows of a reading by pod, without pods that have none."""
        found = self._found.get(reading)
        if found is None:
            if reading not in self.snapshot.readings:
                self.lacking.add(reading)
                return {}
            found = self._found[reading] = _by_pod(self.table, self.snapshot, reading, self.pods)
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
        return {pod: self._load(pod) for pod in self.newest}

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
        pods = [pod for pod, state in self.newest.items() if side(self.roles[pod]) and not isinstance(state, Missing)]
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
        return total(row for row in trail if row.at == first)

    def hit_rate(self) -> float | None:
        """Return the share of prompt tokens that prefill finds in its cache; NaN if no prompt came for long.

        Hits over queries would count a waiting request again and again, and on decode pods "cached" means "pulled".
        """
        for reading in ("prompt_sources", "prompt_sources_long"):
            sources = self.on(prefills, reading)
            own = [row for row in sources if row.labels.get("source") != "external_kv_transfer"]
            share = ratio(total(r for r in own if r.labels.get("source") == "local_cache_hit"), total(own))
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

    def _load(self, pod: str) -> EngineLoad:
        def rows(reading: str) -> Sequence[Row]:
            return self.rows[reading].get(pod, ())

        open_window = self._rates_gap_of(pod)

        def signal(value: float | None, *readings: str) -> Signal[float]:
            return self._signal(pod, value, *readings)

        def rate(value: float | None, *readings: str) -> Signal[float]:
            return open_window or signal(value, *readings)

        def mean(part: str, whole: str) -> Signal[float]:
            return signal(ratio(total(rows(part)), total(rows(whole))), part, whole)

        return EngineLoad(
            pod=pod,
            running=signal(total(rows("running")), "running"),
            waiting=signal(total(rows("waiting_capacity")), "waiting_capacity"),
            deferred=signal(total(rows("waiting_deferred")), "waiting_deferred"),
            kv_use_ratio=signal(total(rows("kv_use")), "kv_use"),
            kv_capacity_tokens=signal(_capacity(rows("kv_size")), "kv_size"),
            prompt_tokens_per_second=rate(total(rows("prompts")), "prompts"),
            computed_prompt_tokens_per_second=rate(_computed(rows), "prompt_sources", "prompts", "prefix_hits"),
            output_tokens_per_second=rate(total(rows("generated")), "generated"),
            requests_per_second=rate(total(rows("finished")), "finished"),
            itl_mean_s=mean("engine_itl_sum", "engine_itl_count"),
            prefill_mean_s=mean("prefill_time_sum", "prefill_time_count"),
            queue_mean_s=mean("queue_time_sum", "queue_time_count"),
            ttft_mean_s=mean("engine_ttft_sum", "engine_ttft_count"),
            preemptions_per_second=rate(total(rows("preemptions")), "preemptions"),
            newest_sample=self.newest[pod],
        )

    def _rates_gap_of(self, pod: str) -> Missing | None:
        """Return why a pod's rates cannot be believed, if it reports at all (what is over what is, still can)."""
        if isinstance(self.newest[pod], Missing):
            return None
        if failure := self.snapshot.failure("engine_times", "engine_before"):
            return failure
        return coverage.gap({pod: self.covered[pod]}, self.snapshot.at, self.window) if pod in self.covered else None

    def _signal(self, pod: str, value: float | None, *readings: str) -> Signal[float]:
        """Return a value of a pod; a pod that is silent, or a query that failed, explains itself instead."""
        state = self.newest[pod]
        if isinstance(state, Missing):
            return state
        if failure := self.snapshot.failure(*readings):
            return failure
        if value is not None and math.isfinite(value):  # by far the most frequent: nothing has to be said of it
            return value
        return as_signal(value, self.snapshot.at, f"{readings[0]} of {pod}")


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
    if _is_frozen({name: rows[name].get(pod, ()) for name in ("running_trail", *PROGRESS)}):
        return Missing(GapReason.INCONSISTENT, snapshot.at, f"{pod}: requests run, but no counter moves")
    return latest


def _is_frozen(rows: Mapping[str, Sequence[Row]]) -> bool:
    """Tell whether requests ran through the whole window while nothing was computed: stuck, or a frozen exporter.

    Without a picker such a pod would read as no load at all.
    """
    running = [row.value for row in rows["running_trail"]]
    progress = [total(rows[name]) for name in PROGRESS]
    return len(running) >= _POINTS_TO_BELIEVE and min(running) > 0.0 and all(rate == 0.0 for rate in progress)


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


def _computed(rows: Callable[[str], Sequence[Row]]) -> float | None:
    """Return prompt tokens per second that were computed here; before vLLM 0.16: all less those found in the cache."""
    if sources := rows("prompt_sources"):
        return total(row for row in sources if row.labels.get("source") == "local_compute")
    prompts = total(rows("prompts"))
    hits = None if prompts is None else total(rows("prefix_hits"))
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
