"""Bounds, budget and ratio: each amendment by table."""

import pytest

from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.policy import Budget, RatioGuard
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.plan import guardrails
from tests import planning

PREFILL = planning.variant(Role.PREFILL, least=1, most=8, price=4.0)
DECODE = planning.variant(Role.DECODE, least=1, most=8, price=4.0)
BOTH = (PREFILL, DECODE)


def proposals(prefill: int, decode: int) -> dict[str, VariantPlan]:
    return {"prefill": VariantPlan.of(prefill), "decode": VariantPlan.of(decode)}


def targets(amended: guardrails.Proposals) -> tuple[int, int]:
    return amended["prefill"].target, amended["decode"].target


@pytest.mark.parametrize(
    ("wish", "target"),
    [
        pytest.param(0, 1, id="minimum holds without load"),
        pytest.param(5, 5, id="inside"),
        pytest.param(9, 8, id="maximum caps a burst"),
    ],
)
def test_bounds(wish: int, target: int) -> None:
    amended = guardrails.within_bounds(DECODE)(VariantPlan.of(wish))
    assert (amended.target, amended.uncapped) == (target, wish)
    assert [reason.code for reason in amended.reasons] == ([] if wish == target else [Code.BOUNDED])


@pytest.mark.parametrize(
    ("budget", "wishes", "kept"),
    [
        pytest.param(Budget(), (8, 8), (8, 8), id="no limit"),
        pytest.param(Budget((("H200-SXM", 8),)), (6, 6), (4, 4), id="both roles give in step"),
        pytest.param(Budget((("H200-SXM", 6),)), (8, 1), (5, 1), id="a minimum stays"),
        pytest.param(Budget((("L40S", 1),)), (6, 6), (6, 6), id="another accelerator's limit"),
        pytest.param(Budget(cost_per_hour=24.0), (4, 4), (3, 3), id="cost per hour"),
        pytest.param(Budget(cost_per_hour=4.0), (4, 4), (1, 1), id="minimums stay whatever they cost"),
    ],
)
def test_budget(budget: Budget, wishes: tuple[int, int], kept: tuple[int, int]) -> None:
    assert targets(guardrails.within_budget(BOTH, budget, proposals(*wishes))) == kept


@pytest.mark.parametrize(
    ("occupied", "wishes", "kept"),
    [
        pytest.param((4, 4), (6, 2), (4, 2), id="grows only once the other has left"),
        pytest.param((4, 2), (6, 2), (6, 2), id="it has left"),
        pytest.param((3, 4), (6, 2), (4, 2), id="what is free is used at once"),
        pytest.param((4, 4), (4, 2), (4, 2), id="shrinking waits for nobody"),
        pytest.param((6, 6), (6, 2), (6, 2), id="what is there is not cut for what leaves"),
    ],
)
def test_at_a_full_budget_growth_waits_for_what_leaves(
    occupied: tuple[int, int], wishes: tuple[int, int], kept: tuple[int, int]
) -> None:
    there = {"prefill": occupied[0], "decode": occupied[1]}
    amended = guardrails.within_budget(BOTH, Budget((("H200-SXM", 8),)), proposals(*wishes), there)
    assert targets(amended) == kept
    waits = [reason.code for plan in amended.values() for reason in plan.reasons]
    assert waits == ([] if kept == wishes else [Code.AWAITS_RELEASE])


@pytest.mark.parametrize(
    ("guard", "wishes", "kept"),
    [
        pytest.param(RatioGuard(), (1, 8), (1, 8), id="no guard"),
        pytest.param(RatioGuard(min_prefill_per_decode=0.5), (1, 6), (3, 6), id="prefill follows decode"),
        pytest.param(RatioGuard(max_prefill_per_decode=2.0), (6, 1), (6, 3), id="decode follows prefill"),
        pytest.param(RatioGuard(0.5, 2.0), (3, 4), (3, 4), id="inside"),
        pytest.param(RatioGuard(min_prefill_per_decode=4.0), (1, 8), (8, 8), id="as far as the maximum"),
    ],
)
def test_ratio(guard: RatioGuard, wishes: tuple[int, int], kept: tuple[int, int]) -> None:
    assert targets(guardrails.within_ratio(BOTH, guard, proposals(*wishes))) == kept


def test_the_cheapest_variant_of_a_role_is_raised_first() -> None:
    dear, cheap = (planning.variant(Role.PREFILL, name=n, price=p, most=3) for n, p in (("dear", 9.0), ("cheap", 1.0)))
    plans = {name: VariantPlan.of(count) for name, count in (("dear", 1), ("cheap", 1), ("decode", 5))}
    raised = guardrails.within_ratio((dear, cheap, DECODE), RatioGuard(min_prefill_per_decode=1.0), plans)
    assert {name: plan.target for name, plan in raised.items()} == {"dear": 2, "cheap": 3, "decode": 5}
