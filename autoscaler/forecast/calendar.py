"""What is known of the future: events that multiply the load, and days on which people rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from autoscaler.domain.units import Instant


@dataclass(frozen=True, slots=True)
class LoadEvent:
    """A time span in which the load is expected to be ``factor`` times the usual (a launch, a batch job)."""

    start: Instant
    end: Instant
    factor: float

    def __post_init__(self) -> None:
        if not self.end > self.start or not self.factor > 0:
            msg = f"a load event needs end > start and factor > 0, not {self.start} to {self.end} with {self.factor}"
            raise ValueError(msg)


def factor_at(events: Iterable[LoadEvent], moment: Instant) -> float:
    """Return what all events together multiply the load by."""
    return prod(event.factor for event in events if event.start <= moment < event.end)


def upcoming(events: Sequence[LoadEvent], now: Instant, until: Instant) -> tuple[LoadEvent, ...]:
    """Return the events that are on now or begin before ``until``."""
    return tuple(event for event in events if event.end > now and event.start < until)
