"""What models learn: calibrations, start-up times, lengths, caches."""

import math

import numpy as np
import pytest

from autoscaler.domain.fleet import Pod, PodState
from autoscaler.domain.observation import EngineLoad, Moments
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.performance.accelerators import accelerator
from autoscaler.performance.calibrate import (
    SPEAKERS,
    Calibration,
    PrefillSample,
    Sample,
    StepSample,
    representatives,
    samples,
    teaches,
)
from autoscaler.performance.lengths import Lengths, uncached_share
from autoscaler.performance.prior import physics_prior
from autoscaler.performance.profile import load_profile
from autoscaler.performance.shapes import built_in
from autoscaler.performance.startup import StartupModel
from autoscaler.performance.step import StepModel

PRIOR = physics_prior(accelerator("H200-SXM"), built_in("Qwen/Qwen3-32B"))
FRESH = Calibration.prior(PRIOR.model, PRIOR.uncertainty)
TRUE = load_profile("h200-tp1-qwen3-32b").model.step
GONE = Missing(GapReason.ABSENT, Instant(0.0))


def seen(batch: float, kv_tokens: float, factor: float = 1.0) -> StepSample:
    """Return what an engine ``factor`` times as slow as the measured one reports."""
    return StepSample(batch, kv_tokens, factor * float(TRUE.step_s(batch, kv_tokens)))


def taught(state: Calibration, factor: float, ticks: int, points: list[tuple[float, float]]) -> Calibration:
    """Return the state after ticks that go round the points."""
    for tick in range(ticks):
        state = state.updated([seen(*points[tick % len(points)], factor)], Instant(15.0 * (tick + 1)))
    return state


def predicted(state: Calibration, batch: float, kv_tokens: float) -> float:
    """Return the predicted step time."""
    return float(state.model.step.step_s(batch, kv_tokens))


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_a_wrong_speed_is_corrected_within_five_minutes(factor: float) -> None:
    state = taught(FRESH, factor, 20, [(8, 8e3), (32, 40e3), (96, 1.2e5), (16, 6e4)])
    for batch, kv_tokens in ((8, 8e3), (64, 64e3), (96, 1.2e5)):
        assert predicted(state, batch, kv_tokens) == pytest.approx(
            factor * float(TRUE.step_s(batch, kv_tokens)), rel=0.05
        )


def test_one_operating_point_does_not_bend_the_slope() -> None:
    state = taught(FRESH, 1.1, 40, [(32, 40e3)])
    assert predicted(state, 32, 40e3) == pytest.approx(1.1 * float(TRUE.step_s(32, 40e3)), rel=0.02)
    before = predicted(FRESH, 128, 160e3) / predicted(FRESH, 32, 40e3)
    assert predicted(state, 128, 160e3) / predicted(state, 32, 40e3) == pytest.approx(before, rel=0.05)
    assert state.itl_relative_sd(200, 2e5) > 2 * state.itl_relative_sd(32, 40e3)


def test_a_single_outlier_teaches_nothing() -> None:
    state = taught(FRESH, 1.0, 20, [(8, 8e3), (64, 64e3)])
    after = state.updated([seen(8, 8e3, 3.0)], state.at)
    assert after.rejected == 1
    assert after.scales == pytest.approx(state.scales)


def test_after_five_rejections_the_engine_has_changed() -> None:
    state = taught(FRESH, 1.0, 40, [(8, 8e3), (64, 64e3)])
    for tick in range(30):
        state = state.updated([seen(8, 8e3, 1.7), seen(64, 64e3, 1.7)], Instant(600.0 + 15.0 * (tick + 1)))
    assert predicted(state, 64, 64e3) == pytest.approx(1.7 * float(TRUE.step_s(64, 64e3)), rel=0.05)


def test_information_fades_but_the_prior_does_not() -> None:
    state = taught(FRESH, 1.5, 20, [(8, 8e3), (64, 64e3)])
    later = state.updated([], Instant(state.at + 86_400.0))
    assert later.scales == pytest.approx((1.0,) * len(later.scales), abs=1e-6)
    assert later.itl_relative_sd(64, 64e3) == pytest.approx(FRESH.itl_relative_sd(64, 64e3), rel=1e-6)


