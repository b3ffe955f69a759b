"""What the decider sees of the forecast, by story."""

import json
import math

import numpy as np
import pytest

from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.observation import Moments, ProfileLoad
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.room import LoadForecaster, foresee, observe

ABSENT = Missing(GapReason.ABSENT, Instant(0.0))
HOLD = Seconds(120.0)


def load(profile: str, rate: Signal[float]) -> ProfileLoad:
    def tokens(each: float) -> Signal[float]:
        return rate if isinstance(rate, Missing) else rate * each

    return ProfileLoad(
        profile=profile,
        requests_per_second=rate,
        prompt_tokens_per_second=tokens(1000.0),
        uncached_prompt_tokens_per_second=tokens(400.0),
        output_tokens_per_second=tokens(200.0),
        prompt_tokens=Moments(1000.0, 2e6),
        output_tokens=Moments(200.0, 8e4),
        ttft=ABSENT,
        itl=ABSENT,
        queued_requests=ABSENT,
    )


def demand_of(forecaster: LoadForecaster, at: float, horizon: float = 120.0, hold: Seconds = HOLD) -> ProfileDemand:
    demand = forecaster.demand(Instant(at), [Seconds(horizon)], hold)["chat"]
    assert isinstance(demand, ProfileDemand)
    return demand


def fed(*rates: float, tick: float = 15.0) -> LoadForecaster:
    forecaster = LoadForecaster()
    for i, rate in enumerate(rates):
        forecaster.observe(Instant((i + 1) * tick), {"chat": load("chat", rate)})
    return forecaster


def test_the_first_sample_already_gives_wide_sensible_quantiles() -> None:
    forecast = demand_of(fed(10.0), 15.0).requests_per_second[Seconds(120.0)]
    assert forecast.mean.at(0.5) == pytest.approx(10.0, rel=0.05)
    assert 12.0 < forecast.mean.at(0.9) < 30.0


def test_the_highest_minute_is_bounded_as_often_as_the_bound_says() -> None:
    """Its scores are kept from the first time on that it is asked for; a bound of the mean holds it less often."""
    draw, forecaster = np.random.default_rng(1), LoadForecaster()
    rates = (20.0 * draw.gamma(25.0, 1.0 / 25.0, 900)).tolist()
    said: list[tuple[float, float]] = []
    for i, rate in enumerate(rates):
        at = Instant(60.0 * (i + 1))
        forecaster.observe(at, {"chat": load("chat", rate)})
        asked = forecaster.highest(at, [Seconds(180.0)], Seconds(60.0))["chat"]
        assert not isinstance(asked, Missing)
        mean = demand_of(forecaster, at, 180.0, Seconds(60.0)).requests_per_second[Seconds(180.0)].mean
        said.append((asked["requests"][Seconds(180.0)].at(0.9), mean.at(0.9)))
    came = [max(rates[i + 1 : i + 5]) for i in range(len(rates) - 4)]
    of_highest, of_mean = (
        np.mean([truth <= bound for truth, bound in zip(came[300:], bounds[300:], strict=False)])
        for bounds in zip(*said, strict=True)
    )
    assert 0.87 <= of_highest <= 0.93
    assert of_mean < 0.8


def test_steady_load_narrows_the_band() -> None:
    early = demand_of(fed(*[10.0] * 4), 60.0).requests_per_second[Seconds(120.0)]
    late = demand_of(fed(*[10.0] * 400), 6000.0).requests_per_second[Seconds(120.0)]
    assert late.mean.at(0.95) < early.mean.at(0.95)
    assert late.mean.at(0.95) < 11.5


def test_a_ramp_is_foreseen_and_fades() -> None:
    ramp = [10.0 + 0.5 * i for i in range(40)]  # 2 requests/s more each minute
    ahead = demand_of(fed(*ramp), 600.0).requests_per_second[Seconds(120.0)]
    assert ahead.now + 1.0 < ahead.mean.at(0.5) < 2.5 * ahead.now
    soon = demand_of(fed(*ramp[:20]), 300.0).requests_per_second[Seconds(120.0)]
    assert soon.mean.at(0.9) >= 26.0  # what comes then: five minutes do not tell the expected, but bound it


