"""Ray Serve 2026: replicas by ongoing requests; a change waits until its direction has lasted.

Source: ``python/ray/serve/autoscaling_policy.py``.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from autoscaler.domain.units import Instant, Seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults of ``AutoscalingConfig``."""

    minimum: int = 1
    maximum: int = 100
    target_ongoing: float = 2.0
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    upscale_delay: Seconds = Seconds(30.0)
    downscale_delay: Seconds = Seconds(600.0)

    def clamp(self, replicas: int) -> int:
        """Keep replicas within the bounds."""
        return min(max(replicas, self.minimum), self.maximum)


@dataclass(frozen=True, slots=True)
class State:
    """Since when the wish has pointed in one direction (0: nowhere)."""

    direction: Literal[-1, 0, 1] = 0
    since: Instant = Instant(0.0)


def wish(current: int, ongoing: float, settings: Settings) -> int:
    """Return the replicas that ongoing requests ask for, before delays."""
    desired = ongoing / settings.target_ongoing
    factor = settings.upscaling_factor if desired > current else settings.downscaling_factor
    if current == 0:
        return settings.clamp(math.ceil(settings.upscaling_factor) if ongoing > 0 else 0)
    replicas = math.ceil(current + factor * (desired - current))
    if math.ceil(desired) < current and replicas == current:
        replicas -= 1
    return settings.clamp(replicas)


def step(settings: Settings, state: State, at: Instant, *, current: int, ongoing: float) -> tuple[int, State]:
    """Return the replicas to set now, and the next state; a flip of direction starts the delay anew."""
    wanted = wish(current, ongoing, settings)
    direction: Literal[-1, 0, 1] = 1 if wanted > current else -1 if wanted < current else 0
    if direction != state.direction:
        state = State(direction, at)
    delay = settings.upscale_delay if direction > 0 else settings.downscale_delay
    due = direction != 0 and (current == 0 or at - state.since >= delay)
    return (wanted, replace(state, direction=0)) if due else (current, state)
