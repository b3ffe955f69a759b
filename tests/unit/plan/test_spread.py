"""Spread: no role on one variant alone; by table, under budgets, and as a plan tells it."""

import functools
from dataclasses import replace

import pytest

from autoscaler.domain.plan import ModelPlan, VariantPlan
from autoscaler.domain.policy import Budget, SLOPolicy, Spread
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.plan import allocation, planner, program, spread
from autoscaler.plan.allocation import OVERDUE, Option
from autoscaler.plan.program import Claim
from tests import planning

option = functools.partial(planning.option, spread=0.3)


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        pytest.param([option(10), option(10, price=2.0)], (7, 3), id="seven of ten"),
        pytest.param([option(10, spread=0.0), option(10, price=2.0, spread=0.0)], (10, 0), id="no rule"),
        pytest.param([option(10, spread=0.5), option(10, price=2.0, spread=0.5)], (5, 5), id="either half"),
        pytest.param([option(7), option(7, price=2.0)], (4, 3), id="a part of a replica is a whole one"),
        pytest.param([option(3, spread=0.5), option(3, price=2.0, spread=0.5)], (2, 2), id="of three either has two"),
        pytest.param([option(1), option(1, price=2.0)], (1, 0), id="one replica cannot be divided"),
        pytest.param([option(0), option(0, price=2.0)], (0, 0), id="no load, nothing to spread"),
        pytest.param([option(1, price=6.0), option(6, price=2.0)], (1, 0), id="one that does it all"),
        pytest.param([option(1, price=9.0), option(6)], (0, 6), id="nor are six, where one would do it all"),
        pytest.param([option(1, losses=1), option(1, price=2.0, losses=1)], (1, 1), id="of two, one each"),
        pytest.param([option(10, losses=1), option(10, price=2.0, losses=1)], (8, 3), id="with one to spare"),
        pytest.param([option(10), option(10, price=2.0, most=2)], (8, 2), id="as far as the maximum of the other"),
        pytest.param([option(10, most=6), option(10, most=3)], (6, 3), id="where nothing is enough, all of it"),
        pytest.param([option(6, least=5), option(6, price=2.0)], (5, 2), id="a minimum beyond its share counts"),
        pytest.param([option(10), option(10, price=2.0), option(10, price=3.0)], (7, 3, 0), id="two are enough"),
        pytest.param(
            [option(10, spread=0.5), option(10, price=2.0, spread=0.5, most=3), option(10, price=3.0, spread=0.5)],
            (5, 3, 2),
            id="several share the rest",
        ),
        pytest.param(
            [option(6, requested=3, arrivals=(0.0, OVERDUE, OVERDUE)), option(6, price=2.0)],
            (3, 5),
            id="what does not come is not counted on",
        ),
    ],
)
def test_the_cheapest_mix_that_is_spread(options: list[Option], counts: tuple[int, ...]) -> None:
    assert allocation.cheapest(options) == counts


@pytest.mark.parametrize(
    ("budget", "counts", "served"),
    [
        pytest.param(Budget(), (7, 3), 1.0, id="no limit"),
        pytest.param(Budget((("L40S", 3),)), (7, 3), 1.0, id="just enough"),
        pytest.param(Budget((("L40S", 2),)), (8, 2), 1.0, id="as much of it as the limit allows"),
        pytest.param(Budget(cost_per_hour=12.0), (8, 2), 1.0, id="as much of it as the money allows"),
        pytest.param(Budget(cost_per_hour=10.0), (10, 0), 1.0, id="none of it, before anybody is served less"),
        pytest.param(Budget(cost_per_hour=5.0), (5, 0), 0.5, id="nor where not all are served"),
    ],
)
def test_spread_yields_to_a_budget_before_service_does(budget: Budget, counts: tuple[int, ...], served: float) -> None:
    pool = (option(10), option(10, price=2.0, accelerator="L40S"))
    shares = program.shared([Claim((pool,))], budget)
    assert shares is not None
    assert shares[0].counts == (counts,)
    assert shares[0].served == pytest.approx(served)


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_policies_the_more_important_is_spread_first(first: int) -> None:
    pool = (option(10), option(10, price=2.0, accelerator="L40S"))
    claims = [Claim((pool,), importance=int(place == first)) for place in range(2)]
    shares = program.shared(claims, Budget((("L40S", 4),)))
    assert shares is not None
    assert shares[first].counts == ((7, 3),)
    assert shares[1 - first].counts == ((9, 1),)


CHEAP = planning.variant(Role.DECODE, name="cheap", least=0, price=2.0)
DEAR = planning.variant(Role.DECODE, name="dear", least=0, price=3.0)
DEMANDS = {"rag": planning.demand("rag", 12.0, prompt=3000, output=400)}


