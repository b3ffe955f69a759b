"""What the status page shows: the last tick whole, and of the hours before it what changed."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.domain.fleet import Workload
from autoscaler.domain.plan import ModelPlan, VariantPlan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.domain.units import HOUR, Instant, Seconds

WINDOW = Seconds(6 * HOUR)
POINTS = 720
"""Most changes kept of one variant: a count that changed at every tick would be followed for three hours."""

DECISIONS = 200


@dataclass(frozen=True, slots=True)
class Point:
    """Counts from a moment on, until the next point. None: not known."""

    at: Instant
    wanted: int | None
    requested: int | None
    ready: int | None

    @property
    def counts(self) -> tuple[int | None, ...]:
        """Return the counts without their time."""
        return (self.wanted, self.requested, self.ready)


@dataclass(frozen=True, slots=True)
class Decision:
    """A change of what is wanted, and why."""

    at: Instant
    policy: str
    variant: str
    before: int | None  # None: the first decision since the start
    wanted: int
    reasons: tuple[str, ...]
    codes: tuple[str, ...]
    result: str  # how the scaling ended; empty: nothing was to be done


class Board:
    """Keeps a bounded memory of ticks. Nothing in it is needed for deciding: after a restart it fills again."""

    def __init__(self, policies: Sequence[SLOPolicy] = ()) -> None:
        """Know of policies and of no tick."""
        self.policies: tuple[SLOPolicy, ...] = tuple(policies)
        self.record: TickRecord | None = None
        self.decisions: deque[Decision] = deque(maxlen=DECISIONS)
        self._points: dict[tuple[str, str], deque[Point]] = {}

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Know of other policies from now on; what was kept of those that are gone goes."""
        self.policies = tuple(policies)
        known = {(policy.key, variant.name) for policy in policies for variant in policy.variants}
        self._points = {subject: points for subject, points in self._points.items() if subject in known}

    async def publish(self, record: TickRecord) -> None:
        """Take note of a tick."""
        self.record = record
        for policy in self.policies:
            plan = record.plan.models.get(policy.key, ModelPlan(policy.key, {}))
            for variant in policy.variants:
                self._note(record, policy, variant.name, plan.variants.get(variant.name))

    def points(self, policy: str, variant: str) -> tuple[Point, ...]:
        """Return the changes of a variant's counts within the window, oldest first."""
        return tuple(self._points.get((policy, variant), ()))

    def _note(self, record: TickRecord, policy: SLOPolicy, variant: str, plan: VariantPlan | None) -> None:
        points = self._points.setdefault((policy.key, variant), deque(maxlen=POINTS))
        point = _point(record, policy.key, variant, plan)
        last = points[-1] if points else None
        known = next((p.wanted for p in reversed(points) if p.wanted is not None), None)
        if plan is not None and known != plan.target:
            self.decisions.appendleft(_decision(record, policy.key, variant, known, plan))
        if last is None or last.counts != point.counts:
            points.append(point)
        _forget(points, Instant(record.observation.at - WINDOW))


def _point(record: TickRecord, policy: str, variant: str, plan: VariantPlan | None) -> Point:
    model = record.observation.models.get(policy)
    workload = model.fleet.get(variant) if model else None
    seen = workload if isinstance(workload, Workload) else None
    return Point(
        at=record.observation.at,
        wanted=plan.target if plan else None,
        requested=seen.requested if seen else None,
        ready=seen.ready if seen else None,
    )


def _decision(record: TickRecord, policy: str, variant: str, before: int | None, plan: VariantPlan) -> Decision:
    results = [
        f"{result.result.value}: {result.detail}" if result.detail else result.result.value
        for result in record.outcome.results
        if (result.action.variant.policy, result.action.variant.variant) == (policy, variant)
    ]
    return Decision(
        at=record.observation.at,
        policy=policy,
        variant=variant,
        before=before,
        wanted=plan.target,
        reasons=tuple(dict.fromkeys(reason.message for reason in plan.reasons)),
        codes=tuple(dict.fromkeys(reason.code.value for reason in plan.reasons)),
        result="; ".join(results),
    )


def _forget(points: deque[Point], begin: Instant) -> None:
    """Drop what lies before the window, but for the level with which it begins."""
    while len(points) > 1 and points[1].at <= begin:
        points.popleft()
