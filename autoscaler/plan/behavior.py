"""The arithmetic of HorizontalPodAutoscaler v2 ``behavior``: tolerance, stabilization windows, step limits.

Exact to Kubernetes 1.27 and later (``pkg/controller/podautoscaler/horizontal.go``; vectors ``hpa-*`` in
``tests/data/baseline-vectors.json``). Pure: what was recommended and changed before is a ``Memory`` value.

An entry counts while it is younger than its window: at ``t`` it counts until just before ``t + window``.
"""

import math
from dataclasses import dataclass, replace

from autoscaler.domain.policy import Behavior, ScalingRules, Select, StepKind, StepLimit
from autoscaler.domain.units import Instant, Seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """A count and when it was: a recommendation (replicas), or a change (replicas added, negative: removed)."""

    at: Instant
    replicas: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What stabilization and step limits have to know of the past, oldest first."""

    recommendations: tuple[Entry, ...] = ()
    changes: tuple[Entry, ...] = ()
    since: Instant | None = None  # when it began

    @classmethod
    def starting(cls, at: Instant, replicas: int) -> "Memory":
        """Return the memory of a controller that has just started: the present size is its only recommendation."""
        return cls(recommendations=(Entry(at, replicas),), since=at)

    def recommended(self, at: Instant, replicas: int, behavior: Behavior) -> "Memory":
        """Return this memory with one more (uncut) recommendation; what no window needs any more is forgotten.

        Of the same count several times in a row the newest says all that the others do, and longer.
        """
        keep = max(behavior.scale_up.stabilization_window, behavior.scale_down.stabilization_window)
        past = _younger(self.recommendations, at, keep)
        past = past[:-1] if past and past[-1].replicas == replicas else past
        return replace(self, recommendations=(*past, Entry(at, replicas)))

    def changed(self, at: Instant, added: int, behavior: Behavior) -> "Memory":
        """Return this memory with a change that was made (negative: removed); 0 leaves no trace."""
        limits = (*behavior.scale_up.limits, *behavior.scale_down.limits)
        keep = max((limit.period for limit in limits), default=Seconds(0.0))
        entries = (Entry(at, added),) if added else ()
        return replace(self, changes=(*_younger(self.changes, at, keep), *entries))


@dataclass(frozen=True, slots=True)
class Damped:
    """A recommendation on its way to a target. Each field is the count after that step."""

    stabilized: int  # after the windows
    limited: int  # after the step limits
    bounded: int  # after minimum and maximum: the target


def within_tolerance(usage_ratio: float, behavior: Behavior) -> bool:
    """Tell whether usage over target is near enough to 1 to change nothing (both ends inclusive)."""
    return 1.0 - behavior.scale_down.tolerance <= usage_ratio <= 1.0 + behavior.scale_up.tolerance


def stabilized(recommendation: int, current: int, behavior: Behavior, memory: Memory, at: Instant) -> int:
    """Return the least change that every recommendation within the windows agrees to.

    The way up takes the smallest, the way down the largest recommendation of its window; in between nothing changes.
    """
    up, down = behavior.scale_up.stabilization_window, behavior.scale_down.stabilization_window
    lowest = min([recommendation, *(e.replicas for e in _younger(memory.recommendations, at, up))])
    highest = max([recommendation, *(e.replicas for e in _younger(memory.recommendations, at, down))])
    return min(max(current, lowest), highest)


def lasting(current: int, behavior: Behavior, memory: Memory, at: Instant) -> tuple[Seconds, ...]:
    """Return how long the window of the way down keeps each of some replicas, were none of them recommended again."""
    window = behavior.scale_down.stabilization_window
    left: list[Seconds] = []
    for entry in reversed(_younger(memory.recommendations, at, window)):
        left += [Seconds(entry.at + window - at)] * (min(entry.replicas, current) - len(left))
    return (*left, *[Seconds(0.0)] * (current - len(left)))


def step_bounds(current: int, behavior: Behavior, memory: Memory, at: Instant) -> tuple[int, float]:
    """Return the smallest and the largest count that the step limits allow now (``math.inf``: any)."""
    return _floor(current, behavior.scale_down, memory, at), _ceiling(current, behavior.scale_up, memory, at)


def damped(  # the seven inputs of the rule, and nothing else
    recommendation: int, *, current: int, bounds: tuple[int, int], behavior: Behavior, memory: Memory, at: Instant
) -> Damped:
    """Return what becomes of a recommendation: windows first, then step limits, then bounds.

    Args:
        recommendation: replicas asked for, before any damping.
        current: ``spec.replicas``.
        bounds: minimum and maximum of the workload; a current size outside them is corrected before all else, without
            windows or step limits, as HPA does.
        behavior: windows and limits of both directions.
        memory: as of before this recommendation; record it afterwards with ``Memory.recommended`` and, once
            written, ``Memory.changed``.
        at: now.
    """
    least, most = bounds
    if not least <= current <= most:
        corrected = min(max(current, least), most)
        return Damped(stabilized=corrected, limited=corrected, bounded=corrected)
    wish = stabilized(recommendation, current, behavior, memory, at)
    lowest, highest = step_bounds(current, behavior, memory, at)
    limited = int(min(max(wish, lowest), highest))
    return Damped(stabilized=wish, limited=limited, bounded=min(max(limited, least), most))


def _ceiling(current: int, rules: ScalingRules, memory: Memory, at: Instant) -> float:
    if rules.select is Select.DISABLED:
        return current
    if not rules.limits:
        return math.inf
    reach = [_raised(_period_start(current, limit, memory, at), limit) for limit in rules.limits]
    return max(current, min(reach) if rules.select is Select.MIN else max(reach))


def _floor(current: int, rules: ScalingRules, memory: Memory, at: Instant) -> int:
    if rules.select is Select.DISABLED:
        return current
    if not rules.limits:
        return 0
    reach = [_lowered(_period_start(current, limit, memory, at), limit) for limit in rules.limits]
    return max(0, min(current, max(reach) if rules.select is Select.MIN else min(reach)))


def _period_start(current: int, limit: StepLimit, memory: Memory, at: Instant) -> int:
    """Return the size that the workload would have had at the beginning of the limit's period."""
    return current - sum(entry.replicas for entry in _younger(memory.changes, at, limit.period))


def _raised(start: int, limit: StepLimit) -> int:
    if limit.kind is StepKind.PODS:
        return start + limit.value
    return math.ceil(max(start, 1) * (1 + limit.value / 100))  # of none, no percentage would ever make one


def _lowered(start: int, limit: StepLimit) -> int:
    if limit.kind is StepKind.PODS:
        return start - limit.value
    return int(start * (1 - limit.value / 100))  # toward zero, as HPA


def _younger(entries: tuple[Entry, ...], at: Instant, window: Seconds) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.at > at - window)
