"""What two policies of one controller must not share: a name, a workload; and what they had better not: traffic.

What they share on purpose, a budget, must be the same for both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import ScaleTarget, Variant
from autoscaler.policy.problems import Path, Problem, error, warning


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a policy was read."""

    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=lambda: MappingProxyType({}))


def conflicts(policies: Sequence[tuple[SLOPolicy, Origin]]) -> tuple[Problem, ...]:
    """Return what each policy shares with one before it, located in the later one."""
    earlier = _Earlier(set(), {}, {}, {})
    return tuple(
        problem.located(origin.file, origin.lines) for policy, origin in policies for problem in earlier.shared(policy)
    )


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What the policies so far have taken."""

    keys: set[str]
    workloads: dict[tuple[str, ...], str]
    traffic: dict[tuple[object, ...], str]
    budgets: dict[str, SLOPolicy]  # the first policy that shares each

    def shared(self, policy: SLOPolicy) -> Iterator[Problem]:
        yield from self._key(policy)
        yield from self._traffic(policy)
        yield from self._budget(policy)
        for variant in policy.variants:
            yield from self._workload(policy, variant)

    def _key(self, policy: SLOPolicy) -> Iterator[Problem]:
        if policy.key in self.keys:
            yield error(("metadata", "name"), f"{policy.key} is the name of an earlier policy too; rename one")
        self.keys.add(policy.key)

    def _traffic(self, policy: SLOPolicy) -> Iterator[Problem]:
        traffic = (policy.namespace, policy.model, frozenset(policy.metrics.matchers))
        if traffic in self.traffic:
            yield warning(
                ("spec", "model"),
                f"{policy.model} is the model of policy {self.traffic[traffic]} too, so both count the same requests;"
                " tell them apart by metrics.matchers",
            )
        self.traffic.setdefault(traffic, policy.key)

    def _budget(self, policy: SLOPolicy) -> Iterator[Problem]:
        name = policy.budget.shared_as
        if not name:
            return
        first = self.budgets.setdefault(name, policy)
        if first.budget != policy.budget:
            yield error(
                ("spec", "budget"),
                f"shares budget {name} with policy {first.key}, whose limits differ; state the same, or rename one",
            )

    def _workload(self, policy: SLOPolicy, variant: Variant) -> Iterator[Problem]:
        workload = _identity(variant.target)
        name = f"{policy.key}/{variant.name}"
        if workload in self.workloads:
            yield error(
                _place(policy, variant),
                f"{variant.target.kind} {variant.target.name} is scaled by variant {self.workloads[workload]} already;"
                " name another workload",
            )
        self.workloads.setdefault(workload, name)


def _identity(target: ScaleTarget) -> tuple[str, ...]:
    return (target.namespace, target.api_version.rpartition("/")[0], target.kind, target.name)


def _place(policy: SLOPolicy, variant: Variant) -> Path:
    index = policy.pool(variant.role).index(variant)
    return ("spec", "pools", variant.role.value, "variants", index, "scaleTargetRef")
