"""The decision, as a value that explains itself: wanted replicas per variant, ordered actions, reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from autoscaler.domain.membership import Drain
from autoscaler.domain.reason import Reason
from autoscaler.domain.units import Instant


@dataclass(frozen=True, slots=True)
class VariantPlan:
    """Replicas of one variant.

    ``uncapped``: what load asks for, before bounds, budget and damping; no amendment touches it. ``target`` is wanted
    now; ``lower`` and ``upper`` bound what would be defensible: fewer breaks an SLO, more is wasted.
    """

    lower: int
    target: int
    upper: int
    uncapped: int
    reasons: tuple[Reason, ...] = ()

    @classmethod
    def of(cls, replicas: int, *reasons: Reason) -> "VariantPlan":
        """Return a plan in which every count is the same."""
        return cls(lower=replicas, target=replicas, upper=replicas, uncapped=replicas, reasons=reasons)

    def amended(self, target: int, *reasons: Reason) -> "VariantPlan":
        """Return this plan with another target and the reason for it; ``uncapped`` stays."""
        return replace(self, target=target, reasons=(*self.reasons, *reasons))

    def because(self, *reasons: Reason) -> "VariantPlan":
        """Return this plan with more reasons."""
        return replace(self, reasons=(*self.reasons, *reasons))


@dataclass(frozen=True, slots=True)
class VariantRef:
    """Names a variant among all policies of a controller."""

    policy: str  # SLOPolicy.key
    variant: str

    def __str__(self) -> str:
        return f"{self.policy}/{self.variant}"


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a pod out of the picker; it finishes what it has. Again: bring the notes on it up to date."""

    variant: VariantRef
    pod: str
    uid: str = ""  # of the pod that is meant; empty: whichever has the name
    drain: Drain | None = None  # what to note on the pod; None: nobody reads notes (simulations)


@dataclass(frozen=True, slots=True)
class Readmit:
    """Give a withdrawn pod back to the picker."""

    variant: VariantRef
    pod: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Set ``spec.replicas`` of a variant. ``observed``: the count the decision was based on."""

    variant: VariantRef
    replicas: int
    observed: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Admit a new pod to the picker after its warm-up."""

    variant: VariantRef
    pod: str
    uid: str = ""


Action: TypeAlias = Withdraw | Readmit | Scale | Announce


@dataclass(frozen=True, slots=True)
class ProfileOutlook:
    """What the decision assumed of one profile: the demand it was sized for."""

    profile: str
    requests_per_second: float
    uncached_prompt_tokens_per_second: float
    output_tokens_per_second: float


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One policy's part of a plan."""

    policy: str
    variants: Mapping[str, VariantPlan]
    actions: tuple[Action, ...] = ()  # in execution order
    outlook: Mapping[str, ProfileOutlook] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, for every policy of the controller."""

    at: Instant
    models: Mapping[str, ModelPlan] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def actions(self) -> tuple[Action, ...]:
        """Return the actions of every policy, in execution order."""
        return tuple(action for model in self.models.values() for action in model.actions)
