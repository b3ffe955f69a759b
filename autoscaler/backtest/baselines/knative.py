"""Knative 1.23 KPA: concurrency over a stable and a panic window.

Source: ``pkg/autoscaler/scaling/autoscaler.go``.
"""

import math
from dataclasses import dataclass, replace

from autoscaler.domain.units import Instant, Seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """The defaults of ``config-autoscaler``; ``target`` is concurrency per pod after utilisation (70 %)."""

    target: float = 70.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    panic_threshold: float = 2.0
    stable_window: Seconds = Seconds(60.0)
    panic_window: Seconds = Seconds(6.0)
    scale_down_delay: Seconds = Seconds(0.0)


@dataclass(frozen=True, slots=True)
class State:
    """What one autoscaler remembers. ``panic_since`` None: it does not panic."""

    panic_since: Instant | None = None
    panic_replicas: int = 0
    recent: tuple[tuple[Instant, int], ...] = ()  # results within the scale-down delay

    @classmethod
    def starting(cls, at: Instant, ready: int) -> "State":
        """Return the state of an autoscaler that starts beside running pods: in panic, so that it keeps them."""
        return cls(panic_since=at, panic_replicas=ready) if ready > 1 else cls()


def step(
    settings: Settings, state: State, at: Instant, *, ready: int, stable: float, panic: float
) -> tuple[int, State]:
    """Return wanted replicas and the next state.

    Args:
        settings: as configured.
        state: after the previous step.
        at: now.
        ready: pods ready.
        stable: concurrency of all pods together, averaged over the stable window.
        panic: the same over the panic window.
    """
    pods = max(1, ready)
    highest = math.ceil(settings.max_scale_up_rate * pods)
    lowest = math.floor(pods / settings.max_scale_down_rate)
    calm = min(max(math.ceil(stable / settings.target), lowest), highest)
    hasty = min(max(math.ceil(panic / settings.target), lowest), highest)
    over = math.ceil(panic / settings.target) / pods >= settings.panic_threshold
    state = _mood(settings, state, at, over=over)
    if state.panic_since is not None:
        state = replace(state, panic_replicas=max(state.panic_replicas, calm, hasty))
    result = calm if state.panic_since is None else state.panic_replicas
    return _delayed(settings, state, at, result)


def _mood(settings: Settings, state: State, at: Instant, *, over: bool) -> State:
    if over:
        return replace(state, panic_since=at)
    if state.panic_since is not None and state.panic_since + settings.stable_window < at:
        return replace(state, panic_since=None, panic_replicas=0)
    return state


def _delayed(settings: Settings, state: State, at: Instant, result: int) -> tuple[int, State]:
    if not settings.scale_down_delay:
        return result, state
    recent = (*(entry for entry in state.recent if entry[0] > at - settings.scale_down_delay), (at, result))
    return max(count for _, count in recent), replace(state, recent=recent)
