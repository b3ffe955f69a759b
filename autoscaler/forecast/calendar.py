"""What is known of the future: events that multiply the load, and days on which people rest."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import prod
from zoneinfo import ZoneInfo

import holidays
import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.policy import Calendar
from autoscaler.domain.units import Instant
from autoscaler.forecast.minutes import MINUTES_PER_DAY, IntArray


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


EPOCH = date(1970, 1, 1)
"""Local day 0."""

CLOCKS_CHANGE = 30
"""Minutes; no clock changes between two multiples of it (UTC)."""


def local(minutes: IntArray, calendar: Calendar | None) -> IntArray:
    """Return minutes on the clock of the calendar: 1,440 a day, day 0 begins on 1 January 1970 at midnight there.

    Args:
        minutes: numbers of minutes, Unix time / 60.
        calendar: whose clock; None: UTC.
    """
    if calendar is None:
        return minutes
    spans, place = np.unique(minutes // CLOCKS_CHANGE, return_inverse=True)
    ahead = [_minutes_ahead(calendar.time_zone, int(span)) for span in spans]
    return np.asarray(minutes + np.array(ahead, dtype=np.int64)[place])


@functools.lru_cache(maxsize=4096)
def _minutes_ahead(time_zone: str, span: int) -> int:
    moment = datetime.fromtimestamp(span * CLOCKS_CHANGE * 60, UTC).astimezone(ZoneInfo(time_zone))
    return int((moment.utcoffset() or timedelta()) / timedelta(minutes=1))


def resting(minutes: IntArray, calendar: Calendar) -> NDArray[np.bool_]:
    """Tell of local minutes (see ``local``) whether people rest then: weekends and public holidays."""
    days, place = np.unique(minutes // MINUTES_PER_DAY, return_inverse=True)
    rests = np.array([_rests(calendar.country, calendar.subdivision, int(day)) for day in days], dtype=bool)
    return rests[place]


@functools.lru_cache(maxsize=4096)
def _rests(country: str, subdivision: str | None, day: int) -> bool:
    when = EPOCH + timedelta(days=day)
    known = holidays.country_holidays(country, subdiv=subdivision, years=when.year)
    return when in known or when.weekday() in known.weekend
