"""From demand to plans: needs per role, mix of variants, shared budgets, amendments, ordered actions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.fleet import Workload
from autoscaler.domain.plan import Action, ModelPlan, ProfileOutlook, Scale, VariantPlan, VariantRef
from autoscaler.domain.policy import Behavior, SchedulerKind
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.units import Seconds
from autoscaler.plan import (
    alarms,
    allocation,
    behavior,
    breach,
    budgets,
    drain,
    guardrails,
    holds,
    needs,
    slack,
    spread,
    zero,
)
from autoscaler.plan.allocation import Option
from autoscaler.plan.arrivals import arrivals
from autoscaler.plan.budgets import Draft
from autoscaler.plan.division import divided
from autoscaler.plan.guardrails import Proposals
from autoscaler.plan.needs import Need
from autoscaler.plan.situation import Situation

KEPT = 0.5
"""Share of a start's time for which a replica that is not needed stays."""

FOUND = 2.0
"""Windows of the way down for which a fleet stays that was there when it was first seen."""

Memories: TypeAlias = Mapping[str, behavior.Memory]
"""What damping has to know of the past, by variant name."""


def plan(situation: Situation, memories: Memories) -> tuple[ModelPlan, Memories]:
    """Return what to do for one policy, and the memories for the next time."""
    return plans([situation], [memories])[0]


def plans(situations: Sequence[Situation], memories: Sequence[Memories]) -> list[tuple[ModelPlan, Memories]]:
    """Return what to do for several policies, in their order: those that share a budget are planned together."""
    remembered = {s.policy.key: memory for s, memory in zip(situations, memories, strict=True)}
    planned: dict[str, tuple[ModelPlan, Memories]] = {}
    pairs = zip(situations, needs.of_all(situations), strict=True)
    drafts = [_draft(situation, whole, remembered[situation.policy.key]) for situation, whole in pairs]
    for purse in budgets.purses(drafts):
        wishes = [_wished(draft) for draft in budgets.affordable(purse)]
        damped = [_damped_all(wish, remembered[wish.policy.key]) for wish in wishes]
        for wish, limited in zip(wishes, budgets.limited(damped), strict=True):
            key = wish.policy.key
            planned[key] = _settled(limited, wish.proposals, remembered[key])
    return [planned[situation.policy.key] for situation in situations]


def _settled(draft: Draft, wishes: Proposals, memories: Memories) -> tuple[ModelPlan, Memories]:
    """Return the plan of one policy from what its budget allows, and what to remember of its wishes."""
    situation = draft.situation
    limited = spread.watched(draft.pools, alarms.raised(situation, draft.proposals))
    variants = {name: holds.held(situation, name, proposal) for name, proposal in limited.items()}
    steps = _steps(situation, variants)
    variants = {name: proposal.because(*steps.reasons.get(name, ())) for name, proposal in variants.items()}
    model = ModelPlan(
        policy=situation.policy.key,
        variants=MappingProxyType(variants),
        actions=steps.actions,
        outlook=MappingProxyType({demand.profile: _outlook(demand) for demand in situation.demands}),
    )
    return model, _remembered(situation, wishes, steps.actions, memories)


def _draft(situation: Situation, whole: Mapping[Role, Mapping[str, Need]], memories: Memories) -> Draft:
    """Return what load asks for before anything is cut or damped: the cheapest mix of each role, as if alone.

    ``whole``: what each role needs that serves all of its load.
    """
    policy = situation.policy
    proposals: dict[str, VariantPlan] = {}
    pools: list[tuple[Option, ...]] = []

    def needed(role: Role, share: float) -> Mapping[str, Need]:
        return whole[role] if share == 1.0 else needs.of_role(situation, role, share)

    def sized(role: Role, share: float) -> tuple[Option, ...]:
        return _options(situation, role, needed(role, share), memories)

    division = divided(situation, sized)
    for role in Role:
        share = 1.0 if division is None else division.sized[role]
        need, chosen, options = needed(role, share), _chosen(situation, role), sized(role, share)
        proposals |= {v.name: VariantPlan.of(v.min_replicas) for v in policy.pool(role)[len(chosen) :]}
        proposals |= _mix(options, need) if need else _unknown(situation, chosen)
        if division is not None:
            proposals |= {v.name: proposals[v.name].because(division.reason(role)) for v in chosen}
        pools.append(options)
    return Draft(situation, tuple(pools), proposals)


def _chosen(situation: Situation, role: Role) -> tuple[Variant, ...]:
    pool = situation.policy.pool(role)
    return pool if situation.parts.variants else pool[:1]


