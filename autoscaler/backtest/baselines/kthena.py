"""Kthena 1.0 AutoscalingPolicy: recommendation, behaviour with panic, ratio of two roles, types by cost.

Source: ``pkg/autoscaler/algorithm`` and ``pkg/autoscaler/autoscaler``. Windows here are inclusive.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from autoscaler.domain.units import Instant, Seconds

TOLERANCE = 0.1


class Select(StrEnum):
    """Whether the looser (Or) or the stricter (And) of the two step limits counts."""

    OR = "Or"
    AND = "And"


@dataclass(frozen=True, slots=True)
class Steps:
    """One direction's step limits and window; ``period`` 0: no limit."""

    instances: int
    percent: int
    period: Seconds
    window: Seconds
    select: Select = Select.OR


@dataclass(frozen=True, slots=True)
class Panic:
    """Faster steps up while the wish is far above the size; ``hold`` 0: off."""

    percent: int = 0
    period: Seconds = Seconds(0.0)
    threshold_percent: int = 200
    hold: Seconds = Seconds(0.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults of the webhook."""

    minimum: int = 1
    maximum: int = 20
    up: Steps = field(default_factory=lambda: Steps(4, 100, Seconds(60.0), Seconds(0.0)))
    down: Steps = field(default_factory=lambda: Steps(0, 100, Seconds(60.0), Seconds(300.0)))
    panic: Panic = field(default_factory=Panic)

    def clamp(self, replicas: int) -> int:
        """Keep replicas within the bounds."""
        return min(max(replicas, self.minimum), self.maximum)


@dataclass(frozen=True, slots=True)
class State:
    """Earlier recommendations and corrected values, oldest first, and until when panic lasts."""

    recommended: tuple[tuple[Instant, int], ...] = ()
    corrected: tuple[tuple[Instant, int], ...] = ()
    panic_until: Instant = Instant(-math.inf)


def pod_recommendation(current: int, total: float, target: float, *, unready: int, settings: Settings) -> int:
    """Recommend from a metric summed over ready pods; the tolerance compares the *sum* with one target (as shipped)."""
    if not settings.minimum <= current <= settings.maximum:
        return settings.clamp(current)
    usage = total / target
    if unready == 0 or usage < 1:
        return settings.clamp(current if abs(usage - 1) <= TOLERANCE else math.ceil(usage))
    shared = total / (1 + unready) / target
    holds = abs(shared - 1) <= TOLERANCE or shared < 1
    return settings.clamp(current if holds else max(current, math.ceil(usage)))


def prometheus_recommendation(current: int, value: float, target: float, settings: Settings) -> int:
    """Recommend from an external value, within 10 % of the present size."""
    desired = value / target
    if current and abs(desired / current - 1) <= TOLERANCE:
        return settings.clamp(current)
    return settings.clamp(math.ceil(desired))


def corrected(settings: Settings, state: State, at: Instant, *, current: int, recommendation: int) -> tuple[int, State]:
    """Apply windows, step limits and panic; return the corrected value and the next state."""
    panic = settings.panic
    refresh = recommendation * 100 >= current * panic.threshold_percent
    if panic.hold > 0 and (refresh or at <= state.panic_until):
        wish = _panicked(panic, state, at, current, recommendation)
    elif recommendation < current:
        wish = _lowered(settings.down, state, at, current, recommendation)
    elif recommendation > current:
        wish = _raised(settings.up, state, at, current, recommendation)
    else:
        wish = current
    result = settings.clamp(wish)
    until = Instant(at + panic.hold) if refresh and panic.hold > 0 else state.panic_until
    return result, State((*state.recommended, (at, recommendation)), (*state.corrected, (at, result)), until)


def _panicked(panic: Panic, state: State, at: Instant, current: int, wish: int) -> int:
    if panic.period > 0:
        start = min(_in_force(state, at, current, panic.period))
        wish = min(wish, start + int(start * panic.percent / 100))
    return max(wish, current)


def _lowered(steps: Steps, state: State, at: Instant, current: int, wish: int) -> int:
    wish = max(wish, *(count for moment, count in state.recommended if moment + steps.window >= at), wish)
    if steps.period > 0:
        start = max(_in_force(state, at, current, steps.period))
        reach = (start - steps.instances, start - start * steps.percent // 100)
        wish = max(wish, min(reach) if steps.select is Select.OR else max(reach))
    return min(wish, current)


def _raised(steps: Steps, state: State, at: Instant, current: int, wish: int) -> int:
    wish = min(wish, *(count for moment, count in state.recommended if moment + steps.window >= at), wish)
    if steps.period > 0:
        start = min(_in_force(state, at, current, steps.period))
        reach = (start + steps.instances, start + start * steps.percent // 100)
        wish = min(wish, max(reach) if steps.select is Select.OR else min(reach))
    return max(wish, current)


def _in_force(state: State, at: Instant, current: int, period: Seconds) -> list[int]:
    """Return the present size and every corrected value that was in force within the period (the newest: two)."""
    values = [current]
    for index, (moment, count) in enumerate(state.corrected):
        newest = index + 1 == len(state.corrected)
        end = moment + period if newest else state.corrected[index + 1][0]
        if end + period >= at:
            values.append(count)
    return values
