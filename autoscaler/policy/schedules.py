"""When the schedules of a policy apply: cron expressions in their time zone, as spans of time. Knows no "now"."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from autoscaler.domain.policy import Schedule
from autoscaler.domain.units import Instant

FIELDS = 5
"""Minute, hour, day of month, month, day of week."""

EXAMPLE = datetime(2026, 1, 1, tzinfo=UTC)
"""Any moment: whether an expression is one does not depend on it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time span in which a schedule applies, end excluded."""

    start: Instant
    end: Instant


def spans(schedule: Schedule, start: Instant, end: Instant) -> tuple[Span, ...]:
    """Return when a schedule applies between two moments, oldest first; spans that touch are one.

    Begins are local times: after a change of clocks the span still begins at the same hour and lasts as long.
    """
    found: list[Span] = []
    for begin in _begins(schedule, end):
        until = begin + schedule.duration
        if until <= start:
            break
        if found and until >= found[-1].start:
            found[-1] = Span(Instant(begin), found[-1].end)
        else:
            found.append(Span(Instant(begin), Instant(until)))
        if found[-1].start <= start:
            break
    return tuple(reversed(found))


def _begins(schedule: Schedule, before: Instant) -> Iterable[float]:
    """Yield the moments before ``before`` at which the schedule begins, newest first."""
    latest = datetime.fromtimestamp(before, ZoneInfo(schedule.time_zone))
    begins = CronSim(schedule.cron, latest, reverse=True)
    return (begin.timestamp() for begin in begins if begin.timestamp() < before)


def wrong_cron(cron: str) -> str | None:
    """Return what is wrong with a cron expression; None: nothing."""
    if len(cron.split()) != FIELDS:
        return f"{len(cron.split())} fields instead of {FIELDS}"
    try:
        next(CronSim(cron, EXAMPLE))
    except CronSimError as problem:
        return str(problem).replace("Bad ", "no such ")
    except StopIteration:
        return "a date that never comes"
    return None


def is_time_zone(name: str) -> bool:
    """Tell whether the time zone database knows a name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
