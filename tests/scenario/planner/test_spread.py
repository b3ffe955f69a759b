"""A variant fails whole: where its role was spread, the others go on with their share until more of them have come."""

from dataclasses import replace

from autoscaler.domain.policy import Spread
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from tests import planning
from tests.scenario.planner.stories import Kind, Story, codes

LOADS = {
    "rag": Kind(30.0, 1000.0, 400.0).load("rag"),
    "default": Kind(20.0, 300.0, 400.0).load("default"),
}
VARIANTS = (
    planning.variant(Role.PREFILL, most=40),
    planning.variant(Role.DECODE, name="cheap", least=0, most=40, price=2.0),
    planning.variant(Role.DECODE, name="dear", least=0, most=40, price=3.0),
)


def story(share: float, **decode: int) -> Story:
    policy = replace(planning.policy(*VARIANTS, behavior=planning.AT_ONCE), spread=Spread(share))
    return Story(policy, {"prefill": 4, **decode})


def test_the_rest_still_does_its_share_when_a_variant_is_lost_and_then_all_of_it() -> None:
    alone = story(1.0, cheap=8, dear=0).settled(LOADS).variants["cheap"].target
    told = story(0.7, cheap=8, dear=0)
    before = told.settled(LOADS)
    assert alone > 3
    assert before.variants["dear"].target >= 0.3 * alone
    assert before.variants["cheap"].target + before.variants["dear"].target <= alone + 1
    assert Code.SPREAD in codes(before, "dear")

    told.pods["cheap"] = []  # none is left, and no node is free for another
    during = [told.tick(LOADS, stuck=("cheap",)) for _ in range(60)]
    serving = [pod for pod in told.pods["dear"] if pod.ready_since is not None]
    assert all(plan.variants["dear"].target >= before.variants["dear"].target for plan in during)
    assert Code.START_OVERDUE in codes(during[-1], "cheap")
    assert during[-1].variants["dear"].target >= alone
    assert Code.CONCENTRATED in codes(during[-1], "dear")
    assert len(serving) >= alone


def test_without_a_rule_nothing_is_left_when_it_is_lost() -> None:
    plan = story(1.0, cheap=8, dear=0).settled(LOADS)
    assert plan.variants["dear"].target == 0
    assert Code.CONCENTRATED not in codes(plan, "cheap")
