"""The status of an SLOPolicy resource after a tick, from the tick's record and the status before: pure.

What was said before comes from the resource itself, so a restart changes no time of transition and forgets no decision.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import Latency, ModelObservation, ProfileLoad
from autoscaler.domain.plan import ModelPlan, Scale, VariantPlan
from autoscaler.domain.policy import SLOPolicy, Written
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.record import ActionResult, TickRecord
from autoscaler.domain.units import Instant
from autoscaler.publish import conditions
from autoscaler.publish.conditions import Findings
from autoscaler.publish.status_schema import (
    DECISIONS_KEPT,
    LONGEST_MESSAGE,
    LONGEST_SPEC,
    Condition,
    ConditionType,
    Decision,
    InOffice,
    PolicyStatus,
    ProfileStatus,
    Summary,
    VariantStatus,
)

Json: TypeAlias = dict[str, Any]


def of_tick(
    record: TickRecord, policy: SLOPolicy, generation: int, before: PolicyStatus, problems: Sequence[str] = ()
) -> PolicyStatus:
    """Return the status of a policy that was decided for.

    ``problems``: of its present version, where a former one stood in.
    """
    findings = conditions.of_tick(record, policy)
    if problems:
        findings = {**findings, ConditionType.READY: conditions.of_refused(problems)[ConditionType.READY]}
    observed, plan = record.observation.models.get(policy.key), record.plan.models.get(policy.key)
    variants = tuple(_variant(variant, observed, plan) for variant in policy.variants)
    profiles = tuple(_profile(profile, observed) for profile in policy.profiles)
    return PolicyStatus(
        observed_generation=generation,
        summary=_summary(policy, variants, profiles),
        variants=variants,
        profiles=profiles,
        decisions=(*_decisions(record, policy, plan, before.decisions), *before.decisions)[:DECISIONS_KEPT],
        conditions=_dated(findings, before.conditions, record.observation.at, generation),
    )


def of_refused(problems: Sequence[str], at: Instant, generation: int, before: PolicyStatus) -> PolicyStatus:
    """Return the status of a policy that cannot be used; what was decided before stays on record."""
    dated = _dated(conditions.of_refused(problems), before.conditions, at, generation)
    return PolicyStatus(observed_generation=generation, decisions=before.decisions, conditions=dated)


def in_office(version: Written | None) -> InOffice | None:
    """Return what a status says of the version that is decided for; None: it is not known, or too large."""
    if version is None or len(version.spec) > LONGEST_SPEC:
        return None
    return InOffice(generation=version.generation, spec=version.spec)


def read(status: Mapping[str, Any]) -> PolicyStatus:
    """Return a status as it stands in a resource; one of another version counts as none."""
    try:
        return PolicyStatus.model_validate(status)
    except ValidationError:
        return PolicyStatus()


def written(status: PolicyStatus) -> Json:
    """Return a status as it stands in a resource."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _dated(findings: Findings, before: Sequence[Condition], at: Instant, generation: int) -> tuple[Condition, ...]:
    """Date conditions: by the transition before where the status is still the same."""
    known = {condition.type: condition for condition in before}
    return tuple(
        Condition(
            type=kind,
            status=finding.status,
            reason=finding.reason,
            message=_short(finding.message),
            last_transition_time=known[kind].last_transition_time
            if kind in known and known[kind].status is finding.status
            else conditions.moment(at),
            observed_generation=generation,
        )
        for kind in ConditionType
        for finding in (findings[kind],)
    )


def _variant(variant: Variant, observed: ModelObservation | None, plan: ModelPlan | None) -> VariantStatus:
    workload = observed.fleet.get(variant.name) if observed else None
    seen = workload if isinstance(workload, Workload) else None
    wish = plan.variants.get(variant.name) if plan else None
    return VariantStatus(
        name=variant.name,
        role=variant.role.value,
        requested=seen.requested if seen else None,
        ready=seen.ready if seen else None,
        draining=seen.draining if seen else None,
        wanted=wish.target if wish else None,
        uncapped=wish.uncapped if wish else None,
        reasons=_codes(wish) if wish else (),
    )


def _codes(wish: VariantPlan) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason.code.value for reason in wish.reasons))[:16]


def _profile(profile: RequestProfile, observed: ModelObservation | None) -> ProfileStatus:
    load = observed.loads.get(profile.name) if observed else None
    ttft, itl = _within(load)
    return ProfileStatus(name=profile.name, target=profile.slo.attainment, ttft=ttft, itl=itl)


def _within(load: ProfileLoad | None) -> tuple[float | None, float | None]:
    """Return the shares inside the limits, to a tenth of a per cent: finer would be a new status every tick."""
    latencies = (load.ttft, load.itl) if load else (None, None)
    ttft, itl = (round(seen.within_slo, 3) if isinstance(seen, Latency) else None for seen in latencies)
    return ttft, itl


def _summary(policy: SLOPolicy, variants: Sequence[VariantStatus], profiles: Sequence[ProfileStatus]) -> Summary:
    shares = [share for profile in profiles for share in (profile.ttft, profile.itl) if share is not None]
    prices = {variant.name: variant.cost_per_replica_hour for variant in policy.variants}
    costs = [None if v.requested is None else v.requested * prices[v.name] for v in variants]
    known = [cost for cost in costs if cost is not None]
    return Summary(
        prefill=_counts(variants, Role.PREFILL),
        decode=_counts(variants, Role.DECODE),
        unified=_counts(variants, Role.UNIFIED),
        attainment=f"{100 * min(shares):.1f}%" if shares else None,
        cost_per_hour=f"{sum(known):.2f}" if len(known) == len(costs) else None,
    )


def _counts(variants: Sequence[VariantStatus], role: Role) -> str | None:
    """Return ready and wanted replicas of a role, such as ``2/3``; ? for a sum of which a part is not known."""
    pool = [variant for variant in variants if variant.role == role.value]
    return f"{_total(v.ready for v in pool)}/{_total(v.wanted for v in pool)}" if pool else None


def _total(counts: Iterator[int | None]) -> str:
    known = list(counts)
    return "?" if None in known else str(sum(count for count in known if count is not None))


def _decisions(
    record: TickRecord, policy: SLOPolicy, plan: ModelPlan | None, before: Sequence[Decision]
) -> Iterator[Decision]:
    """Yield what this tick set out to change; a wish that every tick of a dry run repeats is told once."""
    told = {decision.variant: _essence(decision) for decision in reversed(before)}
    for result in record.outcome.results:
        action = result.action
        if plan is not None and action.variant.policy == policy.key and isinstance(action, Scale):
            decision = _decision(record.observation.at, result, action, plan.variants[action.variant.variant])
            if told.get(decision.variant) != _essence(decision):
                yield decision


def _essence(decision: Decision) -> tuple[int, int, str]:
    return (decision.observed, decision.wanted, decision.result)


def _decision(at: Instant, result: ActionResult, action: Scale, wish: VariantPlan) -> Decision:
    words = "; ".join(reason.message for reason in wish.reasons)
    return Decision(
        at=conditions.moment(at),
        variant=action.variant.variant,
        observed=action.observed,
        wanted=action.replicas,
        result=result.result.value,
        reasons=_codes(wish),
        message=_short(words if not result.detail else f"{words} ({result.detail})"),
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"
