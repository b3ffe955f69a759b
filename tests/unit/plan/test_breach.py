"""A limit of decode that is broken now is answered now, once, and only where replicas are too slow for it."""

from dataclasses import replace

import pytest

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.observation import Latency
from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.plan import breach
from autoscaler.plan.situation import Situation
from tests import planning
from tests.scenario.planner.stories import Kind, served

LIMIT_S = float(planning.RAG.slo.itl)
ABSENT = Missing(GapReason.ABSENT, planning.NOW)


def situation(
    itl: Signal[Latency], *gaps_s: Signal[float], ready: int | None = None, requested: int | None = None
) -> Situation:
    """Return a situation with a decode replica per mean gap."""
    count = len(gaps_s) if ready is None else ready
    fleet = {"prefill": planning.workload("prefill", 2), "decode": planning.workload("decode", count, requested)}
    engines = {
        f"decode-{n}": replace(planning.engine(f"decode-{n}", running=8.0), itl_mean_s=gap)
        for n, gap in enumerate(gaps_s)
    }
    found = planning.situation(planning.policy(), {}, fleet, engines=engines)
    loads = {"rag": Kind(2.0, 3000, 64).load("rag", itl=itl)}
    return replace(found, observed=replace(found.observed, loads=loads))


def target(scene: Situation, planned: int) -> int:
    proposals = {"prefill": VariantPlan.of(2), "decode": VariantPlan.of(planned)}
    found = breach.answered(scene, proposals)
    assert found["prefill"] == proposals["prefill"]
    raised = found["decode"].target > planned
    assert raised == (Code.BREACHED in {reason.code for reason in found["decode"].reasons})
    return found["decode"].target


@pytest.mark.parametrize(
    ("within", "gaps_s", "wanted"),
    [
        pytest.param(0.99, (2 * LIMIT_S, 0.01), 2, id="the promise is kept"),
        pytest.param(0.95, (2 * LIMIT_S, 0.01), 2, id="nearly kept: margins learn from it"),
        pytest.param(0.6, (2 * LIMIT_S, 0.01), 3, id="one more beside the sick one"),
        pytest.param(0.6, (0.01, 0.01), 2, id="broken, but not by slow replicas"),
        pytest.param(0.1, (2 * LIMIT_S,) * 6, 9, id="at most half as many again"),
        pytest.param(0.1, (2 * LIMIT_S,), 2, id="at least one"),
        pytest.param(0.1, (ABSENT, ABSENT), 2, id="engines that say nothing"),
    ],
)
def test_what_is_added(within: float, gaps_s: tuple[Signal[float], ...], wanted: int) -> None:
    assert target(situation(served(within), *gaps_s), len(gaps_s)) == wanted


def test_nothing_is_added_while_help_is_ordered_or_on_its_way_or_has_just_come() -> None:
    sick = (2 * LIMIT_S, 2 * LIMIT_S)
    assert target(situation(served(0.1), *sick), 3) == 3
    assert target(situation(served(0.1), *sick, requested=3), 2) == 2
    scene = situation(served(0.1), *sick)
    pods = planning.workload("decode", 2).pods
    fresh = replace(pods[0], state=PodState.READY, ready_since=Instant(planning.NOW - 20.0))
    fleet = dict(scene.observed.fleet) | {"decode": Workload("decode", 2, (fresh, pods[1]))}
    assert target(replace(scene, observed=replace(scene.observed, fleet=fleet)), 2) == 2


def test_few_observations_or_none_say_nothing() -> None:
    assert target(situation(replace(served(0.1), count=5.0), 2 * LIMIT_S), 1) == 1
    assert target(situation(ABSENT, 2 * LIMIT_S), 1) == 1


def test_the_maximum_stays() -> None:
    most = planning.variant(Role.DECODE).max_replicas
    assert target(situation(served(0.1), *(2 * LIMIT_S,) * most), most) == most
