"""Both bounds: the certified one lies below every flight that attains, the feasible one attains."""

from dataclasses import replace

import pytest

from autoscaler.backtest import bound, contenders, run
from autoscaler.backtest.run import Flight
from autoscaler.domain.policy import Budget
from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from tests.unit.backtest import scenes


@pytest.mark.parametrize("startup", [30.0, 120.0])
def test_the_schedule_attains_and_costs_no_less_than_the_certificate(startup: float) -> None:
    scene = scenes.scene(seconds=900.0)
    found = bound.bound(scene, startup, rounds=4)
    assert found.reached
    assert all(share >= 0.95 for share in found.attainment_by_profile.values())
    assert found.certified_lower <= found.cost


def test_no_flight_that_attains_is_below_the_certificate() -> None:
    scene = scenes.scene(seconds=900.0, spread=1.0)
    lower = bound.certified(scene, 60.0)
    flights = [
        run.flown(scene, Flight(name, 60.0, 0, knob))
        for name in ("static", "hpa")
        for knob in contenders.contender(name).knob.grid(6)
    ]
    attaining = [f.score.cost for f in flights if min(f.score.attainment_by_profile.values()) >= 0.95]
    assert attaining
    assert min(attaining) >= lower


def test_a_cheaper_variant_lowers_the_certificate() -> None:
    roles = (scenes.variant(Role.PREFILL, least=0), scenes.variant(Role.DECODE))
    cheaper = scenes.variant(Role.PREFILL, "cheap", cost=0.5, least=0)
    plain = bound.certified(scenes.scene(*roles, seconds=900.0), 60.0)
    mixed = bound.certified(scenes.scene(*roles, cheaper, seconds=900.0), 60.0)
    assert mixed < plain


def test_longer_starts_and_stricter_promises_never_lower_the_certificate() -> None:
    scene = scenes.scene(seconds=900.0)
    assert bound.certified(scene, 30.0) <= bound.certified(scene, 300.0) + 1e-9
    strict = replace(scene, policy=contenders.promising(scene.policy, 0.1))
    assert bound.certified(scene, 60.0) <= bound.certified(strict, 60.0) + 1e-9


def test_a_budget_that_cannot_serve_is_an_error_with_a_way_out() -> None:
    scene = scenes.scene(seconds=900.0)
    policy = replace(scene.policy, budget=Budget(accelerator_limits=(("H200-SXM", 1),)))
    with pytest.raises(InputError, match="raise the limits"):
        bound.certified(replace(scene, policy=policy), 60.0)


def test_mixed_unified_and_disaggregated_pools_are_refused() -> None:
    scene = scenes.scene(scenes.variant(Role.PREFILL), scenes.variant(Role.DECODE), scenes.variant(Role.UNIFIED))
    with pytest.raises(InputError, match="not both"):
        bound.certified(scene, 60.0)
