"""What is known of the future: events that multiply the load, and days on which people rest."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from math import prod

import holidays

from autoscaler.domain.units import Instant
from autoscaler.errors import InputError


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
"""Day 0: a day's number is Unix time over 86,400 s."""


def rest_days(country: str, years: Iterable[int]) -> frozenset[int]:
    """Return the numbers of the days on which a country rests: weekends and public holidays.

    Args:
        country: ISO 3166-1 code, e.g. ``DE``.
        years: which years.

    Raises:
        InputError: the country is not known.
    """
    try:
        calendar = holidays.country_holidays(country, years=(wanted := sorted(set(years))))
    except NotImplementedError as error:
        msg = f"country {country!r}: no calendar of it; use an ISO 3166-1 code such as DE or US"
        raise InputError(msg) from error
    resting = {(day - EPOCH).days for day in calendar}
    for year in wanted:
        days = (date(year, 1, 1) + timedelta(days=i) for i in range(366))
        resting |= {(day - EPOCH).days for day in days if day.year == year and day.weekday() in calendar.weekend}
    return frozenset(resting)