def planned(policy: SLOPolicy) -> ModelPlan:
    fleet = {name: planning.workload(name, 0) for name in ("cheap", "dear")} | {
        "prefill": planning.workload("prefill", 1)
    }
    return planner.plan(planning.situation(policy, DEMANDS, fleet), {})[0]


def policy(share: float, *decode: object, budget: Budget | None = None) -> SLOPolicy:
    variants = [planning.variant(Role.PREFILL), *(decode or (CHEAP, DEAR))]
    plain = planning.policy(*variants, budget=budget, behavior=planning.AT_ONCE)  # type: ignore[arg-type]
    return replace(plain, spread=Spread(share))


def test_a_plan_tells_what_spread_changes_and_costs_and_leaves_uncapped_alone() -> None:
    plain, even = planned(policy(1.0)).variants, planned(policy(0.6)).variants
    assert (plain["cheap"].target, plain["dear"].target) == (plain["cheap"].uncapped, 0)
    assert even["prefill"] == plain["prefill"]
    extra = sum(v.cost_per_replica_hour * (even[v.name].target - plain[v.name].target) for v in (CHEAP, DEAR))
    assert extra > 0
    for name in ("cheap", "dear"):
        (reason,) = [reason for reason in even[name].reasons if reason.code is Code.SPREAD]
        assert even[name].uncapped == plain[name].uncapped == reason.evidence["from"]
        assert even[name].target == reason.evidence["to"] != reason.evidence["from"]
        assert reason.evidence["more_per_hour"] == pytest.approx(extra)
        assert float(reason.evidence["left"]) >= 0.4 - 1e-9
        assert reason.message.endswith(f"{extra:+.4g}/h")
        assert even[name].lower <= even[name].target <= even[name].upper
    assert all(reason.code is not Code.CONCENTRATED for v in even.values() for reason in v.reasons)


@pytest.mark.parametrize(
    ("first", "other", "targets", "told"),
    [
        pytest.param(option(10), option(10, accelerator="L40S"), (7, 3), {}, id="as it should be"),
        pytest.param(
            option(10), option(10, accelerator="L40S", most=2), (8, 2), {"H200-SXM": 0.2}, id="the other has no room"
        ),
        pytest.param(option(10), option(10, accelerator="L40S"), (0, 10), {"L40S": 0.0}, id="behavior was slower"),
        pytest.param(option(10), option(10, accelerator="L40S"), (2, 0), {"H200-SXM": 0.0}, id="nothing is served"),
        pytest.param(option(1), option(1, accelerator="L40S"), (1, 0), {}, id="one replica cannot be divided"),
        pytest.param(option(0), option(0, accelerator="L40S"), (1, 0), {}, id="no load"),
        pytest.param(
            option(10),
            option(10, accelerator="L40S", requested=3, arrivals=(0.0, OVERDUE, OVERDUE)),
            (9, 3),
            {"H200-SXM": 0.1},
            id="what does not come does nothing",
        ),
    ],
)
def test_it_is_said_where_more_is_left_to_one_variant_than_is_allowed(
    first: Option, other: Option, targets: tuple[int, int], told: dict[str, float]
) -> None:
    proposals = {o.variant.name: VariantPlan.of(n) for o, n in zip((first, other), targets, strict=True)}
    watched = spread.watched([(first, other), ()], proposals)
    said = {name: reason.evidence for name, plan in watched.items() for reason in plan.reasons}
    assert {name: evidence["left"] for name, evidence in said.items()} == pytest.approx(told)
    assert all(evidence["due"] == pytest.approx(0.3) for evidence in said.values())
    assert {name: plan.target for name, plan in watched.items()} == {n: p.target for n, p in proposals.items()}


def test_a_plan_whose_budget_has_no_room_for_spread_serves_and_says_so() -> None:
    other = replace(DEAR, accelerator="L40S")
    free = planned(policy(0.6, CHEAP, other)).variants
    tight = planned(policy(0.6, CHEAP, other, budget=Budget((("L40S", 1),)))).variants
    alone = planned(policy(1.0)).variants["cheap"].target
    assert free["dear"].target > tight["dear"].target == 1
    assert tight["cheap"].target + 1 == alone
    (reason,) = [reason for reason in tight["cheap"].reasons if reason.code is Code.CONCENTRATED]
    assert reason.evidence["left"] == pytest.approx(1 / alone)
    assert reason.evidence["due"] == pytest.approx(0.4)
    assert all(reason.code is not Code.CONCENTRATED for reason in tight["dear"].reasons)


def test_a_role_of_one_variant_is_not_spread_and_no_tick_complains() -> None:
    assert planned(policy(0.6, CHEAP)).variants == planned(policy(1.0, CHEAP)).variants
