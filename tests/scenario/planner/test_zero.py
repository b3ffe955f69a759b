"""To zero after a quiet time, from zero on the first request: peers' E11 and E12, and what must never happen."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.backtest.scene import scene_of_scenario
from autoscaler.backtest.score import score
from autoscaler.decider import Decider
from autoscaler.domain.observation import Observation, ProfileLoad
from autoscaler.domain.policy import Behavior, ScaleToZero, ScalingRules, StepKind, StepLimit
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.step import PrefillModel
from autoscaler.plan import planner
from autoscaler.plan.zero import Quiet
from autoscaler.simulate.run import fly
from autoscaler.simulate.scenario import read_scenario
from tests import planning
from tests.scenario.planner.stories import ABSENT, Kind, Story, codes

AFTER = Seconds(600.0)
MINUTE = 4  # ticks
STOPPED = Behavior(ScalingRules(Seconds(0.0)), ScalingRules(Seconds(0.0)))


def sleeper(*names: str, ready: int = 1, behavior: Behavior = STOPPED) -> Story:
    """Return a story of a model that may sleep; ``names`` of decode variants, each 1 dearer than the one before."""
    decoders = [
        planning.variant(Role.DECODE, name=name, least=0, price=3.0 + n) for n, name in enumerate(names or ("decode",))
    ]
    prefill = planning.variant(Role.PREFILL, least=0, price=3.0)
    policy = planning.policy(prefill, *decoders, behavior=behavior)
    counts = {v.name: ready if v in (prefill, decoders[0]) else 0 for v in policy.variants}
    return Story(replace(policy, scale_to_zero=ScaleToZero(enabled=True, idle_after=AFTER)), counts)


def loads(rate: float = 0.0, queued: float = 0.0) -> dict[str, ProfileLoad]:
    return {
        "rag": replace(Kind(rate, 3000, 100).load("rag"), queued_requests=queued),
        "default": Kind(0.0, 800, 200).load("default"),
    }


def idle() -> dict[str, object]:
    return {name: {"running": 0.0, "waiting": 0.0, "deferred": 0.0} for name in ("prefill", "decode")}


def quiet(story: Story, ticks: int, **engine: float) -> None:
    special = idle() | ({"decode": {"running": 0.0, "waiting": 0.0, "deferred": 0.0} | engine} if engine else {})
    for _ in range(ticks):
        story.plan = story.tick(loads(), engines=special)  # type: ignore[arg-type, attr-defined]


def test_after_the_quiet_time_both_roles_go_together_and_not_before() -> None:
    story = sleeper()
    story.tick(loads(2.0))
    sizes = []
    for _ in range(15 * MINUTE):
        story.tick(loads(), engines=idle())  # type: ignore[arg-type]
        sizes.append(tuple(story.requested.values()))
    asleep = sizes.index((0, 0))
    assert AFTER <= 15.0 * asleep <= AFTER + 420.0  # besides, a start's worth of time is waited out
    assert all(min(size) >= 1 for size in sizes[:asleep])
    assert set(sizes[asleep:]) == {(0, 0)}


def test_the_plan_says_why_one_stays_and_why_it_goes() -> None:
    story = sleeper()
    story.tick(loads(2.0))
    early = [story.tick(loads(), engines=idle()) for _ in range(8 * MINUTE)][-1]  # type: ignore[arg-type]
    assert early.variants["decode"].target == 1
    late = [story.tick(loads(), engines=idle()) for _ in range(10 * MINUTE)][-1]  # type: ignore[arg-type]
    assert late.variants["decode"].target == 0
    assert story.requested == {"prefill": 0, "decode": 0}


@pytest.mark.parametrize("gauge", ["running", "waiting"])
def test_a_long_generation_keeps_the_model_awake_although_nothing_comes_or_ends(gauge: str) -> None:
    """E11: WVA counts completions only, and takes a model to zero in the middle of an answer."""
    story = sleeper()
    story.tick(loads(2.0))
    quiet(story, 40 * MINUTE, **{gauge: 1.0})
    assert min(story.requested.values()) >= 1


def test_not_knowing_is_not_quiet() -> None:
    story = sleeper()
    unknown = {name: replace(load, requests_per_second=ABSENT) for name, load in loads().items()}
    for _ in range(40 * MINUTE):
        story.tick(unknown, engines=idle())  # type: ignore[arg-type]
    assert min(story.requested.values()) >= 1
    quiet(story, int(AFTER / 15) - 1)
    assert min(story.requested.values()) >= 1


def test_the_first_request_wakes_the_cheapest_variant_of_each_role_and_no_other() -> None:
    """E12: WVA wakes all variants."""
    story = sleeper("cheap", "dear", ready=0)
    quiet(story, MINUTE)
    assert set(story.requested.values()) == {0}
    plan = story.tick(loads(queued=3.0))
    assert story.requested == {"prefill": 1, "cheap": 1, "dear": 0}
    assert Code.WOKEN in codes(plan, "cheap")


def test_a_model_of_which_nothing_was_ever_measured_wakes_too() -> None:
    story = sleeper(ready=0)
    waiting = {
        name: replace(load, uncached_prompt_tokens_per_second=ABSENT, output_tokens_per_second=ABSENT)
        for name, load in loads(queued=1.0).items()
    }
    story.tick(waiting)
    assert story.requested == {"prefill": 1, "decode": 1}


def test_waking_stays_awake_while_replicas_start_and_requests_wait() -> None:
    story = sleeper(ready=0)
    sizes = []
    for _ in range(5 * MINUTE):
        story.tick(loads(queued=2.0), engines=idle())  # type: ignore[arg-type]
        sizes.append(tuple(story.requested.values()))
    assert set(sizes) == {(1, 1)}


def test_a_sleeping_model_does_not_wake_by_itself_nor_after_a_restart() -> None:
    story = sleeper(ready=0)
    quiet(story, 10 * MINUTE)
    story.decider = story.fresh()
    quiet(story, 10 * MINUTE)
    assert set(story.requested.values()) == {0}


def test_a_sleeping_model_without_any_data_stays_as_it_is() -> None:
    story = sleeper(ready=0)
    story.tick({name: replace(load, requests_per_second=ABSENT) for name, load in loads().items()})
    assert set(story.requested.values()) == {0}


def test_a_step_limit_in_per_cent_lets_the_first_replica_come() -> None:
    doubling = ScalingRules(Seconds(0.0), (StepLimit(StepKind.PERCENT, 100, Seconds(60.0)),))
    story = sleeper(ready=0, behavior=Behavior(doubling, ScalingRules(Seconds(0.0))))
    story.tick(loads(queued=1.0))
    assert story.requested == {"prefill": 1, "decode": 1}


def test_prefill_may_sleep_while_decode_would_serve_alone_until_a_request_comes() -> None:
    prefill, decode = planning.variant(Role.PREFILL, least=0), planning.variant(Role.DECODE)
    story = Story(planning.policy(prefill, decode, behavior=STOPPED), {"prefill": 0, "decode": 1})
    quiet(story, MINUTE)
    assert story.requested == {"prefill": 0, "decode": 1}
    alone = {"decode": {"prompt_tokens_per_second": 900.0, "computed_prompt_tokens_per_second": 900.0}}
    plan = story.tick(loads(0.3), engines=alone)
    assert story.requested["prefill"] == 1
    assert Code.HANDOVER_BROKEN not in codes(plan, "decode")


def test_who_wakes_keeps_the_limits_even_if_another_is_cheaper() -> None:
    cheap, dear = (
        planning.variant(Role.PREFILL, name=name, least=0, price=p) for name, p in (("l40s", 1), ("h200", 9))
    )
    policy = planning.policy(cheap, dear, planning.variant(Role.DECODE, least=0), behavior=STOPPED)
    policy = replace(policy, scale_to_zero=ScaleToZero(enabled=True, idle_after=AFTER))
    scene = planning.situation(policy, {}, {v.name: planning.workload(v.name, 0) for v in policy.variants})
    late = replace(planning.H200, prefill=PrefillModel(9.0, 9.0, 0.0, 0.0))
    scene = replace(
        scene,
        knowledge=dict(scene.knowledge) | {"l40s": replace(planning.KNOWN, model=late)},
        observed=replace(scene.observed, loads=loads(queued=1.0)),
    )
    plan, _ = planner.plan(scene, {})
    assert {name: found.target for name, found in plan.variants.items()} == {"l40s": 0, "h200": 1, "decode": 1}


def test_history_tells_how_long_it_has_been_quiet_but_not_across_a_gap() -> None:
    story = sleeper()
    fleet = Missing(ABSENT.reason, planning.NOW)
    seen = planning.situation(story.policy, {}, {v.name: fleet for v in story.policy.variants}).observed
    past = [Observation(Instant(60.0 * n), {story.policy.key: replace(seen, loads=loads())}) for n in range(11)]
    found = Quiet()
    for each in past:
        found = found.updated(each.at, each.models[story.policy.key])
    assert found.lasted(Instant(600.0)) == 600.0
    assert found.updated(Instant(1200.0), past[0].models[story.policy.key]).lasted(Instant(1200.0)) == 0.0


def test_not_knowing_is_never_quiet() -> None:
    story = sleeper()
    fleet = {v.name: planning.workload(v.name, 1) for v in story.policy.variants}
    told = {f"{name}-0": planning.engine(f"{name}-0", running=0.0, waiting=0.0) for name in fleet}
    idle_now = replace(planning.situation(story.policy, {}, fleet, engines=told).observed, loads=loads())
    stale = replace(loads()["rag"], queued_requests=Missing(GapReason.STALE, planning.NOW))
    absent = replace(stale, queued_requests=ABSENT)  # this picker holds no requests
    blind = [
        replace(idle_now, loads={}),
        replace(idle_now, engines={name: engine for name, engine in told.items() if name != "decode-0"}),
        replace(idle_now, loads=loads() | {"rag": stale}),
    ]
    assert [Quiet().updated(planning.NOW, each).since for each in blind] == [None, None, None]
    holdless = replace(idle_now, loads=loads() | {"rag": absent})
    assert [Quiet().updated(planning.NOW, each).since for each in (idle_now, holdless)] == [planning.NOW] * 2


TUNNEL = """
kind: Scenario
name: nights
about: requests for five minutes, none for half an hour, requests again
seed: 1
duration: 50m
profiles:
  - {name: rag, slo: {ttft: 3s, itl: 50ms, attainment: 0.99}}
