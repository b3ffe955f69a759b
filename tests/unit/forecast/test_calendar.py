"""Known events."""

import pytest

from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.calendar import LoadEvent, factor_at
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