def _options(situation: Situation, role: Role, needed: Mapping[str, Need], memories: Memories) -> tuple[Option, ...]:
    chosen = (variant for variant in _chosen(situation, role) if variant.name in needed)
    return tuple(_option(situation, variant, needed[variant.name], memories) for variant in chosen)


def _wished(draft: Draft) -> Draft:
    """Return the draft with what load alone does not ask for: limits broken now, the way to and from zero, guards."""
    proposals = breach.answered(draft.situation, draft.proposals)
    proposals = zero.answering(draft.situation, proposals)
    policy, proposals = draft.policy, dict(zero.awake(draft.situation, proposals))
    for variant in policy.variants:
        floor = draft.situation.floors.get(variant.name)
        proposals[variant.name] = guardrails.at_least(floor, variant)(proposals[variant.name])
    return draft.proposing(guardrails.within_ratio(policy.variants, policy.ratio, proposals))


def _damped_all(draft: Draft, memories: Memories) -> Draft:
    """Return the draft as far as ``behavior`` lets it change the fleet now."""
    policy = draft.policy
    wishes = slack.kept(draft) if draft.situation.parts.lazy_scale_in else draft.proposals
    damped: Proposals = {n: _damped(draft.situation, n, wish, memories) for n, wish in wishes.items()}
    damped = zero.together(draft.situation, damped)
    return draft.proposing(guardrails.within_ratio(policy.variants, policy.ratio, damped))


def _mix(options: Sequence[Option], needed: Mapping[str, Need]) -> Proposals:
    """Return the proposals of one role, as if it were alone."""
    counts = allocation.cheapest(options)
    proposals = {
        option.variant.name: _explained(
            option, _proposal(needed[option.variant.name], count, option.losses, alone=len(options) == 1)
        )
        for option, count in zip(options, counts, strict=True)
    }
    return spread.explained(options, counts, proposals)


def _explained(option: Option, proposal: VariantPlan) -> VariantPlan:
    """Return the proposal with a word on replicas that do not come."""
    overdue = option.overdue
    return proposal.because(Reason(Code.START_OVERDUE, {"overdue": overdue})) if overdue else proposal


def _option(situation: Situation, variant: Variant, need: Need, memories: Memories) -> Option:
    known, workload = situation.knowledge[variant.name], situation.workload(variant.name)
    option = Option(
        variant,
        need.wanted.replicas,
        variant.min_replicas,
        known.startup,
        known.lead,
        losses=situation.policy.losses(variant.role),
        spread=1.0 - situation.policy.spread.max_share,
        spare=need.spare,
    )
    if not isinstance(workload, Workload):
        return option
    coming = arrivals(workload, known.lead if known.usual is None else known.usual, situation.at)
    memory = memories.get(variant.name) or behavior.Memory.starting(situation.at, workload.requested)
    lasting = behavior.lasting(workload.requested, _rules(situation, variant.name, memory), memory, situation.at)
    return replace(option, requested=workload.requested, arrivals=coming, lasting=lasting)


def _proposal(need: Need, count: int, losses: int, *, alone: bool) -> VariantPlan:
    """Return the proposal of one variant, its bounds in proportion to its part of the mix."""
    wanted = need.wanted.replicas
    reason = Reason(need.wanted.code, need.wanted.evidence)
    if alone or wanted == 0:
        uncapped = wanted + losses if wanted else 0
        proposal = VariantPlan(need.lower, count, max(need.upper, uncapped), uncapped, (reason,))
    else:
        share = count / wanted
        lower, upper = min(count, round(need.lower * share)), max(count, round(need.upper * share))
        proposal = VariantPlan(lower, count, upper, count, (reason,))
    if losses and count:
        proposal = proposal.because(Reason(Code.SPARED, {"losses": losses}))
    if count == proposal.uncapped:
        return proposal
    reasons = [Reason(Code.BOUNDED, {"from": proposal.uncapped, "to": count})]
    if alone and need.wanted.short:
        reasons.append(Reason(Code.OVERLOADED, need.wanted.short))
    return proposal.because(*reasons)


def _unknown(situation: Situation, variants: tuple[Variant, ...]) -> dict[str, VariantPlan]:
    """Return proposals that keep what is there: nothing is known of the load."""
    return {v.name: VariantPlan.of(situation.requested(v.name) or v.min_replicas) for v in variants}


