"""Limits that pools share: those of one policy, and of several policies that name the same budget.

Where all wishes fit, nothing happens here. Where they do not, other mixes of variants come first, then fewer replicas:
those of less important policies before others, roles of a policy in step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoscaler.domain.fleet import Workload
from autoscaler.domain.policy import Budget, SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.reason import Code, Evidence, Reason
from autoscaler.plan import guardrails, program
from autoscaler.plan.allocation import Option
from autoscaler.plan.guardrails import Proposals
from autoscaler.plan.program import Claim, Share
from autoscaler.plan.situation import Situation


@dataclass(frozen=True, slots=True)
class Draft:
    """What the load of one policy asks for."""

    situation: Situation
    pools: tuple[tuple[Option, ...], ...]  # what each role may be served by; without options: its need is not known
    proposals: Proposals

    @property
    def policy(self) -> SLOPolicy:
        """Return the policy."""
        return self.situation.policy

    def proposing(self, proposals: Proposals) -> "Draft":
        """Return this draft with other proposals."""
        return replace(self, proposals=proposals)


def purses(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Return the drafts by the budget that they live on: most have one of their own."""
    found: dict[tuple[str, str], list[Draft]] = {}
    for draft in drafts:
        shared = draft.policy.budget.shared_as
        found.setdefault(("shared", shared) if shared else ("own", draft.policy.key), []).append(draft)
    return [*found.values()]


def affordable(drafts: Sequence[Draft]) -> list[Draft]:
    """Return drafts of one purse that fit: what is cheapest alone where that does, else what is cheapest together.

    Where not even minimums fit, nothing is changed: ``limited`` cuts.
    """
    if _unlimited(drafts) or not (purse := _Purse(drafts)).exceeded():
        return [*drafts]
    claims = [Claim(tuple(pool for pool in draft.pools if pool), importance(draft.policy)) for draft in drafts]
    shares = program.shared(claims, purse.beside_unknown())
    if shares is None:
        return [*drafts]
    return [_given(draft, share) for draft, share in zip(drafts, shares, strict=True)]


def limited(drafts: Sequence[Draft]) -> list[Draft]:
    """Return drafts of one purse cut until they fit; what grows waits for what leaves."""
    if _unlimited(drafts):
        return [*drafts]
    purse = _Purse(drafts)
    return purse.parted(
        guardrails.within_budget(purse.variants, purse.budget, purse.proposals, purse.occupied, purse.importance)
    )


def _unlimited(drafts: Sequence[Draft]) -> bool:
    return all(draft.policy.budget.limits_nothing for draft in drafts)


def importance(policy: SLOPolicy) -> int:
    """Return the importance of a policy: that of its most important profile, since its profiles share its pools."""
    return max(profile.importance for profile in policy.profiles)


def tightest(budgets: Sequence[Budget]) -> Budget:
    """Return the limits that keep every one of several budgets."""
    limits: dict[str, int] = {}
    for budget in budgets:
        for accelerator, limit in budget.accelerator_limits:
            limits[accelerator] = min(limit, limits.get(accelerator, limit))
    costs = [budget.cost_per_hour for budget in budgets if budget.cost_per_hour is not None]
    return Budget(tuple(sorted(limits.items())), min(costs, default=None))


def _given(draft: Draft, share: Share) -> Draft:
    amended = dict(draft.proposals)
    evidence: Evidence = {"served": share.served}
    if draft.policy.budget.shared_as:
        evidence = {"served": share.served, "budget": draft.policy.budget.shared_as}
    for pool, counts in zip((pool for pool in draft.pools if pool), share.counts, strict=True):
        for option, count in zip(pool, counts, strict=True):
            wish = amended[option.variant.name]
            reason = Reason(Code.OVER_BUDGET, {"from": wish.target, "to": count, **evidence})
            amended[option.variant.name] = wish if count == wish.target else wish.amended(count, reason)
    return draft.proposing(amended)


class _Purse:
    """Drafts on one budget as if they were one: variants named apart by the place of their policy."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.budget = tightest([draft.policy.budget for draft in drafts])
        self.variants: list[Variant] = []
        self.proposals: Proposals = {}
        self.occupied: dict[str, int] = {}
        self.importance: dict[str, int] = {}
        for place, draft in enumerate(drafts):
            own = importance(draft.policy)
            for variant in draft.policy.variants:
                name = self._name(place, variant)
                self.variants.append(variant if len(drafts) == 1 else replace(variant, name=name))
                self.importance[name] = own
                workload = draft.situation.workload(variant.name)
                if isinstance(workload, Workload):  # those that leave hold accelerators too
                    self.occupied[name] = len(workload.pods)
        self.proposals = {
            self._name(place, variant): draft.proposals[variant.name]
            for place, draft in enumerate(drafts)
            for variant in draft.policy.variants
        }

    def _name(self, place: int, variant: Variant) -> str:
        return variant.name if len(self.drafts) == 1 else f"{place} {variant.name}"

    def exceeded(self) -> bool:
        """Tell whether the proposals pass a limit."""
        counts = {name: proposal.target for name, proposal in self.proposals.items()}
        return not guardrails.fits(self.variants, self.budget, counts)

    def beside_unknown(self) -> Budget:
        """Return what is left of the budget beside pools of which only the present size is known."""
        planned = {
            self._name(place, option.variant)
            for place, draft in enumerate(self.drafts)
            for pool in draft.pools
            for option in pool
        }
        others = [variant for variant in self.variants if variant.name not in planned]
        used: dict[str, int] = {}
        for v in others:
            used[v.accelerator] = used.get(v.accelerator, 0) + self._count(v) * v.accelerators_per_replica
        cost = self.budget.cost_per_hour
        spent = sum(self._count(v) * v.cost_per_replica_hour for v in others)
        limits = tuple((name, max(0, limit - used.get(name, 0))) for name, limit in self.budget.accelerator_limits)
        return Budget(limits, None if cost is None else max(0.0, cost - spent))

    def _count(self, variant: Variant) -> int:
        return self.proposals[variant.name].target

    def parted(self, proposals: Proposals) -> list[Draft]:
        """Return the drafts with their part of proposals for all."""
        return [
            draft.proposing({v.name: proposals[self._name(place, v)] for v in draft.policy.variants})
            for place, draft in enumerate(self.drafts)
        ]
