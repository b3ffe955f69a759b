"""Unified beside disaggregated replicas: the division foretold against the simulated one, and a fleet that mixes."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autoscaler.backtest.scene import Scene, scene_of_scenario
from autoscaler.backtest.score import Score, score
from autoscaler.decider import Decider
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Seconds
from autoscaler.plan.division import Paces
from autoscaler.simulate.request import Request
from autoscaler.simulate.router import Router
from autoscaler.simulate.run import Run, fly, stay
from autoscaler.simulate.scenario import read_scenario
from tests import planning

PERIOD = Seconds(15.0)
PRICES = {Role.PREFILL: 3.1, Role.DECODE: 3.1, Role.UNIFIED: 2.0}
LONG_PROMPTS = """
    - {profile: rag, rate: RATE, prompt: {mean: 3000, variation: 0.55}, output: {mean: 300, variation: 0.55}}
    - {profile: chat, rate: RATE, prompt: {mean: 1500, variation: 0.55}, output: {mean: 300, variation: 0.55}}
"""
SHORT_PROMPTS = """
    - profile: rag
      sine: {low: 0.1, high: 1, period: 40m}
      prompt: {mean: 1000, variation: 0.3, most: 12000}
      output: {mean: 200, variation: 0.3}
    - profile: chat
      sine: {low: 2, high: 33, period: 40m}
      prompt: {mean: 300, variation: 0.6, most: 8000}
      output: {mean: 300, variation: 0.6}
"""
SCENARIO = """
kind: Scenario
name: mixed
about: one model on engines of both kinds
seed: 1
duration: MINUTESm
profiles:
  - {name: rag, slo: {ttft: 3s, itl: 50ms, attainment: 0.99}}
  - {name: chat, slo: {ttft: 2s, itl: 35ms, attainment: 0.99}}
variants:VARIANTS
load:
  streams:STREAMS
supply:SUPPLY
"""


def scene(folder: Path, minutes: int, streams: str, initial: dict[Role, int], **most: int) -> Scene:
    """Return a scene with a variant of each role that is named; others than the first replicas start in a minute."""
    variants = "".join(
        f"\n  - {{name: {role}, role: {role}, costPerReplicaHour: {PRICES[role]},"
        f" minReplicas: {int(len(initial) < 3 and count > 0)}, maxReplicas: {most.get(role, 20)}}}"
        for role, count in initial.items()
    )
    supply = "".join(
        f"\n  - {{variant: {role}, performance: h200-tp1-qwen3-32b, initial: {count},"
        " startUp: {median: 60s, spread: 1.2}}"
        for role, count in initial.items()
    )
    text = SCENARIO.replace("MINUTES", str(minutes)).replace("VARIANTS", variants)
    path = folder / "mixed.yaml"
    path.write_text(text.replace("STREAMS", streams.rstrip()).replace("SUPPLY", supply), encoding="utf-8")
    return scene_of_scenario(read_scenario(path))


@dataclass
class Counted:
    """A router that counts the requests which unified replicas get."""

    router: Router
    requests: int = 0
    unified: int = 0
    members: object = field(init=False)

    def __post_init__(self) -> None:
        self.members = self.router.members
        self.add, self.remove = self.router.add, self.router.remove

    def route(self, request: Request) -> bool:
        found = self.router.route(request)
        self.requests += found
        self.unified += found and request.decode_pod.engine.role is Role.UNIFIED
        return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "prefill", "decode", "unified"),
    [(8, 6, 3, 1), (8, 5, 6, 4), (8, 5, 10, 4), (4, 2, 3, 4), (4, 2, 2, 1), (1, 1, 1, 1)],
)
def test_the_division_is_foretold(tmp_path: Path, rate: int, prefill: int, decode: int, unified: int) -> None:
    fleet = {Role.PREFILL: prefill, Role.DECODE: decode, Role.UNIFIED: unified}
    found = scene(tmp_path, 10, LONG_PROMPTS.replace("RATE", str(rate)), fleet)
    world = found.world(found.startup(60.0), 1, settings=found.settings)
    counted = Counted(world.traffic.router)
    world.traffic.router = counted  # type: ignore[assignment]
    stay(world)
    demands = {
        "rag": planning.demand("rag", rate, prompt=3000, output=300, spread=0.0),
        "default": planning.demand("default", rate, prompt=1500, output=300, spread=0.0),
    }
    chosen = planning.policy(*(planning.variant(role) for role in Role))
    situation = planning.situation(chosen, demands, {})
    told, _ = Paces(situation, {role: chosen.pool(role) for role in Role}).shares((unified,), (decode,))
    assert told == pytest.approx(counted.unified / counted.requests, abs=0.03)


@pytest.mark.slow
def test_a_unified_replica_added_to_a_pair_that_suffices_makes_it_miss(tmp_path: Path) -> None:
    """Why counts are not chosen side by side: a picker evens out batches, not what replicas bear."""
    pair = {Role.PREFILL: 6, Role.DECODE: 4, Role.UNIFIED: 0}
    found = scene(tmp_path, 10, LONG_PROMPTS.replace("RATE", "8"), pair)
    kept = []
    for unified in (0, 1):
        fleet = {"prefill": 6, "decode": 4, "unified": unified}
        world = found.world(found.startup(60.0), 1, initial=fleet, settings=found.settings)
        kept.append(score(found.policy, stay(world)).worst_profile)
    assert kept[0] >= 0.99
    assert kept[1] < 0.95


def _flown(found: Scene) -> tuple[Score, Run]:
    world = found.world(found.startup(60.0), 1, settings=found.settings)
    decider = Decider([found.policy], {found.policy.key: found.priors}, period=PERIOD)
    run = fly(world, decider, period=PERIOD, horizon=found.horizon)
    return score(found.policy, run), run


@pytest.mark.slow
def test_three_cheap_unified_replicas_serve_the_night_alone_and_the_day_beside_a_pair(tmp_path: Path) -> None:
    mixed, run = _flown(
        scene(tmp_path, 40, SHORT_PROMPTS, {Role.UNIFIED: 1, Role.PREFILL: 0, Role.DECODE: 0}, unified=3)
    )
    pair, _ = _flown(scene(tmp_path, 40, SHORT_PROMPTS, {Role.PREFILL: 1, Role.DECODE: 1}))
    unified, _ = _flown(scene(tmp_path, 40, SHORT_PROMPTS, {Role.UNIFIED: 1}, unified=3))
    assert mixed.lost_requests == 0
    assert mixed.worst_profile >= 0.99
    assert pair.worst_profile >= 0.99
    assert unified.worst_profile < 0.985, "three are not enough for the day"
    assert mixed.cost < 0.9 * pair.cost
    night = [sample.requested for sample in run.fleet if sample.at < 60.0 and sample.variant != Role.UNIFIED]
    assert not any(night)
