"""WVA's defects E1b to E14: the same situations, and what a planner should do (where it differs by role or by time)."""

from dataclasses import replace

import pytest

from autoscaler.domain.fleet import Workload
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import planner
from tests import planning
from tests.scenario.planner.stories import Kind, Story, codes, pair

CALM = {"rag": Kind(0.5, 3000, 64).load("rag"), "default": Kind(1, 800, 200).load("default")}
DECODE_HEAVY = {"rag": Kind(0.5, 300, 2000).load("rag"), "default": Kind(12, 300, 1500).load("default")}
RAG_HEAVY = {"rag": Kind(8, 4000, 50).load("rag"), "default": Kind(1, 800, 50).load("default")}


def bounded(prefill_most: int, prefill: int = 2, decode: int = 2) -> Story:
    policy = planning.policy(planning.variant(Role.PREFILL, most=prefill_most), planning.variant(Role.DECODE, most=40))
    return Story(policy, {"prefill": prefill, "decode": decode})


def test_e1b_a_full_role_does_not_keep_the_other_from_growing() -> None:
    plan = bounded(2).settled(DECODE_HEAVY, 8)
    assert plan.variants["decode"].target > 2


def test_e1c_a_role_with_little_headroom_does_not_trim_the_other() -> None:
    loads = {"rag": Kind(8, 4000, 500).load("rag"), "default": Kind(8, 800, 1000).load("default")}
    tight, wide = bounded(3).settled(loads, 8), bounded(40).settled(loads, 8)
    assert tight.variants["prefill"].target == 3
    assert codes(tight, "prefill") >= {Code.BOUNDED, Code.OVERLOADED}, "the full role is reported"
    assert tight.variants["decode"].target == wide.variants["decode"].target > 3


def test_e2_one_role_grows_while_the_other_shrinks_in_the_same_cycle() -> None:
    loads = {
        "rag": planning.demand("rag", 0.1, prompt=300, output=2000),
        "default": planning.demand("default", 12.0, prompt=300, output=1500),
    }
    fleet = {"prefill": planning.workload("prefill", 8), "decode": planning.workload("decode", 2)}
    chosen = planning.policy(behavior=planning.AT_ONCE)
    lazy = planning.situation(chosen, loads, fleet)
    eager = replace(
        lazy, knowledge={name: replace(known, startup=Seconds(0.0)) for name, known in lazy.knowledge.items()}
    )
    plan, _ = planner.plan(eager, {})
    changes = [(action.variant.variant, action.replicas - action.observed) for action in plan.actions]  # type: ignore[union-attr]
    assert [name for name, _ in changes] == ["decode", "prefill"], "growth first where the budget allows"
    assert changes[0][1] > 0 > changes[1][1]


def test_e3_a_prefill_queue_teaches_nothing_of_decode() -> None:
    story, calm = pair(2, 4), pair(2, 4)
    story.settled(RAG_HEAVY, 4)
    calm.settled(RAG_HEAVY, 4)
    queued = story.tick(RAG_HEAVY, engines={"prefill": {"waiting": 5.0}})
    assert queued.variants["decode"].target == calm.tick(RAG_HEAVY).variants["decode"].target <= 4


@pytest.mark.parametrize("kv", [0.5, 0.95])
def test_e4_e5_kv_use_is_a_ratio_of_a_pod_whatever_its_engines(kv: float) -> None:
    story, calm = pair(2, 4), pair(2, 4)
    plan = [story.tick(CALM, engines={"decode": {"kv_use_ratio": kv}}) for _ in range(4)][-1]
    assert plan.variants["decode"].uncapped == calm.settled(CALM, 4).variants["decode"].uncapped


def test_e6a_pods_that_fall_silent_are_not_idle() -> None:
    story = pair(4, 4)
    story.settled(RAG_HEAVY, 4)
    before = dict(story.requested)
    for _ in range(40):
        plan = story.tick(CALM, silent=["prefill"])
    assert story.requested["prefill"] >= before["prefill"]
    assert Code.HELD_ON_GAP in codes(plan, "prefill")


def test_e6b_when_every_series_vanishes_everything_stays() -> None:
    story = pair(2, 2)
    story.settled(RAG_HEAVY, 8)
    before = dict(story.requested)
    plans = [story.tick({}, silent=["prefill", "decode"], seconds=60.0) for _ in range(20)]
    assert story.requested == before
    assert Code.HELD_ON_GAP in codes(plans[-1], "prefill") & codes(plans[-1], "decode")
    assert not any(plan.actions for plan in plans[6:])


def test_e7_prices_are_known_at_zero_replicas() -> None:
    cheap = planning.variant(Role.DECODE, name="l40s", least=0, price=1.0)
    dear = planning.variant(Role.DECODE, name="h200", least=0, price=10.0)
    policy = planning.policy(planning.variant(Role.PREFILL), dear, cheap)
    plan = Story(policy, {"prefill": 2, "l40s": 2, "h200": 0}).settled(DECODE_HEAVY, 8)
    assert plan.variants["l40s"].target > 2
    assert plan.variants["h200"].target == 0


def test_e8_a_few_waiting_prompts_are_seconds_of_work_not_replicas() -> None:
    story = pair(2, 2)
    story.settled(CALM, 20)
    plan = story.tick(CALM, engines={"prefill": {"waiting": 4.0}})
    assert plan.variants["prefill"].target <= 4


def test_e9_a_queue_is_work_over_rate_and_time() -> None:
    story = pair(1, 2)
    story.settled(CALM, 20)
    plan = story.tick(CALM, engines={"prefill": {"waiting": 60.0}})
    assert plan.variants["prefill"].target <= 4


def test_e10_the_scale_is_written_directly_without_an_outer_tolerance() -> None:
    chosen = planning.policy(planning.variant(Role.PREFILL, least=12), planning.variant(Role.DECODE))
    fleet = {"prefill": planning.workload("prefill", 11), "decode": planning.workload("decode", 2)}
    demands = {"rag": planning.demand("rag", 1.0, prompt=3000, output=64)}
    plan, _ = planner.plan(planning.situation(chosen, demands, fleet), {})
    assert plan.variants["prefill"].target == 12, "nine per cent more is written"


def test_e13_a_profile_with_an_slo_out_of_reach_freezes_nothing() -> None:
    hopeless = replace(planning.RAG, slo=replace(planning.RAG.slo, ttft=Seconds(0.001)))
    story = Story(planning.policy(profiles=(hopeless, planning.CHAT)), {"prefill": 2, "decode": 2})
    plan = story.settled(DECODE_HEAVY, 8)
    assert plan.variants["decode"].target > 2


def test_e14_pods_without_series_are_not_counted_as_load_and_ghosts_do_not_exist() -> None:
    story, clean = pair(2, 2), pair(2, 2)
    gone = Missing(GapReason.STALE, Instant(planning.NOW - 30))
    for _ in range(4):
        plan = story.tick(CALM, engines={"prefill": {"waiting": gone}})
    assert plan.variants["prefill"].uncapped == clean.settled(CALM, 4).variants["prefill"].uncapped


def test_a_fleet_that_cannot_be_seen_is_left_alone_while_the_other_role_is_served() -> None:
    story = pair(2, 2)
    unseen: Missing | Workload = Missing(GapReason.UNREACHABLE, planning.NOW)
    plan = [story.tick(DECODE_HEAVY, fleet={"prefill": unseen}) for _ in range(6)][-1]
    assert story.requested["prefill"] == 2
    assert plan.variants["decode"].target > 2
