"""Pools of engines that do both, through the same planner; and their model against the simulated engines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest.scene import scene_of_scenario
from autoscaler.backtest.score import score
from autoscaler.decider import Decider
from autoscaler.domain.observation import Moments
from autoscaler.domain.plan import Scale
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.units import Seconds
from autoscaler.plan import planner
from autoscaler.plan.traffic import TrafficClass
from autoscaler.plan.unified import UnifiedStage
from autoscaler.simulate.run import fly, stay
from autoscaler.simulate.scenario import Scenario, read_scenario
from tests import planning

PERIOD = Seconds(15.0)
LOAD = """
  streams:
    - {profile: rag, RATE, prompt: {mean: 3000, variation: 0.3, most: 12000}, output: {mean: 64, variation: 0.3}}
    - {profile: chat, rate: 4, prompt: {mean: 800, variation: 0.6, most: 8000}, output: {mean: 200, variation: 0.6}}
"""
SCENARIO = """
kind: Scenario
name: unified
about: engines that do both
seed: 1
duration: MINUTESm
profiles:
  - {name: rag, slo: {ttft: 3s, itl: 50ms, attainment: 0.99}}
  - {name: chat, slo: {ttft: 2s, itl: 40ms, attainment: 0.99}}
variants:
  - {name: unified-h200, role: unified, costPerReplicaHour: 3.1, minReplicas: 1, maxReplicas: 30}
load:LOADsupply:
  - {variant: unified-h200, performance: h200-tp1-qwen3-32b, initial: 4, startUp: {median: 60s, spread: 1.2}}
"""


def scenario(folder: Path, minutes: int, rate: str) -> Scenario:
    path = folder / "unified.yaml"
    text = SCENARIO.replace("LOAD", LOAD).replace("RATE", rate).replace("MINUTES", str(minutes))
    path.write_text(text, encoding="utf-8")
    return read_scenario(path)


def test_more_load_orders_more_unified_replicas_and_says_why() -> None:
    chosen = planning.policy(planning.variant(Role.UNIFIED), behavior=planning.AT_ONCE)
    demands = {"rag": planning.demand("rag", 12.0, prompt=3000, output=200)}
    plan, _ = planner.plan(planning.situation(chosen, demands, {"unified": planning.workload("unified", 1)}), {})
    (action,) = plan.actions
    assert isinstance(action, Scale)
    assert action.replicas == plan.variants["unified"].target > 3
    assert plan.variants["unified"].reasons[0].code in {Code.TTFT_AT_RISK, Code.SEQUENCES_FULL, Code.ITL_AT_RISK}


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_the_model_foretells_what_steady_load_keeps(tmp_path: Path, replicas: int) -> None:
    scene = scene_of_scenario(scenario(tmp_path, 12, "rate: 2"))
    world = scene.world(scene.startup(60.0), 1, initial={"unified-h200": replicas}, settings=scene.settings)
    came = score(scene.policy, stay(world)).attainment_by_profile
    rag, chat = scene.policy.profile("rag"), scene.policy.profile("chat")
    classes = [
        TrafficClass(rag, _moments(3000, 0.3), _moments(3000, 0.3), _moments(64, 0.3), 1.0),
        TrafficClass(chat, _moments(800, 0.6), _moments(800, 0.6), _moments(200, 0.6), 1.0),
    ]
    stage = UnifiedStage.of(planning.H200, classes, 0.04, Seconds(60.0))
    told = stage.under(np.array([[2 * 3000.0, 4 * 800.0]])).attainment(replicas)[0]
    assert told == pytest.approx([came["rag"], came["chat"]], abs=0.04)


def _moments(mean: float, variation: float) -> Moments:
    return Moments(mean, mean**2 * (1.0 + variation**2))


@pytest.mark.slow
def test_a_burst_on_unified_engines_is_served_without_losing_a_request(tmp_path: Path) -> None:
    scene = scene_of_scenario(scenario(tmp_path, 30, "burst: {base: 1, high: 3, at: 10m, hold: 5m}"))
    world = scene.world(scene.startup(60.0), 1, settings=scene.settings)
    decider = Decider([scene.policy], {scene.policy.key: scene.priors}, period=PERIOD)
    flight = fly(world, decider, period=PERIOD, horizon=scene.horizon)
    found = score(scene.policy, flight)
    sizes = [sample.requested for sample in flight.fleet]
    assert found.lost_requests == 0
    assert found.worst_profile >= 0.98
    assert max(sizes) > min(sizes)


def test_a_replica_to_spare_counts_for_unified_pools_too() -> None:
    chosen = planning.policy(planning.variant(Role.UNIFIED), behavior=planning.AT_ONCE)
    demands = {"rag": planning.demand("rag", 6.0, prompt=3000, output=200)}
    fleet = {"unified": planning.workload("unified", 1)}
    plain, spared = (
        planner.plan(planning.situation(policy, demands, fleet), {})[0].variants["unified"].target
        for policy in (chosen, replace(chosen, tolerated_losses=((Role.UNIFIED, 1),)))
    )
    assert spared == plain + 1
