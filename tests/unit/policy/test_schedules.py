"""When schedules apply: cron, time zones, changes of clocks."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from autoscaler.domain.policy import Schedule
from autoscaler.domain.units import Instant, Seconds
from autoscaler.policy import schedules

BERLIN = "Europe/Berlin"


def moment(text: str, zone: str) -> Instant:
    return Instant(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def spans(cron: str, hours: float, zone: str, between: tuple[str, str]) -> list[tuple[str, str]]:
    start, end = (moment(text, zone) for text in between)
    found = schedules.spans(Schedule("x", cron, Seconds(3600.0 * hours), zone), start, end)
    return [
        (
            datetime.fromtimestamp(span.start, ZoneInfo(zone)).isoformat(timespec="minutes"),
            datetime.fromtimestamp(span.end, ZoneInfo(zone)).isoformat(timespec="minutes"),
        )
        for span in found
    ]


MONDAY = ("2026-11-23T08:00+01:00", "2026-11-23T18:00+01:00")


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        pytest.param(("2026-11-23T07:00", "2026-11-23T08:00"), [], id="an end at its begin: not yet"),
        pytest.param(("2026-11-23T07:00", "2026-11-23T08:00:01"), [MONDAY], id="a second later it applies"),
        pytest.param(("2026-11-23T17:59:59", "2026-11-23T20:00"), [MONDAY], id="its last second"),
        pytest.param(("2026-11-23T18:00", "2026-11-23T20:00"), [], id="over"),
        pytest.param(("2026-11-21T06:00", "2026-11-22T20:00"), [], id="a weekend"),
    ],
)
def test_office_hours_in_berlin(between: tuple[str, str], expected: list[tuple[str, str]]) -> None:
    assert spans("0 8 * * 1-5", 10.0, BERLIN, between) == expected


def test_hours_are_local_through_a_change_of_clocks() -> None:
    found = spans("0 8 * * *", 1.0, BERLIN, ("2026-10-24T00:00", "2026-10-26T00:00"))
    assert found == [
        ("2026-10-24T08:00+02:00", "2026-10-24T09:00+02:00"),
        ("2026-10-25T08:00+01:00", "2026-10-25T09:00+01:00"),
    ]


def test_an_hour_that_the_clocks_skip_begins_after_the_gap() -> None:
    found = spans("30 2 * * *", 1.0, BERLIN, ("2026-03-29T00:00", "2026-03-29T12:00"))
    assert found == [("2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00")]


def test_spans_that_overlap_are_one_and_cheap() -> None:
    (found,) = schedules.spans(
        Schedule("always", "* * * * *", Seconds(36_000.0), "UTC"),
        moment("2026-11-23T07:00", "UTC"),
        moment("2026-11-23T07:30", "UTC"),
    )
    assert found.start <= moment("2026-11-23T07:00", "UTC")
    assert found.end == moment("2026-11-23T17:29", "UTC")


def test_a_leap_day_is_found_years_back() -> None:
    assert spans("0 0 29 2 *", 24.0, "UTC", ("2028-02-28T00:00", "2028-03-02T00:00")) == [
        ("2028-02-29T00:00+00:00", "2028-03-01T00:00+00:00")
    ]
    assert spans("0 0 29 2 *", 24.0, "UTC", ("2027-02-28T00:00", "2027-03-02T00:00")) == []


@pytest.mark.parametrize("cron", ["0 8 * *", "61 * * * *", "0 0 8 * * 1", "0 0 31 2 *", "a b c d e", "@daily", ""])
def test_what_is_no_cron_expression_is_told(cron: str) -> None:
    assert schedules.wrong_cron(cron)


@pytest.mark.parametrize("cron", ["0 8 * * 1-5", "*/15 * * * *", "0 8 1 12 *", "0 8 * * MON", "0 0 29 2 *"])
def test_what_is_one_passes(cron: str) -> None:
    assert schedules.wrong_cron(cron) is None


@pytest.mark.parametrize(("name", "known"), [(BERLIN, True), ("UTC", True), ("Europe/Berln", False), ("../etc", False)])
def test_time_zones(name: str, known: bool) -> None:  # noqa: FBT001 - a table
    assert schedules.is_time_zone(name) is known
