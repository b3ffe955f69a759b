"""What the loop needs from the outside world, as Protocols; adapters fit by structure."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Action
from autoscaler.domain.record import Outcome, TickRecord
from autoscaler.domain.units import Instant, Seconds


class Observer(Protocol):
    """Looks at metrics and cluster."""

    async def observe(self, now: Instant) -> Observation:
        """Return what is known at ``now``; what is not known is Missing.

        Raises:
            ObservationError: nothing at all could be observed.
        """
        ...


class History(Protocol):
    """Remembers what was observable in the past: the controller's memory across restarts."""

    def past(self, start: Instant, end: Instant, step: Seconds) -> AsyncIterator[Observation]:
        """Yield what would have been observed from ``start`` to ``end``, oldest first; the fleet may be missing."""
        ...


class Actuator(Protocol):
    """Changes the cluster, or (dry run) says that it would."""

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Carry out actions in the given order; a failed one is reported in the outcome, never raised."""
        ...


class Publisher(Protocol):
    """Tells the world what happened."""

    async def publish(self, record: TickRecord) -> None:
        """Publish one tick."""
        ...


class Clock(Protocol):
    """Tells time and waits."""

    def now(self) -> Instant:
        """Return the present moment."""
        ...

    async def sleep(self, duration: Seconds) -> None:
        """Wait."""
        ...
