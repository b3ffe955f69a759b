"""Known events, and days of rest."""

from datetime import date

import numpy as np
import pytest

from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.forecast.calendar import EPOCH, LoadEvent, factor_at, rest_days
from autoscaler.forecast.seasonal import days_alike
from tests.unit.forecast.test_room import fed

LAUNCH = LoadEvent(Instant(1000.0), Instant(2000.0), 3.0)
BATCH = LoadEvent(Instant(1500.0), Instant(1600.0), 2.0)


@pytest.mark.parametrize(
    ("moment", "factor"), [(999.0, 1.0), (1000.0, 3.0), (1550.0, 6.0), (1600.0, 3.0), (2000.0, 1.0)]
)
def test_factors_multiply_while_their_events_last(moment: float, factor: float) -> None:
    assert factor_at((LAUNCH, BATCH), Instant(moment)) == factor


@pytest.mark.parametrize(("end", "factor"), [(0.0, 2.0), (10.0, 0.0)])
def test_an_event_that_cannot_be_is_refused(end: float, factor: float) -> None:
    with pytest.raises(ValueError, match="load event"):
        LoadEvent(Instant(0.0), Instant(end), factor)


def test_a_launch_is_in_the_forecast_before_it_begins() -> None:
    forecaster = fed(*[10.0] * 60)  # until 900 s
    soon = (LoadEvent(Instant(960.0), Instant(5000.0), 2.5),)

    def expected(events: tuple[LoadEvent, ...]) -> float:
        demand = forecaster.demand(Instant(900.0), [Seconds(180.0)], Seconds(60.0), {"chat": events})["chat"]
        assert isinstance(demand, ProfileDemand)
        return demand.requests_per_second[Seconds(180.0)].mean.at(0.5)

    assert expected(soon) == pytest.approx(2.5 * expected(()), rel=0.05)


@pytest.mark.parametrize(
    ("day", "rests"),
    [
        pytest.param(date(2026, 10, 3), True, id="German Unity Day, a Saturday"),
        pytest.param(date(2026, 12, 25), True, id="Christmas, a Friday"),
        pytest.param(date(2026, 11, 22), True, id="a Sunday"),
        pytest.param(date(2026, 11, 23), False, id="a Monday"),
    ],
)
def test_people_rest_on_weekends_and_holidays(day: date, rests: bool) -> None:  # noqa: FBT001, a table's column
    assert ((day - EPOCH).days in rest_days("DE", [2026])) is rests


def test_an_unknown_country_is_named() -> None:
    with pytest.raises(InputError, match="'XX'"):
        rest_days("XX", [2026])


def test_days_of_rest_are_left_out_on_a_day_of_work_and_the_reverse() -> None:
    values = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 1440)
    on_work = days_alike(values, 0, frozenset({1, 2}))
    assert np.unique(on_work[~np.isnan(on_work)]).tolist() == [1.0, 4.0, 5.0]
    on_rest = days_alike(values, 0, frozenset({3, 4}))
    assert np.unique(on_rest[~np.isnan(on_rest)]).tolist() == [4.0, 5.0]


def test_too_few_days_alike_leave_all_days_in() -> None:
    values = np.repeat([1.0, 2.0, 3.0], 1440)
    assert (days_alike(values, 0, frozenset({2})) == values).all()
