"""Scenario files: those that ship fly, bad ones are explained, the production loop flies unchanged in virtual time."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import looptime
import pytest
import yaml
from typer.testing import CliRunner

from autoscaler.cli.app import app
from autoscaler.controller import Controller
from autoscaler.decider import Decider
from autoscaler.domain.fleet import PodState
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import ModelPlan, Plan, Scale, VariantPlan, VariantRef
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import known
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.policy import load_policies
from autoscaler.simulate.results import Fate
from autoscaler.simulate.run import fly, stay
from autoscaler.simulate.scenario import Scenario, build, read_scenario
from tests.unit.simulate.tunnels import evenly, tunnel

FOLDER = Path(__file__).parents[3] / "examples" / "scenarios"
SHIPPED = sorted(FOLDER.glob("*.yaml"))


class Reactive:
    """Wants a decode replica for every 2 requests/s: the simplest decider with an opinion."""

    def __init__(self, policy: str) -> None:
        self.policy = policy

    def decide(self, observation: Observation) -> Plan:
        model = observation.models.get(self.policy)
        if model is None:
            return Plan(observation.at)
        rate = sum(known(load.requests_per_second, 0.0) for load in model.loads.values())
        workload = model.fleet["decode"]
        requested = getattr(workload, "requested", 0)
        target = max(1, round(rate / 2.0))
        ref = VariantRef(self.policy, "decode")
        actions = (Scale(ref, target, requested),) if target != requested and rate > 0 else ()
        return Plan(observation.at, {self.policy: ModelPlan(self.policy, {"decode": VariantPlan.of(target)}, actions)})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_scenario_that_ships_can_be_read_and_begun(path: Path) -> None:
    scenario = read_scenario(path)
    world = scenario.world()
    world.env.run(30.0)
    assert world.scraper.observation(world.now()).models
    assert scenario.name == path.stem
    assert scenario.trace.duration_s <= scenario.duration


def test_the_seed_claim_holds_in_its_scenario_files() -> None:
    def attained(name: str) -> float:
        scenario = read_scenario(FOLDER / f"{name}.yaml")
        results = stay(scenario.world()).results
        return float((results.done & (results.itl_s <= 0.03)).mean())

    assert attained("disaggregated-picker") > 0.995 > attained("monolithic-round-robin")


def burst(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of a document
    document: dict[str, Any] = yaml.safe_load((FOLDER / "rag-burst.yaml").read_text(encoding="utf-8"))
    return {**document, **changes}


def built(document: Mapping[str, Any]) -> Scenario:
    return build(document, folder=FOLDER, source="s.yaml")


def without(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (burst(sead=3), r"s.yaml: sead: Extra inputs are not permitted"),
        (burst(duration="soon"), r"s.yaml: duration: is no duration; write a number with its unit"),
        (burst(duration=1800), r"s.yaml: duration: 1800 is no duration"),
        (without(burst(), "duration"), r"duration: streams need one, such as 30m"),
        (burst(load={}), r"s.yaml: load: give either trace or streams"),
        (without(burst(), "profiles", "variants"), r"give either policy, or profiles and variants"),
        (burst(faults=[{"kind": "meteor", "at": "1m"}]), r"s.yaml: faults.0.kind: Input should be 'metric-gap'"),
        (
            burst(supply=[{"variant": "gpu", "initial": 1}]),
            r"supply.0.variant: no variant 'gpu'; there are decode-h200",
        ),
        (burst(supply=[{"variant": "decode-h200", "initial": 1}]), r"supply.0.performance: name a performance profile"),
        (burst(seed=-1), r"s.yaml: seed: Input should be greater than or equal to 0"),
        (burst(period="0s"), r"s.yaml: period: Input should be greater than 0"),
        (
            burst(profiles=[{"name": "rag", "slo": {"ttft": "0s", "itl": "50ms"}}]),
            r"s.yaml: profiles.0.slo.ttft: Input should be greater than 0",
        ),
        ("text", r"s.yaml: file: Input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_said(document: Any, message: str) -> None:  # noqa: ANN401 - any document
    with pytest.raises(InputError, match=message):
        built(document)


def test_a_stream_has_one_shape() -> None:
    document = burst()
    document["load"]["streams"][0]["rate"] = 2
    with pytest.raises(InputError, match=r"load.streams.0: give exactly one of rate, stages, sine, ramp, burst"):
        built(document)


def test_a_scenario_may_replay_a_trace_with_a_policy_file(tmp_path: Path) -> None:
    rows = "\n".join(f"{i * 0.5},800,100" for i in range(100))
    (tmp_path / "t.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}\n", encoding="utf-8")
    policy = FOLDER.parents[1] / "policies" / "rag-and-reasoning.yaml"
    (tmp_path / "p.yaml").write_text(policy.read_text(encoding="utf-8"), encoding="utf-8")
    document = {"kind": "Scenario", "name": "own", "policy": "p.yaml", "load": {"trace": {"file": "t.csv"}}}
    names = [v.name for v in load_policies([policy]).policies[0].variants]
    supply = [{"variant": name, "performance": "h200-tp1-qwen3-32b", "initial": 1} for name in names]
    scenario = build({**document, "supply": supply}, folder=tmp_path, source="s.yaml")
    assert stay(scenario.world()).results.done.all()


def test_a_flight_follows_its_decider_and_is_billed_for_it() -> None:
    world = tunnel(evenly(6000, 1200.0), {Role.PREFILL: 1, Role.DECODE: 1})
    run = fly(world, Reactive(world.policy.key), period=Seconds(15.0))
    assert run.results.done.all()
    wanted = [sample.requested for sample in run.fleet if sample.variant == "decode"]
    assert (wanted[0], wanted[-1]) == (1, 2)
    assert run.bills["decode"].ready_s > 1200.0 + 900.0
    assert len(run.records) == 80
    assert all(record.succeeded for record in run.records[2:])


def test_the_controller_runs_for_an_hour_of_virtual_time_with_the_cluster_as_its_world() -> None:
    world = tunnel(evenly(7200, 3600.0), {Role.PREFILL: 1, Role.DECODE: 1})
    world.pace = 1.0
    controller = Controller(
        clock=world, observer=world, decider=Reactive(world.policy.key), actuator=world, publisher=world
    )
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as virtual, pytest.raises(TimeoutError):
        virtual.run(asyncio.wait_for(controller.run(period=Seconds(15.0)), timeout=3599.0))
    assert len(world.log) == 240
    assert not any(record.outcome.results for record in world.log)


def test_equal_seeds_give_equal_decisions() -> None:
    def decisions() -> list[Plan]:
        scenario = read_scenario(FOLDER / "rag-burst.yaml")
        decider = Decider([scenario.policy], scenario.priors, period=scenario.period)
        run = fly(scenario.world(), decider, period=scenario.period, horizon=Seconds(600.0), grace=Seconds(0.0))
        return [record.plan for record in run.records]

    assert decisions() == decisions()


@pytest.mark.slow
def test_on_a_bad_day_nothing_shrinks_while_signals_are_missing_and_little_is_lost() -> None:
    scenario = read_scenario(FOLDER / "bad-day.yaml")
    decider = Decider([scenario.policy], scenario.priors, period=scenario.period)
    run = fly(scenario.world(), decider, period=scenario.period, horizon=scenario.duration)
    for record in run.records:
        blind = any(gap.signal in {"scrape", "observation"} for gap in record.observation.gaps)
        shrunk = [a for a in record.plan.actions if isinstance(a, Scale) and a.replicas < a.observed]
        assert not (blind and shrunk), record.observation.at
    assert (run.results.fate != Fate.UNFINISHED).all()
    assert (run.results.fate == Fate.LOST).mean() < 0.01


def test_the_command_prints_what_programs_read() -> None:
    result = CliRunner().invoke(app, ["simulate", str(FOLDER / "disaggregated-picker.yaml"), "--static", "-o", "json"])
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["attainment_by_profile"].keys() == {"chat", "rag"}
    assert (data["lost_requests"], data["changes"]) == (0, [])
    assert data["cost"] == pytest.approx(8 * 3.1 * 300 / 3600, rel=0.01)


def test_the_command_tells_people_what_changed() -> None:
    result = CliRunner().invoke(app, ["simulate", str(FOLDER / "rag-burst.yaml")])
    assert result.exit_code == 0
    assert "attainment" in result.stdout
    assert "prefill-h200" in result.stdout


def test_a_pod_that_boots_serves_nothing() -> None:
    world = tunnel(evenly(100, 100.0), {Role.PREFILL: 1, Role.DECODE: 1})
    world.fleet.set_replicas("decode", 2)
    world.env.run(59.0)
    (booting,) = world.fleet.of("decode", PodState.STARTING)
    assert booting.engine.meters.requests == 0
