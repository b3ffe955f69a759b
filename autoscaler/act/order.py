"""In which order actions are carried out: pure, per policy.

1. Readmit: capacity that is there at once, and costs nothing.
2. Growth that fits into the budget as it is used now: nobody should wait for a release that is not needed.
3. Withdraw, and after it every shrink: a pod that leaves while the picker still sees it loses its requests.
4. Growth that needs what the shrinks release: the budget is kept at every step, not only at the end.
5. Announce.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaler.domain.plan import Action, Announce, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.policy import Budget, SLOPolicy
from autoscaler.domain.pool import Variant


@dataclass(frozen=True, slots=True)
class Use:
    """What replicas take of a budget."""

    accelerators: Mapping[str, int]
    cost_per_hour: float

    def grown(self, variant: Variant, by: int) -> "Use":
        """Return the use with more (or fewer) replicas of a variant."""
        taken = self.accelerators.get(variant.accelerator, 0) + by * variant.accelerators_per_replica
        return Use(
            {**self.accelerators, variant.accelerator: taken}, self.cost_per_hour + by * variant.cost_per_replica_hour
        )

    def within(self, budget: Budget) -> bool:
        """Tell whether this much may be used."""
        limited = all(self.accelerators.get(kind, 0) <= limit for kind, limit in budget.accelerator_limits)
        return limited and (budget.cost_per_hour is None or self.cost_per_hour <= budget.cost_per_hour)


def used(policy: SLOPolicy, requested: Mapping[str, int]) -> Use:
    """Return what the requested replicas take; a variant whose count is unknown is taken to be at its maximum."""
    use = Use({}, 0.0)
    for variant in policy.variants:
        use = use.grown(variant, requested.get(variant.name, variant.max_replicas))
    return use


def ordered(actions: Sequence[Action], policy: SLOPolicy, requested: Mapping[str, int]) -> tuple[Action, ...]:
    """Return one policy's actions in execution order; among equals the given order stays.

    Args:
        actions: what is to be done, at most one Scale per variant.
        policy: whose budget is kept.
        requested: ``spec.replicas`` by variant name, as observed.
    """
    scales = [action for action in actions if isinstance(action, Scale)]
    shrinks = [scale for scale in scales if scale.replicas <= scale.observed]
    free, dependent = _split(
        [scale for scale in scales if scale.replicas > scale.observed], policy, used(policy, requested)
    )
    return (
        *(action for action in actions if isinstance(action, Readmit)),
        *free,
        *(action for action in actions if isinstance(action, Withdraw)),
        *shrinks,
        *dependent,
        *(action for action in actions if isinstance(action, Announce)),
    )


def _split(growths: Sequence[Scale], policy: SLOPolicy, use: Use) -> tuple[list[Scale], list[Scale]]:
    """Part growth that fits beside what is used now from growth that has to wait for a release."""
    free: list[Scale] = []
    dependent: list[Scale] = []
    for growth in growths:
        grown = use.grown(policy.variant(growth.variant.variant), growth.replicas - growth.observed)
        if grown.within(policy.budget):
            free.append(growth)
            use = grown
        else:
            dependent.append(growth)
    return free, dependent


def growth_behind_shrink(actions: Sequence[Action]) -> frozenset[int]:
    """Return the positions of growth that stands behind a shrink of the same policy: it depends on the release."""
    shrinking: set[str] = set()
    behind: set[int] = set()
    for position, action in enumerate(actions):
        match action:
            case Scale() if action.replicas < action.observed:
                shrinking.add(action.variant.policy)
            case Scale() if action.replicas > action.observed and action.variant.policy in shrinking:
                behind.add(position)
            case _:
                pass
    return frozenset(behind)


def waves(actions: Sequence[Action]) -> tuple[tuple[int, ...], ...]:
    """Return positions in groups: inside a group, actions may run at the same time; groups run one after the other.

    A group holds neighbours of one kind and direction, each of another variant, so that the given order between
    growth and shrink, and for every variant, is kept.
    """
    groups: list[list[int]] = []
    sort, variants = None, set[VariantRef]()
    for position, action in enumerate(actions):
        if _sort(action) != sort or action.variant in variants:
            sort, variants = _sort(action), set()
            groups.append([])
        variants.add(action.variant)
        groups[-1].append(position)
    return tuple(tuple(group) for group in groups)


def _sort(action: Action) -> tuple[type[Action], bool]:
    return type(action), isinstance(action, Scale) and action.replicas > action.observed
