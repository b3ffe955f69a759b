"""AIBrix 0.7 PodAutoscaler: APA and KPA, and its cooldown, as shipped and repaired.

Source: ``pkg/controller/podautoscaler/{algorithm,context,stabilization}``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.domain.units import Instant, Seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults of the annotations."""

    minimum: int = 0
    maximum: int = 1000
    up_tolerance: float = 0.1
    down_tolerance: float = 0.1
    max_up_rate: float = 2.0
    max_down_rate: float = 2.0
    panic_threshold: float = 2.0
    up_cooldown: Seconds = Seconds(0.0)
    down_cooldown: Seconds = Seconds(300.0)

    def clamp(self, replicas: int) -> int:
        """Keep replicas within the bounds."""
        return min(max(replicas, self.minimum), self.maximum)

    def calls_for_change(self, usage: float) -> bool:
        """Tell whether usage over target is outside the tolerance."""
        return usage > 1 + self.up_tolerance or usage < 1 - self.down_tolerance


def apa(settings: Settings, current: int, value: float, target: float) -> int:
    """Propose replicas in proportion to a per-pod value, at most doubled or halved."""
    usage = value / target
    if not settings.calls_for_change(usage):
        return settings.clamp(current)
    wish = math.ceil(current * usage)
    if usage > 1:
        return settings.clamp(min(wish, math.ceil(settings.max_up_rate * current)))
    return settings.clamp(max(wish, math.floor(current / settings.max_down_rate)))


def kpa(settings: Settings, current: int, *, stable: float, panic: float, target: float) -> int:
    """Propose replicas as value over target.

    As shipped the value of a pod metric is a mean per pod, so the proposal forgets how many pods there are. Repaired:
    feed the mean times the ready pods.
    """

    def wish(value: float) -> int:
        free = math.ceil(value / target) if settings.calls_for_change(value / target) else current
        lowest = math.floor(current / settings.max_down_rate)
        return min(max(free, lowest), max(1, math.ceil(settings.max_up_rate * current)))

    in_panic = stable <= 0 or panic / stable > settings.panic_threshold
    return settings.clamp(max(wish(stable), wish(panic)) if in_panic else wish(stable))


def stabilised(
    settings: Settings,
    history: Sequence[tuple[Instant, int]],
    at: Instant,
    *,
    current: int,
    recommendation: int,
    repaired: bool = False,
) -> int:
    """Apply the cooldown. As shipped the way down takes the smallest recent wish, the way up the largest.

    Args:
        settings: bounds and windows.
        history: earlier recommendations.
        at: now.
        current: spec.replicas.
        recommendation: of this loop.
        repaired: take the smallest on the way up and the largest on the way down, as HPA does.
    """
    if recommendation == current:
        return settings.clamp(current)
    upwards = recommendation > current
    window = settings.up_cooldown if upwards else settings.down_cooldown
    recent = [*(count for moment, count in history if moment > at - window), recommendation]
    choose = max if upwards is not repaired else min
    return settings.clamp(choose(recent))
