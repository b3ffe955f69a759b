"""What holds of a policy and what does not, read off one tick: pure."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeAlias

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.membership import Membership
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.policy import Mode, SchedulerKind, SLOPolicy
from autoscaler.domain.reason import Code
from autoscaler.domain.record import Result, Step, TickRecord
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant
from autoscaler.publish.status_schema import ConditionReason, ConditionStatus, ConditionType

OPTIONAL = frozenset({"queued_requests"})
"""Signals whose absence is no fault: most pickers run without flow control."""

BY_GAP: Mapping[GapReason, ConditionReason] = MappingProxyType(
    {
        GapReason.UNREACHABLE: ConditionReason.SOURCE_UNREACHABLE,
        GapReason.ABSENT: ConditionReason.SERIES_ABSENT,
        GapReason.STALE: ConditionReason.SERIES_STALE,
        GapReason.INCONSISTENT: ConditionReason.SERIES_CONTRADICT,
        GapReason.PARTIAL: ConditionReason.SERIES_PARTIAL,
    }
)
"""Worst first. NOT_A_NUMBER is no gap here: nothing happened from which to compute."""

BY_RESULT: Mapping[Result, ConditionReason] = MappingProxyType(
    {
        Result.CONFLICT: ConditionReason.WRITE_CONFLICT,
        Result.REFUSED: ConditionReason.WRITE_REFUSED,
        Result.FAILED: ConditionReason.WRITE_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition as a tick tells it, before anybody knows since when."""

    status: ConditionStatus
    reason: ConditionReason
    message: str = ""


Findings: TypeAlias = Mapping[ConditionType, Finding]


def holds(reason: ConditionReason, message: str = "") -> Finding:
    """Return a finding that is as it should be."""
    return Finding(ConditionStatus.TRUE, reason, message)


