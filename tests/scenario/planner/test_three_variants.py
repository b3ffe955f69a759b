"""A choice of variants never costs more than having none: starts slower than anybody assumed, a day's wave."""

import pytest

from autoscaler.backtest.contenders import OURS, contender
from autoscaler.backtest.run import Flight, flown
from autoscaler.backtest.score import Score
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import behavior, planner
from benchmarks.board import tracks
from tests import planning

CHAT = {
    "rag": planning.demand("rag", 0.1, prompt=800, output=64),
    "default": planning.demand("default", 14.0, prompt=800, output=300),
}


def score(player: str, startup_s: float) -> Score:
    (track,) = (each for each in tracks.development() if each.name == "three-variants-day-8b")
    return flown(tracks.scene(track), Flight(player, startup_s, 1, contender(player).knob.default)).score


@pytest.mark.slow
@pytest.mark.parametrize("startup_s", [120.0, 300.0])
def test_three_variants_cost_no_more_than_the_first_alone(startup_s: float) -> None:
    three, first = score(OURS, startup_s), score(f"{OURS}-without-variants", startup_s)
    assert three.worst_profile >= first.worst_profile - 0.002
    assert three.cost <= 1.02 * first.cost


def _decode(name: str, price: float) -> Variant:
    return planning.variant(Role.DECODE, name=name, least=0, price=price)


def _planned(recommended_s_ago: float, dear: float) -> ModelPlan:
    """Return the plan where three replicas run that were last recommended so long ago, beside a cheaper variant."""
    chosen = planning.policy(planning.variant(Role.PREFILL), _decode("dear", dear), _decode("cheap", 3.0))
    fleet = {"prefill": planning.workload("prefill", 1), "dear": planning.workload("dear", 3)}
    fleet["cheap"] = planning.workload("cheap", 0)
    last = Instant(planning.NOW - recommended_s_ago)
    memory = behavior.Memory((behavior.Entry(last, 3),))
    return planner.plan(planning.situation(chosen, CHAT, fleet), {"dear": memory})[0]


def test_a_change_of_mix_waits_until_it_pays_for_what_leaves() -> None:
    window = Seconds(300.0)  # of the way down, as shipped
    stays, goes = _planned(15.0, dear=3.8), _planned(window - 1.0, dear=3.8)
    assert stays.variants["cheap"].target == 0
    assert goes.variants["cheap"].target > 0
    assert _planned(15.0, dear=9.0).variants["cheap"].target > 0, "much cheaper: at once"
