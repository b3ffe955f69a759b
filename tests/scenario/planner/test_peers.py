"""Defects of HPA, KEDA, KServe, llm-d's guides, Dynamo, AIBrix and Kthena: the same situations, and what ours does."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.observation import ModelObservation, Observation, ProfileLoad
from autoscaler.domain.plan import ModelPlan, Scale
from autoscaler.domain.policy import Behavior, Budget, RatioGuard, ScalingRules
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import behavior, planner
from autoscaler.plan.behavior import Entry, Memory
from tests import planning
from tests.scenario.planner.stories import ABSENT, Kind, Story, codes, pair, served

CALM = {"rag": Kind(0.5, 3000, 64).load("rag"), "default": Kind(1, 800, 200).load("default")}
BUSY = {"rag": Kind(8, 3000, 64).load("rag"), "default": Kind(4, 800, 200).load("default")}
DECODE_HEAVY = {"rag": Kind(0.5, 300, 2000).load("rag"), "default": Kind(12, 300, 1500).load("default")}


def up(plan: ModelPlan) -> list[str]:
    return [a.variant.variant for a in plan.actions if isinstance(a, Scale) and a.replicas > a.observed]


def down(plan: ModelPlan) -> list[str]:
    return [a.variant.variant for a in plan.actions if isinstance(a, Scale) and a.replicas < a.observed]


def test_r1_starting_replicas_count_so_a_slow_start_is_no_cascade() -> None:
    slow, quick = pair(1, 1, startup=110.0), pair(1, 1, startup=0.0)
    step = {"rag": Kind(6, 3000, 64).load("rag"), "default": Kind(1, 800, 200).load("default")}
    for story in (slow, quick):
        story.settled(CALM, 30)
    asked = [slow.tick(step, engines={"prefill": {"waiting": 20.0}}).variants["prefill"].target for _ in range(8)]
    enough = max(quick.tick(step).variants["prefill"].target for _ in range(8))
    assert max(asked) <= 2 * enough + 2, f"asked {asked} where {enough} serve; HPA asks for 8 times as many"


def test_r2_asking_again_for_what_is_there_does_not_multiply() -> None:
    story = pair(3, 3)
    sizes = [story.tick(CALM).variants["prefill"].target for _ in range(20)]
    assert max(sizes) <= 3


def test_r6_the_first_cycle_acts_on_a_step() -> None:
    story = pair(1, 1)
    story.settled(CALM, 30)
    plan = story.tick({"rag": Kind(8, 3000, 64).load("rag"), "default": Kind(1, 800, 200).load("default")})
    assert plan.variants["prefill"].target > 2


def test_r7_a_restart_takes_nothing_away_before_its_windows_are_full() -> None:
    story = pair(10, 10)
    story.decider = story.fresh()
    plans = [story.tick(CALM) for _ in range(39)]
    assert not any(down(plan) for plan in plans), "twice 300 s have not passed: the fleet was found, not made"
    assert any(down(story.tick(CALM)) for _ in range(4))


def test_r10_decode_that_waits_for_prefill_is_not_bought() -> None:
    waits: Mapping[str, Mapping[str, Signal[float]]] = {
        "prefill": {"waiting": 30.0},
        "decode": {"kv_use_ratio": 0.95, "deferred": 40.0, "itl_mean_s": 0.02},
    }
    jammed, free = pair(2, 2), pair(2, 2)
    served_late = {"rag": Kind(8, 3000, 64).load("rag", served(0.2), served(1.0)), "default": BUSY["default"]}
    for _ in range(12):
        plan = jammed.tick(served_late, engines=waits)
        clean = free.tick(BUSY)
    assert plan.variants["prefill"].target > 2
    assert plan.variants["decode"].target <= clean.variants["decode"].target


def test_r11_a_lull_of_one_look_takes_nothing_away() -> None:
    story = pair(2, 2)
    story.settled(BUSY, 60)
    none = {name: Kind(0.0, 0, 0).load(name) for name in BUSY}
    assert not down(story.tick(none))


@pytest.mark.parametrize(("idle", "said"), [(0.05, True), (0.8, False)])
def test_r13_one_full_replica_among_idle_ones_is_said_not_bought_for(idle: float, *, said: bool) -> None:
    story = pair(2, 10)
    story.settled(CALM, 2)

    pods = {name: tuple(pods) for name, pods in story.pods.items()}
    reports = {p.name: replace(planning.engine(p.name), kv_use_ratio=idle) for group in pods.values() for p in group}
    full = pods["decode"][3].name
    reports[full] = replace(reports[full], kv_use_ratio=0.95, waiting=30.0)
    fleet = {name: Workload(name, len(group), group) for name, group in pods.items()}
    observed = ModelObservation(story.policy.key, CALM, fleet, reports, 0.0)
    at = Instant(story.at + 15)
    plan = story.decider.decide(Observation(at, {story.policy.key: observed})).models[story.policy.key]
    assert (Code.IMBALANCED in codes(plan, "decode")) is said
    assert plan.variants["decode"].target <= 10


def test_r14_while_replicas_warm_an_overloaded_role_never_asks_for_fewer() -> None:
    story = pair(2, 2, startup=300.0)
    sizes = [story.tick(BUSY, engines={"prefill": {"waiting": 10.0}}).variants["prefill"].target for _ in range(19)]
    assert sizes == sorted(sizes)


def test_r16_queued_work_is_bought_for_and_slo_percentiles_leave_headroom() -> None:
    story = pair(2, 2)
    plan = story.settled(BUSY, 20)
    busy = float(plan.variants["prefill"].reasons[0].evidence["busy_replicas"])
    assert plan.variants["prefill"].uncapped > busy


def test_r18_warming_engines_teach_nothing() -> None:
    story = pair(2, 2)
    story.settled(CALM, 10)
    model = story.decider.replica_model(story.policy.key, "prefill")
    before = float(model.prefill.latency_s(3000.0))
    slow: Mapping[str, Signal[float]] = {
        "prefill_mean_s": 60.0,
        "requests_per_second": 1.0,
        "computed_prompt_tokens_per_second": 3000.0,
    }
    for name, pods in story.pods.items():
        story.pods[name] = [replace(pod, ready_since=Instant(story.at + 15 - 5)) for pod in pods]
    story.tick(CALM, engines={"prefill": slow})
    after = float(story.decider.replica_model(story.policy.key, "prefill").prefill.latency_s(3000.0))
    assert after == pytest.approx(before, rel=1e-6)


def test_r18_one_poisoned_sample_moves_no_learned_value_far() -> None:
    story = pair(2, 2)
    story.settled(CALM, 10)
    before = float(story.decider.replica_model(story.policy.key, "prefill").prefill.latency_s(3000.0))
    poison: Mapping[str, Signal[float]] = {
        "prefill_mean_s": 16 * before,
        "requests_per_second": 1.0,
        "computed_prompt_tokens_per_second": 3000.0,
    }
    story.tick(CALM, engines={"prefill": poison})
    after = float(story.decider.replica_model(story.policy.key, "prefill").prefill.latency_s(3000.0))
    assert after < 2 * before


@pytest.mark.slow
def test_r19_constant_load_at_a_threshold_does_not_flap() -> None:
    for rate in (3.0, 3.3, 3.6, 3.9):
        story = pair(2, 2)
        loads = {"rag": Kind(rate, 3000, 64).load("rag"), "default": CALM["default"]}
        story.settled(loads, 60)
        sizes = {story.tick(loads).variants["prefill"].target for _ in range(40)}
        assert len(sizes) == 1


def spilling() -> Story:
    cheap = planning.variant(Role.DECODE, name="cheap", least=0, price=2.0)
    dear = planning.variant(Role.DECODE, name="dear", least=0, price=5.0)
    policy = planning.policy(planning.variant(Role.PREFILL), cheap, dear, behavior=planning.AT_ONCE)
    return Story(policy, {"prefill": 2, "cheap": 2, "dear": 0})


@pytest.mark.slow
def test_r20_a_pending_replica_spills_to_the_next_variant_and_is_given_back_once_it_comes() -> None:
    story = spilling()
    for _ in range(4):
        story.tick(DECODE_HEAVY, stuck=["cheap"])
    wanted = story.requested["cheap"]
    assert wanted > 2
    assert story.requested["dear"] == 0, "not before a start could have finished"
    for _ in range(60):
        plan = story.tick(DECODE_HEAVY, stuck=["cheap"])
    assert story.requested["dear"] > 0
    assert story.requested["cheap"] > 2, "the order stands"
    assert Code.START_OVERDUE in codes(plan, "cheap")
    for _ in range(80):
        plan = story.tick(DECODE_HEAVY)
    assert story.requested["dear"] == 0, "given back"
    assert Code.START_OVERDUE not in codes(plan, "cheap")


def test_r21_at_a_full_budget_shrinking_comes_first_and_growth_after_the_release() -> None:
    loads = {
        "rag": planning.demand("rag", 0.1, prompt=300, output=2000),
        "default": planning.demand("default", 12.0, prompt=300, output=1500),
    }
    budget = Budget((("H200-SXM", 8),))
    chosen = planning.policy(budget=budget, behavior=planning.AT_ONCE)
    full = {"prefill": planning.workload("prefill", 6), "decode": planning.workload("decode", 2)}
    lasting = (Entry(Instant(planning.NOW - 400), 1),)
    memories = {"prefill": Memory(lasting), "decode": Memory(lasting)}
    first, _ = planner.plan(planning.situation(chosen, loads, full), memories)
    assert down(first) == ["prefill"]
    assert not up(first), "nothing is free yet"
    assert Code.AWAITS_RELEASE in codes(first, "decode")
    smaller = first.variants["prefill"].target
    freed = full | {"prefill": planning.workload("prefill", smaller)}
    second, _ = planner.plan(planning.situation(chosen, loads, freed), memories)
    assert up(second) == ["decode"]
    assert second.variants["prefill"].target + second.variants["decode"].target <= 8


def test_r22_an_outage_is_not_zero_traffic_and_minimums_hold() -> None:
    story = pair(2, 2)
    story.settled(BUSY, 20)
    before = dict(story.requested)
    a = ABSENT
    dark = {name: ProfileLoad(name, a, a, a, a, a, a, a, a, a) for name in BUSY}
    for _ in range(30):
        story.tick(dark, silent=["prefill", "decode"])
    assert all(story.requested[name] >= before[name] for name in before)


def test_r27_the_way_down_takes_the_largest_of_the_window() -> None:
    window = Behavior(ScalingRules(Seconds(0.0)), ScalingRules(Seconds(300.0)))
    past = Memory(tuple(Entry(Instant(planning.NOW - ago), n) for ago, n in ((200, 2), (100, 6), (50, 5))))
    assert behavior.stabilized(5, 6, window, past, planning.NOW) == 6


def test_r30_one_failed_pod_removes_one_sample_not_the_loop() -> None:

    story = pair(3, 3)
    story.pods["prefill"][0] = replace(story.pods["prefill"][0], state=PodState.FAILED)
    assert up(story.tick(BUSY)) or up(story.tick(BUSY))


@pytest.mark.parametrize(
    ("guard", "loads", "holds"),
    [
        pytest.param(RatioGuard(min_prefill_per_decode=0.5), DECODE_HEAVY, (0.5, 99.0), id="prefill follows decode"),
        pytest.param(RatioGuard(max_prefill_per_decode=1.0), BUSY, (0.0, 1.0), id="decode follows prefill"),
        pytest.param(RatioGuard(1.0, 1.0), BUSY, (1.0, 1.0), id="one to one"),
    ],
)
def test_kthena_the_ratio_guard_raises_the_smaller_role_and_starves_none(
    guard: RatioGuard, loads: dict[str, ProfileLoad], holds: tuple[float, float]
) -> None:

    free, guarded = pair(2, 2), pair(2, 2)
    guarded.policy = replace(guarded.policy, ratio=guard)
    guarded.decider = guarded.fresh()
    for _ in range(12):
        plain, kept = free.tick(loads), guarded.tick(loads)
        counts = {name: plan.target for name, plan in kept.variants.items()}
        assert holds[0] <= counts["prefill"] / counts["decode"] <= holds[1]
        assert all(counts[name] >= plain.variants[name].target for name in counts)
    assert Code.RATIO_GUARD in {code for name in counts for code in codes(kept, name)}


def test_overload_beyond_the_maximum_holds_it_and_says_what_is_missed() -> None:
    story = pair(2, 2, most=3)
    plan = story.settled(BUSY, 12)
    assert plan.variants["prefill"].target == 3
    short = next(r for r in plan.variants["prefill"].reasons if r.code is Code.OVERLOADED)
    assert float(short.evidence["attainment"]) < float(short.evidence["goal"])
    assert str(short.evidence["profile"]) in short.message


@pytest.mark.parametrize(("own", "alarm"), [(0.02, False), (0.9, True)])
def test_a_broken_hand_over_raises_an_alarm_instead_of_buying_decode(own: float, *, alarm: bool) -> None:
    story = pair(2, 2)
    seen: Mapping[str, Mapping[str, Signal[float]]] = {
        "decode": {
            "prompt_tokens_per_second": 10_000.0,
            "computed_prompt_tokens_per_second": own * 10_000.0,
            "preemptions_per_second": 0.0,
        }
    }
    plans = [story.tick(DECODE_HEAVY, engines=seen) for _ in range(6)]
    assert (Code.HANDOVER_BROKEN in codes(plans[-1], "decode")) is alarm
    assert (story.requested["decode"] == 2) is alarm