def test_a_level_shift_is_followed_within_one_tick() -> None:
    forecast = demand_of(fed(*[10.0] * 60, 30.0), 61 * 15.0).requests_per_second[Seconds(120.0)]
    assert forecast.now > 25.0
    assert forecast.mean.at(0.9) >= 30.0


def test_a_missing_signal_is_a_gap_and_never_reads_as_zero() -> None:
    forecaster = fed(*[10.0] * 60)
    for i in range(60, 70):
        forecaster.observe(Instant((i + 1) * 15.0), {"chat": load("chat", ABSENT)})
    forecast = demand_of(forecaster, 70 * 15.0).requests_per_second[Seconds(120.0)]
    assert forecast.mean.at(0.5) == pytest.approx(10.0, rel=0.1)


def test_after_five_minutes_without_a_sample_the_profile_is_missing() -> None:
    forecaster = fed(*[10.0] * 60)
    gap = forecaster.demand(Instant(900.0 + 301.0), [Seconds(60.0)], HOLD)["chat"]
    assert isinstance(gap, Missing)
    assert gap.reason is GapReason.STALE
    assert gap.since == 900.0


def test_a_profile_of_which_nothing_was_seen_is_missing() -> None:
    forecaster = LoadForecaster()
    forecaster.observe(Instant(15.0), {"chat": load("chat", ABSENT)})
    gap = forecaster.demand(Instant(15.0), [Seconds(60.0)], HOLD)["chat"]
    assert isinstance(gap, Missing)
    assert gap.reason is GapReason.ABSENT


def test_a_new_profile_appears_without_a_restart() -> None:
    forecaster = fed(*[10.0] * 60)
    forecaster.observe(Instant(915.0), {"chat": load("chat", 10.0), "rag": load("rag", 2.0)})
    assert isinstance(forecaster.demand(Instant(915.0), [Seconds(60.0)], HOLD)["rag"], ProfileDemand)


def test_moments_follow_the_requests_and_the_cached_share() -> None:
    demand = demand_of(fed(*[10.0] * 200), 3000.0)
    assert demand.prompt_tokens.mean == pytest.approx(1000.0)
    assert demand.uncached_prompt_tokens.mean == pytest.approx(400.0, rel=0.01)
    assert demand.output_tokens.second == pytest.approx(8e4)


def test_zero_load_is_forecast_near_zero() -> None:
    forecast = demand_of(fed(*[0.0] * 60), 900.0).requests_per_second[Seconds(120.0)]
    assert forecast.mean.at(0.5) == 0.0
    assert forecast.mean.at(0.99) < 0.2


def test_a_written_state_goes_on_where_it_stood() -> None:
    forecaster = fed(*[10.0 + math.sin(i) for i in range(100)])
    resumed = LoadForecaster.from_state(json.loads(json.dumps(forecaster.to_state())))
    for each in (forecaster, resumed):
        each.observe(Instant(1515.0), {"chat": load("chat", 12.0)})
    assert demand_of(resumed, 1515.0) == demand_of(forecaster, 1515.0)


def test_policies_observed_together_are_forecast_as_each_alone() -> None:
    """One is new, one has gaps, so that their minutes end in different ticks and by several at once."""
    draw = np.random.default_rng(4)
    rates = (10.0 * draw.gamma(9.0, 1.0 / 9.0, (200, 3))).tolist()
    together, alone = [LoadForecaster() for _ in range(3)], [LoadForecaster() for _ in range(3)]
    for tick, row in enumerate(rates):
        at = Instant(20.0 * (tick + 1))
        seen = [(n, {"chat": load("chat", rate)}) for n, rate in enumerate(row)]
        seen = [(n, loads) for n, loads in seen if not (n == 1 and tick % 50 < 12) and not (n == 2 and tick < 150)]
        observe([(together[n], loads) for n, loads in seen], at)
        foresee(together)
        for n, loads in seen:
            alone[n].observe(at, loads)
    for one, other in zip(together, alone, strict=True):
        levels, expected = (demand_of(each, 4000.0).requests_per_second[Seconds(120.0)] for each in (one, other))
        assert levels.mean.levels == pytest.approx(expected.mean.levels, rel=1e-9)