variants:
  - {name: prefill, role: prefill, costPerReplicaHour: 3.1, minReplicas: 0, maxReplicas: 10}
  - {name: decode, role: decode, costPerReplicaHour: 3.1, minReplicas: 0, maxReplicas: 10}
load:
  streams:
    - profile: rag
      stages: [{rate: 1, hold: 5m}, {rate: 0, hold: 35m}, {rate: 1, hold: 10m}]
      prompt: {mean: 3000, variation: 0.3, most: 12000}
      output: {mean: 64, variation: 0.3}
supply:
  - {variant: prefill, performance: h200-tp1-qwen3-32b, initial: 1, startUp: {median: 60s, spread: 1.2}}
  - {variant: decode, performance: h200-tp1-qwen3-32b, initial: 1, startUp: {median: 60s, spread: 1.2}}
"""


@pytest.mark.slow
def test_in_the_tunnel_a_night_costs_nothing_and_the_requests_that_wake_the_model_are_held_not_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "nights.yaml"
    path.write_text(TUNNEL, encoding="utf-8")
    scene = scene_of_scenario(read_scenario(path))
    policy = replace(scene.policy, scale_to_zero=ScaleToZero(enabled=True, idle_after=AFTER))
    scene = replace(scene, policy=policy)
    world = scene.world(scene.startup(60.0), 0, settings=scene.settings)
    decider = Decider([policy], {policy.key: scene.priors}, period=Seconds(15.0))
    flight = fly(world, decider, period=Seconds(15.0), horizon=scene.horizon)
    asleep = {sample.at for sample in flight.fleet if sample.requested == 0 and sample.ready == 0}
    found = score(policy, flight)
    assert (found.lost_requests, found.unfinished_requests) == (0, 0)
    assert len(asleep) >= 15 * MINUTE
    assert max(asleep) < 2400.0 + 60.0
    assert {sample.requested > 0 for sample in flight.fleet if sample.at >= 2460.0} == {True}
