"""Amendments: small changes of a proposal, each with its reason; none touches ``uncapped``."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.policy import Budget, RatioGuard
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.reason import Code, Evidence, Reason

Amendment: TypeAlias = Callable[[VariantPlan], VariantPlan]
Proposals: TypeAlias = Mapping[str, VariantPlan]  # by variant name


def within_bounds(variant: Variant) -> Amendment:
    """Keep a proposal between minReplicas and maxReplicas."""

    def amend(proposal: VariantPlan) -> VariantPlan:
        target = min(max(proposal.target, variant.min_replicas), variant.max_replicas)
        if target == proposal.target:
            return proposal
        return proposal.amended(target, Reason(Code.BOUNDED, {"from": proposal.target, "to": target}))

    return amend


@dataclass(frozen=True, slots=True)
class Floor:
    """What a schedule asks for."""

    schedule: str
    replicas: int


def at_least(floor: Floor | None, variant: Variant) -> Amendment:
    """Raise a proposal to what a schedule asks for; maxReplicas stays the limit."""

    def amend(proposal: VariantPlan) -> VariantPlan:
        target = 0 if floor is None else min(floor.replicas, variant.max_replicas)
        if floor is None or target <= proposal.target:
            return proposal
        return proposal.amended(target, Reason(Code.SCHEDULED, {"schedule": floor.schedule, "to": target}))

    return amend


def within_budget(
    variants: Sequence[Variant],
    budget: Budget,
    proposals: Proposals,
    occupied: Mapping[str, int] | None = None,
    importance: Mapping[str, int] | None = None,
) -> Proposals:
    """Cut proposals until accelerators and cost per hour fit, one replica at a time from the pool least cut so far.

    Minimums stay. What is less important (``importance``, by variant name) gives first. Roles are cut in step, because
    a request needs both: the variant that keeps the largest share of its wish gives next, the dearest of equals. What
    shrinks goes first: as long as replicas that leave are there (``occupied``, by variant name), others grow only into
    what is free.
    """
    wishes = {variant.name: proposals[variant.name].target for variant in variants}
    there = dict.fromkeys(wishes, 0) | dict(occupied or {})
    order = dict.fromkeys(wishes, 0) | dict(importance or {})
    counts = _fitting(variants, budget, wishes, dict.fromkeys(wishes, 0), order)
    growing = _fitting(variants, budget, counts, there, order)
    return {
        name: _cut(_cut(proposals[name], counts[name], Code.OVER_BUDGET), growing[name], Code.AWAITS_RELEASE)
        for name in counts
    }


def fits(variants: Sequence[Variant], budget: Budget, counts: Mapping[str, int]) -> bool:
    """Tell whether counts, by variant name, keep every limit."""
    return _overspent(variants, budget, counts) is None


def _fitting(
    variants: Sequence[Variant],
    budget: Budget,
    wishes: Mapping[str, int],
    there: Mapping[str, int],
    importance: Mapping[str, int],
) -> dict[str, int]:
    """Return counts cut until they fit, where no variant uses less than what is there of it."""
    counts = dict(wishes)
    while over := _overspent(variants, budget, {name: max(counts[name], there[name]) for name in counts}):
        givers = [v for v in variants if counts[v.name] > max(v.min_replicas, there[v.name]) and over(v)]
        if not givers:
            break
        least = min(importance[v.name] for v in givers)
        givers = [v for v in givers if importance[v.name] == least]
        giver = max(givers, key=lambda v: ((counts[v.name] - 1) / wishes[v.name], v.cost_per_replica_hour, v.name))
        counts[giver.name] -= 1
    return counts


def _overspent(
    variants: Sequence[Variant], budget: Budget, counts: Mapping[str, int]
) -> Callable[[Variant], bool] | None:
    """Return which variants could relieve the first limit that is exceeded; None: all limits hold."""
    for accelerator, limit in budget.accelerator_limits:
        used = sum(counts[v.name] * v.accelerators_per_replica for v in variants if v.accelerator == accelerator)
        if used > limit:
            return lambda variant: variant.accelerator == accelerator
    cost = sum(counts[v.name] * v.cost_per_replica_hour for v in variants)
    if budget.cost_per_hour is not None and cost > budget.cost_per_hour + 1e-9:
        return lambda _: True
    return None


def _cut(proposal: VariantPlan, target: int, code: Code) -> VariantPlan:
    if target == proposal.target:
        return proposal
    return proposal.amended(target, Reason(code, {"from": proposal.target, "to": target}))


def within_ratio(variants: Sequence[Variant], guard: RatioGuard, proposals: Proposals) -> Proposals:
    """Raise the smaller role until prefill per decode lies within the guard; a role is never cut for the ratio."""
    least, most = guard.min_prefill_per_decode, guard.max_prefill_per_decode
    prefill, decode = (_total(variants, role, proposals) for role in (Role.PREFILL, Role.DECODE))
    if least is not None and prefill < least * decode:
        return raised(_pool(variants, Role.PREFILL), math.ceil(least * decode) - prefill, Code.RATIO_GUARD, proposals)
    if most is not None and prefill > most * decode:
        return raised(_pool(variants, Role.DECODE), math.ceil(prefill / most) - decode, Code.RATIO_GUARD, proposals)
    return proposals


def _total(variants: Sequence[Variant], role: Role, proposals: Proposals) -> int:
    return sum(proposals[v.name].target for v in variants if v.role is role)


def _pool(variants: Sequence[Variant], role: Role) -> list[Variant]:
    return [variant for variant in variants if variant.role is role]


def raised(
    pool: Sequence[Variant], more: int, code: Code, proposals: Proposals, evidence: Evidence = MappingProxyType({})
) -> Proposals:
    """Add replicas to the cheapest variants of a pool that have room, and say why."""
    amended = dict(proposals)
    for variant in sorted(pool, key=lambda v: (v.cost_per_replica_hour, v.name)):
        now = amended[variant.name]
        added = min(more, max(0, variant.max_replicas - now.target))
        if added > 0:
            reason = Reason(code, {**evidence, "from": now.target, "to": now.target + added})
            amended[variant.name], more = now.amended(now.target + added, reason), more - added
    return amended
