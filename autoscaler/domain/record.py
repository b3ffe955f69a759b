"""What happened in one tick: the one value from which log, metrics, status, events and explanations are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Action, Plan
from autoscaler.domain.signal import is_present
from autoscaler.domain.units import Seconds


class Result(StrEnum):
    """How one action ended."""

    DONE = "done"
    UNCHANGED = "unchanged"  # the cluster was already as wanted
    DRY_RUN = "dry-run"  # mode Recommend: said, not done
    CONFLICT = "conflict"  # someone else changed the object meanwhile; the next tick plans again
    REFUSED = "refused"  # not allowed, gone, or owned by another writer
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ActionResult:
    """One action and how it ended."""

    action: Action
    result: Result
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a tick's actions, in the order in which they were tried."""

    results: tuple[ActionResult, ...] = ()


class Step(StrEnum):
    """The steps of a tick, in order."""

    OBSERVE = "observe"
    DECIDE = "decide"
    ACT = "act"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step that did not end well; the tick went on as a hold."""

    step: Step
    kind: str  # class of the error, a bounded set
    detail: str


@dataclass(frozen=True, slots=True)
class TickRecord:
    """One tick, whole; of publishing, the time and failure of the tick before, since a record cannot tell its own."""

    observation: Observation
    plan: Plan
    outcome: Outcome = field(default_factory=Outcome)
    step_seconds: Mapping[Step, Seconds] = field(default_factory=lambda: MappingProxyType({}))
    failures: tuple[StepFailure, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Tell whether every step worked and every model's load was seen: what readiness is made of."""
        models = self.observation.models.values()
        seen = all(any(is_present(load.requests_per_second) for load in model.loads.values()) for model in models)
        return not self.failures and bool(models) and seen

    @property
    def idle(self) -> bool:
        """Tell whether all is well because there is nothing to do: no policy yet, and nothing failed."""
        return not (self.observation.models or self.observation.gaps or self.failures)
