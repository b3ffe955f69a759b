"""KubeAI: replicas by the moving average of active requests; down only after consecutive lower results."""

import math
from dataclasses import dataclass, replace

from autoscaler.domain.units import Seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults of a Model object."""

    target_requests: float = 100.0
    interval: Seconds = Seconds(10.0)
    scale_down_delay: Seconds = Seconds(30.0)


@dataclass(frozen=True, slots=True)
class State:
    """How many results in a row were lower than the present size."""

    lower_in_a_row: int = 0


def wish(mean_active: float, settings: Settings) -> int:
    """Return the replicas that active requests ask for."""
    return math.ceil(mean_active / settings.target_requests)


def step(settings: Settings, state: State, *, current: int, mean_active: float) -> tuple[int, State]:
    """Return the replicas to set now, and the next state."""
    wanted = wish(mean_active, settings)
    if wanted >= current:
        return wanted, State()
    waited = replace(state, lower_in_a_row=state.lower_in_a_row + 1)
    due = waited.lower_in_a_row >= math.ceil(settings.scale_down_delay / settings.interval)
    return (wanted, State()) if due else (current, waited)