def fails(reason: ConditionReason, message: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(ConditionStatus.FALSE, reason, message)


NOT_OBSERVED = Finding(ConditionStatus.UNKNOWN, ConditionReason.NOT_OBSERVED)


def of_refused(problems: Sequence[str]) -> Findings:
    """Return the conditions of a policy that cannot be used."""
    invalid = fails(ConditionReason.POLICY_INVALID, "\n".join(problems))
    return MappingProxyType(dict.fromkeys(ConditionType, NOT_OBSERVED) | {ConditionType.READY: invalid})


def of_tick(record: TickRecord, policy: SLOPolicy) -> Findings:
    """Return the conditions of a policy after a tick."""
    observed, plan = record.observation.models.get(policy.key), record.plan.models.get(policy.key)
    found = {
        ConditionType.METRICS_AVAILABLE: _metrics(record, observed),
        ConditionType.SCHEDULER_IN_SYNC: _scheduler(policy, observed),
        ConditionType.ABLE_TO_SCALE: _able_to_scale(record, policy, observed),
        ConditionType.WITHIN_BUDGET: _budget(policy, plan),
        ConditionType.RECOMMENDATION_PROVIDED: _recommendation(record, plan),
    }
    return MappingProxyType({ConditionType.READY: _ready(record, observed, found), **found})


def _ready(record: TickRecord, observed: ModelObservation | None, found: Findings) -> Finding:
    """Tell whether the policy is decided for on data that can be trusted. A short budget is no fault of the loop."""
    failed = [f"{failure.step.value}: {failure.detail}" for failure in record.failures if failure.step != Step.PUBLISH]
    metrics, scaling = found[ConditionType.METRICS_AVAILABLE], found[ConditionType.ABLE_TO_SCALE]
    if failed:
        return fails(ConditionReason.STEP_FAILED, "; ".join(failed))
    if metrics.status is ConditionStatus.FALSE:
        return fails(ConditionReason.METRICS_MISSING, metrics.message)
    if scaling.reason is ConditionReason.WORKLOAD_UNKNOWN:
        return fails(ConditionReason.WORKLOAD_UNKNOWN, scaling.message)
    return NOT_OBSERVED if observed is None else holds(ConditionReason.AS_WANTED)


def _metrics(record: TickRecord, observed: ModelObservation | None) -> Finding:
    if observed is None:
        return next((_of_gap("observation", f) for f in _blindness(record)), NOT_OBSERVED)
    gaps = [(name, missing) for name, missing in _missing(observed) if missing.reason in BY_GAP]
    if not gaps:
        return holds(ConditionReason.SERIES_FRESH)
    order = list(BY_GAP)
    name, worst = min(gaps, key=lambda gap: order.index(gap[1].reason))
    finding = _of_gap(name, worst)
    return dataclasses.replace(finding, message=finding.message + _and_more(len(gaps) - 1))


def _blindness(record: TickRecord) -> Iterator[Missing]:
    yield from (gap.missing for gap in record.observation.gaps if not gap.subject and gap.missing.reason in BY_GAP)


def _of_gap(name: str, missing: Missing) -> Finding:
    since = f" since {moment(missing.since)}" if missing.since else ""
    detail = f": {missing.detail}" if missing.detail else ""
    return fails(BY_GAP[missing.reason], f"{name} is {missing.reason.value}{since}{detail}")


def _missing(observed: ModelObservation) -> Iterator[tuple[str, Missing]]:
    for profile, load in observed.loads.items():
        for field in dataclasses.fields(load):
            value = getattr(load, field.name)
            if isinstance(value, Missing) and field.name not in OPTIONAL:
                yield f"{field.name} of profile {profile}", value
    for pod, engine in observed.engines.items():
        if isinstance(engine.newest_sample, Missing):
            yield f"series of pod {pod}", engine.newest_sample


def _scheduler(policy: SLOPolicy, observed: ModelObservation | None) -> Finding:
    """Compare what the pickers list with what should be listed: every pod that is ready, and none that drains."""
    if policy.scheduler.kind is SchedulerKind.NONE:
        return holds(ConditionReason.NOT_MANAGED, "the policy says scheduler: {none: true}")
    if observed is None:
        return NOT_OBSERVED
    if not isinstance(observed.membership, Membership):
        return Finding(ConditionStatus.UNKNOWN, ConditionReason.NOT_CONFIRMED, observed.membership.detail)
    told = disagreements(observed, observed.membership)
    if not told:
        return holds(ConditionReason.IN_SYNC)
    return fails(ConditionReason.OUT_OF_SYNC, told[0] + _and_more(len(told) - 1))


def disagreements(observed: ModelObservation, members: Membership) -> list[str]:
    """Return in which pods the pickers' lists differ from what is published, each in words."""
    absent = [pod for pod in _pods(observed, PodState.READY) if not members.lists(pod)]
    present = [pod for pod in _pods(observed, PodState.DRAINING) if not members.drops(pod)]
    told = [f"{name} should be listed and is not" for name in absent]
    return [*told, *(f"{name} is withdrawn and still listed" for name in present)]


def _pods(observed: ModelObservation, state: PodState) -> Iterator[str]:
    for workload in observed.fleet.values():
        if isinstance(workload, Workload):
            yield from sorted(pod.name for pod in workload.in_state(state))


def _able_to_scale(record: TickRecord, policy: SLOPolicy, observed: ModelObservation | None) -> Finding:
    if observed is None:
        return NOT_OBSERVED
    obstacle = next(_obstacles(record, policy, observed), None)
    if obstacle is not None:
        return obstacle
    if policy.mode is Mode.RECOMMEND:
        return holds(ConditionReason.RECOMMEND_ONLY, "mode Recommend writes no replicas; set mode: Auto to act")
    return holds(ConditionReason.WRITABLE)


def _obstacles(record: TickRecord, policy: SLOPolicy, observed: ModelObservation) -> Iterator[Finding]:
    """Yield what keeps counts from being set, what concerns most first."""
    for name, workload in observed.fleet.items():
        if isinstance(workload, Missing):
            yield fails(ConditionReason.WORKLOAD_UNKNOWN, f"replicas of {name}: {workload.detail}")
    if observed.paused:
        yield fails(ConditionReason.PAUSED, "a workload is annotated disagg-autoscaler.io/paused")
    for name, who in observed.foreign.items():
        yield fails(ConditionReason.FOREIGN_WRITER, f"{name}: {who}")
    for result in record.outcome.results:
        if result.action.variant.policy == policy.key and result.result in BY_RESULT:
            yield fails(BY_RESULT[result.result], f"{result.action.variant.variant}: {result.detail}")


def _budget(policy: SLOPolicy, plan: ModelPlan | None) -> Finding:
    if not policy.budget.accelerator_limits and policy.budget.cost_per_hour is None:
        return holds(ConditionReason.NO_BUDGET)
    if plan is None:
        return NOT_OBSERVED
    cuts = [
        f"{name}: {reason.message}"
        for name, variant in plan.variants.items()
        for reason in variant.reasons
        if reason.code is Code.OVER_BUDGET
    ]
    return fails(ConditionReason.BUDGET_SHORT, "; ".join(cuts)) if cuts else holds(ConditionReason.BUDGET_SUFFICES)


def _recommendation(record: TickRecord, plan: ModelPlan | None) -> Finding:
    if plan is None:  # on a tick that saw nothing every count is held, and that is known
        blind = next(_blindness(record), None)
        return (
            NOT_OBSERVED
            if blind is None
            else fails(ConditionReason.HELD, f"held: {_of_gap('observation', blind).message}")
        )
    held = {
        name: reason
        for name, variant in plan.variants.items()
        for reason in variant.reasons
        if reason.code in {Code.HELD_ON_GAP, Code.PAUSED, Code.FOREIGN_WRITER}
    }
    if not held:
        return holds(ConditionReason.DECIDED)
    told = "; ".join(f"{name}: {reason.message}" for name, reason in held.items())
    if len(held) < len(plan.variants):
        return holds(ConditionReason.PARTLY_HELD, told)
    paused = all(reason.code is Code.PAUSED for reason in held.values())
    return fails(ConditionReason.PAUSED if paused else ConditionReason.HELD, told)


def _and_more(count: int) -> str:
    return f"; and {count} more" if count else ""


def moment(at: Instant) -> str:
    """Write a moment as Kubernetes does: whole seconds, UTC."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