def test_prefill_learns_speed_from_prompts_computed_alone() -> None:
    state = FRESH
    for tick in range(30):
        alone_s = 1.4 * float(PRIOR.model.prefill.pass_s(2000.0, 1.6 * 2000.0**2))
        state = state.updated([PrefillSample(2000.0, 0.001, alone_s)], Instant(15.0 * (tick + 1)))
    assert float(state.model.prefill.latency_s(2000)) == pytest.approx(
        1.4 * float(PRIOR.model.prefill.latency_s(2000)), rel=0.03
    )
    assert state.prefill_relative_sd(2000) < FRESH.prefill_relative_sd(2000)


def test_the_state_survives_text() -> None:
    state = taught(FRESH, 1.2, 3, [(8, 8e3), (64, 64e3)])
    assert Calibration.from_json(state.to_json()) == state
    with pytest.raises(InputError, match="not the state of a calibration"):
        Calibration.from_json('{"model": 3}')


def engine(**signals: object) -> EngineLoad:
    """Return an engine that reports only the given signals."""
    names = [name for name in EngineLoad.__slots__ if name != "pod"]
    return EngineLoad(pod="p", **{name: signals.get(name, GONE) for name in names})  # type: ignore[arg-type]


def test_engines_teach_what_they_report() -> None:
    decode = engine(
        running=20.0, deferred=5.0, kv_use_ratio=0.1, kv_capacity_tokens=100_000.0, itl_mean_s=0.02,
        prompt_tokens_per_second=500.0, computed_prompt_tokens_per_second=0.0,
    )  # fmt: skip
    assert samples([decode], Role.DECODE) == (StepSample(20.0, 8000.0, 0.02, 500.0),)
    prefill = engine(prefill_mean_s=0.3, requests_per_second=2.0, computed_prompt_tokens_per_second=3000.0)
    assert samples([prefill], Role.PREFILL) == (PrefillSample(1500.0, 2.0, 0.3),)


@pytest.mark.parametrize("role", list(Role))
def test_silence_idleness_and_preemption_teach_nothing(role: Role) -> None:
    busy = {"running": 20.0, "kv_use_ratio": 0.1, "kv_capacity_tokens": 1e5, "itl_mean_s": 0.02}
    silent, idle = engine(), engine(**busy | {"running": 0.0})
    preempting = engine(**busy, preemptions_per_second=0.1)
    assert samples([silent, idle, preempting], role) == ()


def pod(name: str, **times: float | None) -> Pod:
    """Return a pod by creation, scheduling and readiness."""
    created, scheduled, ready = times.get("created") or 1.0, times.get("scheduled"), times.get("ready")
    state = PodState.READY if ready is not None else PodState.STARTING if scheduled is not None else PodState.PENDING
    return Pod(
        name, "v", state, Instant(created), uid=name,
        scheduled=None if scheduled is None else Instant(scheduled),
        ready_since=None if ready is None else Instant(ready),
    )  # fmt: skip


def test_only_warm_pods_that_stay_teach() -> None:
    warm = pod("a", scheduled=1.0, ready=60.0)
    assert not teaches(warm, Instant(100.0))
    assert teaches(warm, Instant(200.0))
    assert not teaches(pod("b", scheduled=1.0), Instant(900.0))
    leaving = Pod("c", "v", PodState.DRAINING, Instant(0), ready_since=Instant(10), draining_since=Instant(300))
    assert not teaches(leaving, Instant(900.0))


def test_starts_narrow_the_estimate() -> None:
    few = StartupModel().updated([pod("a", scheduled=4.0, ready=95.0)], Instant(100.0))
    many = few.updated([pod(f"p{i}", scheduled=4.0, ready=88.0 + 2 * i) for i in range(8)], Instant(120.0))
    assert StartupModel().quantile(0.9) > few.quantile(0.9) > many.quantile(0.9) > 95.0
    assert many.quantile(0.5) == pytest.approx(95.0, rel=0.05)


def test_a_slow_start_shows_at_once() -> None:
    known = StartupModel().updated([pod(f"p{i}", scheduled=4.0, ready=90.0 + i) for i in range(6)], Instant(120.0))
    waiting = [pod(f"p{i}", scheduled=4.0, ready=90.0 + i) for i in range(6)] + [
        pod("s", created=200.0, scheduled=204.0)
    ]
    slow = known.updated(waiting, Instant(700.0))
    assert slow.quantile(0.9) > 1.5 * known.quantile(0.9)
    assert known.updated([], Instant(800.0)).quantile(0.5) == pytest.approx(known.quantile(0.5))


