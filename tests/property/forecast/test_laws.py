"""Laws of the forecasting room, for any ticks and any loads."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.room import LoadForecaster
from tests.unit.forecast.test_room import load

ticks = st.lists(st.tuples(st.floats(5.0, 60.0), st.floats(0.0, 1e4, allow_subnormal=False)), min_size=1, max_size=40)
HORIZONS = (Seconds(30.0), Seconds(94.0), Seconds(900.0))


def fed(samples: list[tuple[float, float]]) -> tuple[LoadForecaster, Instant]:
    forecaster, at = LoadForecaster(), 0.0
    for dt, rate in samples:
        at += dt
        forecaster.observe(Instant(at), {"chat": load("chat", rate)})
    return forecaster, Instant(at)


def demand(forecaster: LoadForecaster, at: Instant) -> ProfileDemand:
    out = forecaster.demand(at, HORIZONS, Seconds(60.0))["chat"]
    assert isinstance(out, ProfileDemand)
    return out


@settings(deadline=None, max_examples=25)
@given(samples=ticks)
def test_quantiles_rise_and_stay_between_the_present_and_the_cap(samples: list[tuple[float, float]]) -> None:
    forecaster, at = fed(samples)
    said = demand(forecaster, at)
    peaks = forecaster.highest(at, HORIZONS, Seconds(60.0))["chat"]
    assert not isinstance(peaks, Missing)
    highest = max(rate for _, rate in samples)
    for horizon in HORIZONS:
        forecast, peak = said.requests_per_second[horizon], peaks["requests"][horizon]
        for quantiles in (forecast.mean, peak):
            assert list(quantiles.levels) == sorted(quantiles.levels)
            assert quantiles.levels[0] >= 0.0
            assert quantiles.levels[-1] <= 18.0 * max(highest, 1.0)  # six times the highest level a trend can reach
        assert peak.levels[0] >= forecast.now
        assert forecast.mean.at(0.9) >= forecast.now


@settings(deadline=None, max_examples=15)
@given(samples=ticks)
def test_a_state_written_and_read_forecasts_the_same(samples: list[tuple[float, float]]) -> None:
    forecaster, at = fed(samples)
    again = LoadForecaster.from_state(json.loads(json.dumps(forecaster.to_state())))
    assert demand(again, at) == demand(forecaster, at)


@settings(deadline=None, max_examples=15)
@given(samples=ticks)
def test_asking_twice_changes_nothing(samples: list[tuple[float, float]]) -> None:
    forecaster, at = fed(samples)
    assert demand(forecaster, at) == demand(forecaster, at)


@settings(deadline=None, max_examples=15)
@given(samples=ticks, others=ticks)
def test_another_profile_changes_no_present_level(
    samples: list[tuple[float, float]], others: list[tuple[float, float]]
) -> None:
    alone, at = fed(samples)
    beside, at = fed(samples)
    beside.observe(at, {"rag": load("rag", others[0][1])})
    for forecaster in (alone, beside):
        forecaster.observe(Instant(at + 15.0), {"chat": load("chat", 5.0)})
    later = Instant(at + 15.0)
    levels = [demand(forecaster, later).requests_per_second[HORIZONS[0]].now for forecaster in (alone, beside)]
    assert levels[0] == levels[1]
