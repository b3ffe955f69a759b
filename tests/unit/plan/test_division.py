"""Unified beside disaggregated replicas: who carries what, by table."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import Latency
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.policy import Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import division, planner
from autoscaler.plan.parts import Parts
from autoscaler.plan.situation import Situation
from tests import planning
from tests.scenario.planner.stories import Kind

EAGER = Parts(lazy_scale_in=False)
NOBODY: Mapping[str, int] = MappingProxyType({})


def policy(*, price: float = 3.8, most: int = 20, least: int = 0, ample: int = 40) -> SLOPolicy:
    """Return a policy in which every pool may be at zero."""
    pair = [planning.variant(role, least=0, most=ample) for role in (Role.PREFILL, Role.DECODE)]
    both = planning.variant(Role.UNIFIED, least=least, most=most, price=price)
    return planning.policy(*pair, both, behavior=planning.AT_ONCE)


def facing(
    rate: float, chosen: SLOPolicy, ready: Mapping[str, int] = NOBODY, *, prompt: float = 300.0
) -> tuple[ModelPlan, Situation]:
    """Return the plan for a load, of which half the prompts are half as long, and what it was made from."""
    output = 300.0
    demands = {
        "rag": planning.demand("rag", rate / 2, prompt=prompt, output=output),
        "default": planning.demand("default", rate / 2, prompt=prompt / 2, output=output),
    }
    fleet = {role.value: planning.workload(role.value, ready.get(role.value, 0)) for role in Role}
    loads = {
        "rag": Kind(rate / 2, prompt, output).load("rag"),
        "default": Kind(rate / 2, prompt / 2, output).load("default"),
    }
    known = planning.situation(chosen, demands, fleet)
    situation = replace(known, parts=EAGER, observed=replace(known.observed, loads=loads))
    plan, _ = planner.plan(situation, {})
    return plan, situation


def targets(plan: ModelPlan) -> tuple[int, int, int]:
    """Return prefill, decode and unified replicas."""
    return (plan.variants["prefill"].target, plan.variants["decode"].target, plan.variants["unified"].target)


def divided(plan: ModelPlan, role: Role) -> dict[str, float]:
    """Return the figures that say why a role is sized as it is."""
    (reason,) = (reason for reason in plan.variants[role.value].reasons if reason.code is Code.DIVIDED)
    return {name: float(value) for name, value in reason.evidence.items()}


@pytest.mark.parametrize(
    ("rate", "price", "most", "expected"),
    [
        pytest.param(2.0, 3.8, 20, "unified", id="a small load, on one replica instead of two"),
        pytest.param(120.0, 9.0, 20, "pair", id="dear unified replicas are left out"),
        pytest.param(120.0, 3.0, 40, "unified", id="cheap ones that suffice serve alone"),
        pytest.param(120.0, 2.0, 3, "both", id="cheap ones that do not suffice carry a part"),
    ],
)
def test_the_cheapest_of_both_sides_serves(rate: float, price: float, most: int, expected: str) -> None:
    prefill, decode, unified = targets(facing(rate, policy(price=price, most=most))[0])
    assert (bool(prefill), bool(decode), bool(unified)) == {
        "unified": (False, False, True),
        "pair": (True, True, False),
        "both": (True, True, True),
    }[expected]


def test_a_division_says_what_comes_to_each_side_and_what_the_other_ways_would_cost() -> None:
    plan, _ = facing(120.0, policy(price=2.0, most=3))
    mine, yours = (divided(plan, role) for role in (Role.UNIFIED, Role.DECODE))
    assert mine["share"] + yours["share"] == pytest.approx(1.0, abs=0.05)
    assert mine["share"] <= mine["sized_for"]
    assert mine["short"] == 0.0
    assert mine["cost"] < mine["disaggregated_alone"]
    assert "unified_alone" not in mine, "three replicas are not enough"


def test_decode_beside_unified_replicas_of_long_prompts_is_more_than_it_needs_alone() -> None:
    """The picker evens out batches: what unified replicas bear binds those beside them."""
    alone = targets(facing(16.0, policy(most=0), prompt=3000.0)[0])
    beside = targets(facing(16.0, policy(least=1, most=4), prompt=3000.0)[0])
    assert alone[2] == 0
    assert beside[2] >= 1
    assert beside[1] > alone[1]


def test_a_side_that_cannot_keep_a_limit_is_left_out_where_the_other_can() -> None:
    hurried = RequestProfile("rag", SLO(Seconds(3.0), Seconds(0.022), 0.99), planning.RAG.match)
    chosen = replace(policy(price=0.1), profiles=(hurried, planning.CHAT))
    prefill, decode, unified = targets(facing(4.0, chosen, prompt=8000.0)[0])
    assert prefill
    assert decode
    assert unified == 0


def test_where_nothing_is_enough_all_that_helps_is_asked_for_and_what_is_short_is_said() -> None:
    plan, _ = facing(400.0, policy(most=2, ample=2))
    assert targets(plan) == (2, 2, 2)
    assert divided(plan, Role.DECODE)["short"] > 0.1


def test_a_side_stays_until_what_takes_over_serves() -> None:
    chosen = policy(price=9.0)
    assert targets(facing(60.0, chosen, {"unified": 8})[0])[2] == 4, (
        "all that the load needs: nothing of the pair serves"
    )
    assert targets(facing(60.0, chosen, {"unified": 8, "prefill": 3, "decode": 5})[0])[2] == 0


def test_the_pair_stays_until_unified_replicas_serve() -> None:
    chosen = policy(price=0.5)
    prefill, decode, unified = targets(facing(2.0, chosen, {"prefill": 1, "decode": 1})[0])
    assert (prefill, decode) == (1, 1)
    assert unified >= 1


def test_a_way_counts_as_dearer_on_which_the_last_unified_replicas_carry_too_much() -> None:
    drained = replace(policy(price=2.0, most=4), scheduler=Scheduler(SchedulerKind.INFERENCE_POOL, "pool"))
    there = {"prefill": 8, "decode": 4, "unified": 4}
    plans = [
        facing(
            14.0,
            replace(drained, scale_down=replace(drained.scale_down, max_concurrent_drains=at_once)),
            there,
            prompt=3000.0,
        )[0]
        for at_once in (1, 4)
    ]
    assert all(plan.variants["unified"].uncapped == 0 for plan in plans)
    slowly, swiftly = (divided(plan, Role.UNIFIED)["cost"] for plan in plans)
    assert slowly == pytest.approx(division.ROUGH * swiftly)


def test_broken_limits_of_replicas_that_leave_bring_no_more_of_them() -> None:
    """More unified replicas would take more of the load from the pair that has come for it."""
    chosen = policy(price=9.0)
    _, situation = facing(60.0, chosen, {"unified": 4, "prefill": 3, "decode": 5})
    late = replace(situation.observed.loads["rag"], itl=Latency(0.2, 0.2, 0.2, 0.2, 0.5, 500.0))
    slow = {pod: replace(engine, itl_mean_s=0.2, running=30.0) for pod, engine in situation.observed.engines.items()}
    broken = replace(situation.observed, loads={**situation.observed.loads, "rag": late}, engines=slow)
    plan, _ = planner.plan(replace(situation, observed=broken, at=Instant(planning.NOW + 600)), {})
    assert targets(plan)[2] == 0


def test_without_load_who_is_there_stays_and_nobody_wakes_prefill() -> None:
    for there, stays in ({"decode": 1}, (0, 1, 0)), ({"unified": 2}, (0, 0, 1)), (NOBODY, (0, 0, 1)):
        assert targets(facing(0.0, policy(), there)[0]) == stays


def test_unified_replicas_that_do_not_come_are_not_counted_on() -> None:
    chosen = policy(price=2.0, most=3)
    _, situation = facing(120.0, chosen)
    pods = tuple(Pod(f"u-{n}", "unified", PodState.PENDING, Instant(planning.NOW - 4000)) for n in range(3))
    stuck = {**situation.observed.fleet, "unified": Workload("unified", 3, pods)}
    overdue = replace(situation, observed=replace(situation.observed, fleet=stuck))
    (plan, _), (usual, _) = (planner.plan(each, {}) for each in (overdue, situation))
    assert targets(plan)[1] > targets(usual)[1]
    assert divided(plan, Role.DECODE)["share"] == 1.0


def test_requests_seen_to_prefer_unified_replicas_move_the_division() -> None:
    chosen = policy(price=2.0, most=3)
    _, situation = facing(120.0, chosen, {"prefill": 1, "decode": 4, "unified": 3})
    alike, unlike = (_running(situation, unified) for unified in (20.0, 60.0))
    expected, moved = (_paces(each).shares((3,), (4,))[1] for each in (alike, unlike))
    assert moved > expected + 0.05


def _paces(situation: Situation) -> division.Paces:
    return division.Paces(situation, {role: situation.policy.pool(role) for role in Role})


def _running(situation: Situation, unified: float) -> Situation:
    """Return the same with so many requests on each unified replica, and 20 on each decode replica."""
    running = {"unified": unified, "decode": 20.0, "prefill": 1.0}
    engines = {
        pod: replace(engine, running=running[pod.rsplit("-", 1)[0]])
        for pod, engine in situation.observed.engines.items()
    }
    return replace(situation, observed=replace(situation.observed, engines=engines))


def test_nothing_is_divided_where_a_policy_does_not_mix_or_nothing_is_known() -> None:
    plain, _ = facing(4.0, planning.policy())
    assert all(reason.code is not Code.DIVIDED for each in plain.variants.values() for reason in each.reasons)
    gone = Missing(GapReason.STALE, planning.NOW)
    fleet = {role.value: planning.workload(role.value, 2) for role in Role}
    blind = planning.situation(policy(), {"rag": gone, "default": gone}, fleet)
    assert targets(planner.plan(blind, {})[0]) == (2, 2, 2)