def shown(seconds: float, starts: int) -> StartupModel:
    return StartupModel().updated([pod(f"p{i}", ready=seconds + i) for i in range(starts)], Instant(2.0 * seconds))


@pytest.mark.parametrize(
    ("own", "others", "low", "high"),
    [
        pytest.param(StartupModel(), [shown(300.0, 3)], 270.0, 330.0, id="never started: as slow as the others"),
        pytest.param(StartupModel(), [shown(30.0, 3)], 27.0, 36.0, id="never started: as fast as the others"),
        pytest.param(shown(60.0, 2), [shown(300.0, 3)], 55.0, 90.0, id="its two own starts count for more"),
        pytest.param(StartupModel(), [shown(300.0, 1), shown(80.0, 1)], 100.0, 250.0, id="others differ: in between"),
    ],
)
def test_what_nobody_started_takes_as_long_as_other_variants(
    own: StartupModel, others: list[StartupModel], low: float, high: float
) -> None:
    assert low < own.beside(others).quantile(0.5) < high


def test_others_that_nobody_started_either_tell_nothing() -> None:
    known = shown(60.0, 2)
    assert known.beside([]) is known
    assert known.beside([StartupModel()]) is known


def test_a_start_of_another_variant_under_way_tells_too() -> None:
    slow = StartupModel().updated([pod("s")], Instant(400.0))
    assert StartupModel().beside([slow]).quantile(0.5) > 1.5 * StartupModel().quantile(0.5)


def test_starts_survive_text() -> None:
    model = StartupModel().updated([pod("a", scheduled=4.0, ready=95.0), pod("b", scheduled=2.0)], Instant(100.0))
    assert StartupModel.from_json(model.to_json()) == model
    with pytest.raises(InputError, match="not the state of a start-up model"):
        StartupModel.from_json("[]")


def test_lengths_have_quantiles_and_moments() -> None:
    draws = np.exp(np.random.default_rng(1).normal(6.0, 0.8, 20_000))
    bounds = tuple(float(b) for b in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000))
    lengths = Lengths(bounds, tuple(float((draws <= b).sum()) for b in bounds), float(draws.mean()))
    moments = lengths.moments(Instant(0.0))
    assert isinstance(moments, Moments)
    assert moments.mean == pytest.approx(draws.mean())
    assert moments.second == pytest.approx((draws**2).mean(), rel=0.15)
    assert lengths.quantile(0.9) == pytest.approx(np.quantile(draws, 0.9), rel=0.08)


def test_an_empty_histogram_is_missing_not_zero() -> None:
    assert isinstance(Lengths((1.0, math.inf), (0.0, 0.0)).moments(Instant(5.0)), Missing)
    with pytest.raises(ValueError, match="rise together"):
        Lengths((2.0, 1.0), (0.0, 0.0))


def test_uncached_share() -> None:
    assert uncached_share(30.0, 100.0, Instant(0.0)) == 0.3
    assert isinstance(uncached_share(0.0, 0.0, Instant(0.0)), Missing)
    assert isinstance(uncached_share(500.0, 100.0, Instant(0.0)), Missing)


def test_the_step_form_of_the_state_is_the_models() -> None:
    assert isinstance(FRESH.model.step, StepModel)
    assert predicted(FRESH, 10, 1e4) == pytest.approx(float(PRIOR.model.step.step_s(10, 1e4)))


def test_of_a_large_fleet_some_speak_for_all_whatever_a_sick_one_says() -> None:
    healthy = [seen(10.0 + pod, 1500.0 * (10.0 + pod)) for pod in range(40)]
    sick = [seen(10.0 + pod, 1500.0 * (10.0 + pod), factor=1.2) for pod in (3, 13, 23, 33)]
    speakers = representatives([*sick, *healthy])
    assert len(speakers) == SPEAKERS
    assert all(speaker in healthy for speaker in speakers)
    state = FRESH
    for tick in range(20):
        state = state.updated([*sick, *healthy], Instant(15.0 * (tick + 1)))
    assert float(state.model.step.step_s(30.0, 45_000.0)) == pytest.approx(float(TRUE.step_s(30.0, 45_000.0)), rel=0.01)
    assert state.taught == 20 * SPEAKERS


def test_a_small_fleet_speaks_for_itself() -> None:
    few: list[Sample] = [seen(20.0, 30_000.0), seen(5.0, 9_000.0), PrefillSample(1000.0, 1.0, 0.1)]
    assert set(representatives(few)) == set(few)
    assert representatives([]) == ()
