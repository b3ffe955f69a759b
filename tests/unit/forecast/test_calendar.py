"""Known events, and days of rest."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from autoscaler.decider import PolicyModel
from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.policy import Calendar
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.calendar import EPOCH, LoadEvent, factor_at, local, resting
from autoscaler.forecast.memory import NODES, Memory
from autoscaler.forecast.seasonal import DayProfile, days_alike
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.performance.profile import load_profile
from autoscaler.policy import parse_policy
from tests import planning
from tests.unit.forecast.test_room import fed, load
from tests.unit.policy.test_loading import mapping

BERLIN = Calendar("DE", "Europe/Berlin")
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


def days(*dates: date) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the minutes of days, 1,440 each."""
    return np.concatenate([(day - EPOCH).days * 1440 + np.arange(1440) for day in dates])


@pytest.mark.parametrize(
    ("day", "calendar", "rests"),
    [
        pytest.param(date(2026, 10, 3), BERLIN, True, id="German Unity Day, a Saturday"),
        pytest.param(date(2026, 12, 25), BERLIN, True, id="Christmas, a Friday"),
        pytest.param(date(2026, 11, 22), BERLIN, True, id="a Sunday"),
        pytest.param(date(2026, 11, 23), BERLIN, False, id="a Monday"),
        pytest.param(date(2027, 1, 6), BERLIN, False, id="Epiphany is no holiday of the whole country"),
        pytest.param(date(2027, 1, 6), Calendar("DE", "Europe/Berlin", "BY"), True, id="but one in Bavaria"),
        pytest.param(date(2026, 11, 20), Calendar("AE", "Asia/Dubai"), False, id="a Friday, a day of work in Dubai"),
        pytest.param(date(2026, 11, 20), Calendar("SA", "Asia/Riyadh"), True, id="a Friday, a day of rest in Riyadh"),
    ],
)
def test_people_rest_on_weekends_and_holidays(day: date, calendar: Calendar, rests: bool) -> None:  # noqa: FBT001, a table's column
    assert set(resting(days(day), calendar).tolist()) == {rests}


@pytest.mark.parametrize(
    ("utc", "zone", "clock"),
    [
        pytest.param(datetime(2026, 11, 22, 23, 30, tzinfo=UTC), "Europe/Berlin", (23, 0, 30), id="Monday began"),
        pytest.param(datetime(2026, 11, 22, 15, 0, tzinfo=UTC), "Asia/Tokyo", (23, 0, 0), id="nine hours ahead"),
        pytest.param(datetime(2026, 11, 23, 4, 0, tzinfo=UTC), "America/New_York", (22, 23, 0), id="still Sunday"),
        pytest.param(datetime(2026, 11, 22, 18, 30, tzinfo=UTC), "Asia/Kolkata", (23, 0, 0), id="half an hour"),
    ],
)
def test_days_begin_at_midnight_of_the_place(utc: datetime, zone: str, clock: tuple[int, int, int]) -> None:
    (minute,) = local(np.array([int(utc.timestamp() // 60)]), Calendar("DE", zone)).tolist()
    day, hour, left = clock
    assert minute == (date(2026, 11, day) - EPOCH).days * 1440 + hour * 60 + left


def test_an_hour_is_passed_over_when_clocks_go_forward() -> None:
    begin = int(datetime(2026, 3, 29, 0, 0, tzinfo=UTC).timestamp() // 60)
    clock = local(begin + np.arange(120), BERLIN)
    assert np.flatnonzero(np.diff(clock) != 1).tolist() == [59]
    assert clock[60] - clock[59] == 61


def test_without_a_calendar_days_are_those_of_utc_and_all_alike() -> None:
    minutes = np.arange(5 * 1440)
    assert (local(minutes, None) == minutes).all()
    assert days_alike(minutes, None).all()


FRIDAY, SATURDAY, SUNDAY, MONDAY, TUESDAY = (date(2026, 11, day) for day in (20, 21, 22, 23, 24))


def test_days_of_rest_are_left_out_on_a_day_of_work_and_the_reverse() -> None:
    working = days_alike(days(FRIDAY, SATURDAY, SUNDAY, MONDAY, TUESDAY), BERLIN)
    assert working.reshape(5, 1440).all(axis=1).tolist() == [True, False, False, True, True]
    resting_now = days_alike(days(FRIDAY, SATURDAY, SUNDAY), BERLIN)
    assert resting_now.reshape(3, 1440).all(axis=1).tolist() == [False, True, True]


def test_too_few_days_alike_leave_all_days_in() -> None:
    assert days_alike(days(FRIDAY, SATURDAY), BERLIN).all()


def test_a_working_morning_is_foreseen_after_a_weekend_only_with_a_calendar() -> None:
    """Office load in Tokyo: from nine to five on working days; nothing of it from Saturday to the holiday on Monday."""
    tokyo = Calendar("JP", "Asia/Tokyo")
    begin = int(datetime(2026, 11, 15, 15, 0, tzinfo=UTC).timestamp() // 60)  # Monday the 16th, 0:00 in Tokyo
    until = begin + 8 * 1440 + 9 * 60 - 5  # five to nine on Tuesday: Monday the 23rd is a holiday
    clock = local(np.arange(begin, until), tokyo)
    busy = ~resting(clock, tokyo) & (clock % 1440 >= 9 * 60) & (clock % 1440 < 17 * 60)
    values = np.where(busy, 18.0, 10.0)

    def ahead(calendar: Calendar | None) -> float:
        memory = Memory()
        for minute, value in zip(range(begin, until), values.tolist(), strict=True):
            memory.add(Instant(60.0 * (minute + 1)), value, 1.0)
        expert = DayProfile(calendar)
        expert.fit([expert], [memory])
        return float(expert.predict([expert], [memory])[0][NODES.index(15)])

    assert ahead(tokyo) > 1.08 * ahead(None)


def test_a_policy_tells_the_forecasters_whose_days_these_are_and_may_change_its_mind() -> None:
    policy = planning.policy(profiles=(planning.CHAT,))
    profile = load_profile("h200-tp1-qwen3-32b")
    priors = {v.name: Prior(profile.for_role(v.role), MEASURED) for v in policy.variants}

    def told(model: PolicyModel) -> set[Calendar | None]:
        model.forecaster.observe(Instant(900.0), {"chat": load("chat", 10.0)})
        series = model.forecaster.profiles["chat"].series.values()
        return {e.calendar for each in series for e in each.council.experts if isinstance(e, DayProfile)}

    first = PolicyModel.starting(replace(policy, calendar=BERLIN), priors)
    assert told(first) == {BERLIN}
    without = PolicyModel.starting(policy, priors).inheriting(first)
    assert without.forecaster is first.forecaster
    assert told(without) == {None}


@pytest.mark.parametrize(
    ("stated", "means"),
    [
        pytest.param(None, None, id="no calendar"),
        pytest.param({"country": "DE", "timeZone": "Europe/Berlin"}, BERLIN, id="a country"),
        pytest.param(
            {"country": "DE", "subdivision": "BY", "timeZone": "Europe/Berlin"},
            Calendar("DE", "Europe/Berlin", "BY"),
            id="a part of it",
        ),
    ],
)
def test_a_calendar_is_read_from_a_policy(stated: dict[str, str] | None, means: Calendar | None) -> None:
    document = mapping()
    if stated is not None:
        document["spec"]["calendar"] = stated
    (policy,) = parse_policy(document).policies
    assert policy.calendar == means