def _damped(situation: Situation, name: str, proposal: VariantPlan, memories: Memories) -> VariantPlan:
    """Apply windows, step limits and bounds; say which of them changed the count."""
    requested = situation.requested(name)
    if requested is None:
        return proposal
    memory = memories.get(name) or behavior.Memory.starting(situation.at, requested)
    variant, rules = situation.policy.variant(name), _rules(situation, name, memory)
    if requested and proposal.target and behavior.within_tolerance(proposal.target / requested, rules):
        kept = requested
        proposal = proposal if kept == proposal.target else proposal.amended(kept, Reason(Code.WITHIN_TOLERANCE))
    result = behavior.damped(
        proposal.target,
        current=min(max(requested, variant.min_replicas), variant.max_replicas),
        bounds=(variant.min_replicas, variant.max_replicas),
        behavior=rules,
        memory=memory,
        at=situation.at,
    )
    steps = ((Code.STABILIZED, result.stabilized), (Code.STEP_LIMITED, result.limited), (Code.BOUNDED, result.bounded))
    for code, count in steps:
        if count != proposal.target:
            proposal = proposal.amended(count, Reason(code, {"from": proposal.target, "to": count}))
    return proposal


def _rules(situation: Situation, name: str, memory: behavior.Memory) -> Behavior:
    """Return the operator's behavior, and on the way down no less than what a start costs.

    Keeping a replica for as long as starting it again would take pays at most twice the best schedule (ski rental, per
    level of load); what is planned already looks ahead over that time, so half of it is enough. A fleet that was found
    stays for longer: who sized it knew more of the load than one window shows.
    """
    rules = situation.policy.behavior
    if not situation.parts.lazy_scale_in:
        return rules
    window = max(rules.scale_down.stabilization_window, KEPT * situation.knowledge[name].startup)
    if memory.since is not None and situation.at - memory.since < FOUND * window:
        window *= FOUND
    if window == rules.scale_down.stabilization_window:
        return rules
    return replace(rules, scale_down=replace(rules.scale_down, stabilization_window=Seconds(window)))


def _steps(situation: Situation, variants: Mapping[str, VariantPlan]) -> drain.Steps:
    """Return what to do now: where a picker is told, replicas leave by a drain, else at once."""
    if situation.policy.scheduler.kind is SchedulerKind.NONE:
        return drain.Steps(_actions(situation, variants))
    targets = {name: proposal.target for name, proposal in variants.items()}
    held = frozenset(name for name, proposal in variants.items() if holds.is_held(proposal))
    return drain.steps(drain.Scene(situation.at, situation.policy, situation.observed, targets, held))


def _actions(situation: Situation, variants: Mapping[str, VariantPlan]) -> tuple[Action, ...]:
    """Return the changes to make, growth first; where growth would pass a limit, what shrinks goes first."""
    policy = situation.policy
    changes = []
    for name, proposal in variants.items():
        requested = situation.requested(name)
        if requested is not None and proposal.target != requested:
            changes.append(Scale(VariantRef(policy.key, name), proposal.target, requested))
    tight = bool(policy.budget.accelerator_limits) or policy.budget.cost_per_hour is not None
    return tuple(sorted(changes, key=lambda change: (change.replicas > change.observed) == tight))


def _remembered(situation: Situation, proposals: Proposals, actions: Sequence[Action], memories: Memories) -> Memories:
    """Return the memories with this tick's recommendations and the changes it is about to make."""
    changes = {a.variant.variant: a.replicas - a.observed for a in actions if isinstance(a, Scale)}
    kept: dict[str, behavior.Memory] = {}
    for name in proposals:
        requested = situation.requested(name)
        if requested is None:
            kept |= {name: memories[name]} if name in memories else {}  # nothing is known of its past
            continue
        memory = memories.get(name) or behavior.Memory.starting(situation.at, requested)
        rules = _rules(situation, name, memory)
        memory = memory.recommended(situation.at, proposals[name].target, rules)
        kept[name] = memory.changed(situation.at, changes.get(name, 0), rules)
    return MappingProxyType(kept)


def _outlook(demand: ProfileDemand) -> ProfileOutlook:
    """Return the expected load at the furthest horizon planned for."""
    horizon = max(demand.requests_per_second)
    return ProfileOutlook(
        profile=demand.profile,
        requests_per_second=demand.requests_per_second[horizon].mean.at(0.5),
        uncached_prompt_tokens_per_second=demand.uncached_prompt_tokens_per_second[horizon].mean.at(0.5),
        output_tokens_per_second=demand.output_tokens_per_second[horizon].mean.at(0.5),
    )
