"""Every contender flies, repeatably and within bounds; its knob is data."""

from dataclasses import replace

import pytest

from autoscaler.backtest import contenders, run
from autoscaler.backtest.contenders import CONTENDERS, OURS
from autoscaler.backtest.run import Flight, Sweep
from autoscaler.backtest.scene import redrawn
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from tests.unit.backtest import scenes


@pytest.mark.parametrize("name", CONTENDERS)
def test_flies_within_bounds_and_the_same_again(name: str) -> None:
    scene = scenes.scene()
    flight = Flight(name, 60.0, 1, CONTENDERS[name].knob.default)
    first, second = run.flown(scene, flight), run.flown(scene, flight)
    assert first.score == second.score
    landed, _ = run.one(scene, flight)
    for sample in landed.fleet:
        assert 1 <= sample.requested - sample.draining <= scene.policy.variant(sample.variant).max_replicas


@pytest.mark.parametrize("name", sorted(set(CONTENDERS) - {"informed-oracle"}))
def test_a_missing_observation_changes_nothing(name: str) -> None:
    scene = scenes.scene()
    player = contenders.contender(name)
    world = scene.world(scene.startup(60.0), 0, settings=scene.settings)
    decider = player.decider(scene, 60.0, player.knob.default)
    world.scraper.skipping = True
    world.env.run(1.0)
    blind = replace(world.scraper.observation(world.now()), models={})
    assert decider.decide(blind).actions == ()


def test_peers_shrink_without_draining_unless_one_is_lent() -> None:
    scene = scenes.scene(seconds=1200.0)
    flight = Flight("hpa", 30.0, 0, 0.3)
    lost = run.flown(scene, flight).score.lost_requests
    lent = run.flown(replace(scene, peers_drain=True), flight).score.lost_requests
    assert lost > 0
    assert lent == 0


def test_the_oracle_and_the_drain_lose_nothing() -> None:
    flight = Flight("informed-oracle", 60.0, 0, 2.0)
    assert run.flown(scenes.scene(seconds=1200.0), flight).score.lost_requests == 0


def test_a_pool_may_have_several_variants() -> None:
    variants = [
        scenes.variant(Role.PREFILL),
        scenes.variant(Role.DECODE, "dear", cost=4.0, most=3),
        scenes.variant(Role.DECODE, "cheap", cost=2.0, least=0, most=3),
    ]
    scene = scenes.scene(*variants)
    for name in ("wva-v2", "informed-oracle", "hpa"):
        assert run.flown(scene, Flight(name, 60.0, 0, CONTENDERS[name].knob.default)).score.requests > 0


def test_a_policy_that_fails_is_not_scored_as_one_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def decide(self, observation: Observation) -> Plan:
            msg = f"no idea at {observation.at}"
            raise ZeroDivisionError(msg)

    broken = replace(CONTENDERS["hpa"], make=lambda *_: Broken())
    monkeypatch.setattr(contenders, "CONTENDERS", {**CONTENDERS, "hpa": broken})
    with pytest.raises(ZeroDivisionError, match="no idea at 15"):
        run.flown(scenes.scene(), Flight("hpa", 60.0, 0, 1.0))


def test_grids_are_geometric_and_one_value_is_as_shipped() -> None:
    knob = CONTENDERS["hpa"].knob
    assert knob.grid(1) == (knob.default,)
    values = knob.grid(5)
    assert values[0] == pytest.approx(knob.low)
    assert values[-1] == pytest.approx(knob.high)
    assert values[2] / values[1] == pytest.approx(values[1] / values[0])


def test_an_unknown_contender_is_named_with_a_way_out() -> None:
    with pytest.raises(InputError, match='"keda-token-aware"'):
        contenders.contender("keda-token-awar")


def test_other_seeds_move_arrivals_and_keep_the_load() -> None:
    trace = scenes.trace()
    other = redrawn(trace, 3)
    assert not (other.arrival_s == trace.arrival_s).all()
    assert abs(other.arrival_s - trace.arrival_s).max() <= 10.0
    assert sorted(other.input_tokens) == sorted(trace.input_tokens)
    assert (redrawn(trace, 3).arrival_s == other.arrival_s).all()


def test_a_sweep_has_a_cell_for_everything() -> None:
    sweep = Sweep((OURS, "hpa"), (60.0, 180.0), seeds=3, settings=2)
    assert len(sweep.flights()) == 2 * 2 * 3 * 2
    assert len(set(sweep.flights())) == len(sweep.flights())
