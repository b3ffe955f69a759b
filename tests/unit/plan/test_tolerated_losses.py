"""Replicas to spare: the plan stands with as many lost as the policy says, whichever they are."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.domain.policy import Budget
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.plan import allocation, planner, program
from autoscaler.plan.allocation import Option
from autoscaler.plan.program import Claim
from tests import planning
from tests.planning import option


def survives(alone: list[int], counts: tuple[int, ...], losses: int) -> bool:
    """Tell whether the rest is enough whichever replicas are lost, by trying all."""
    ways = itertools.product(*(range(count + 1) for count in counts))
    worst = min(
        sum((n - gone) / a for n, gone, a in zip(counts, lost, alone, strict=True))
        for lost in ways
        if sum(lost) == min(losses, sum(counts))
    )
    return worst >= 1.0 - 1e-9


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        pytest.param([option(3, losses=1)], (4,), id="one variant: one more"),
        pytest.param([option(3, losses=2)], (5,), id="two more"),
        pytest.param([option(0, losses=2)], (0,), id="without load there is nothing to lose"),
        pytest.param([option(3, losses=1, most=3)], (3,), id="the maximum stays"),
        pytest.param(
            [option(6, losses=1, price=1.0), option(2, losses=1, price=2.3)], (0, 3), id="the lost one counts double"
        ),
    ],
)
def test_the_cheapest_mix_with_replicas_to_spare(options: list[Option], counts: tuple[int, ...]) -> None:
    assert allocation.cheapest(options) == counts


@given(
    alone=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    prices=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    losses=st.integers(0, 2),
)
def test_a_mix_stands_whatever_is_lost_and_none_is_cheaper(alone: list[int], prices: list[int], losses: int) -> None:
    options = [
        option(a, losses=losses, price=float(p), name=f"v{n}")
        for n, (a, p) in enumerate(zip(alone, prices, strict=False))
    ]
    counts = allocation.cheapest(options)
    assert survives(alone, counts, losses)
    cost = sum(o.cost(n) for o, n in zip(options, counts, strict=True))
    for fewer in itertools.product(*(range(a + losses + 1) for a in alone)):
        if survives(alone, fewer, losses):
            assert cost <= sum(o.cost(n) for o, n in zip(options, fewer, strict=True)) + 1e-9


def test_a_budget_that_is_short_still_serves_what_it_can() -> None:
    claim = Claim(((option(4, losses=1),), (option(4, losses=1),)))
    shares = program.shared([claim], Budget((("H200-SXM", 6),)))
    assert shares is not None
    assert shares[0].counts == ((3,), (3,))
    assert shares[0].served == pytest.approx(0.6)


def test_a_plan_keeps_one_more_in_the_role_that_may_lose_one_and_says_so() -> None:
    demands = {"rag": planning.demand("rag", 6.0, prompt=3000, output=200)}
    fleet = {name: planning.workload(name, 1) for name in ("prefill", "decode")}
    plain = planning.policy(behavior=planning.AT_ONCE)
    careful = replace(plain, tolerated_losses=((Role.DECODE, 1),))
    one, other = (planner.plan(planning.situation(p, demands, fleet), {})[0].variants for p in (plain, careful))
    assert other["prefill"] == one["prefill"]
    assert other["decode"].target == one["decode"].target + 1
    assert other["decode"].uncapped == one["decode"].uncapped + 1
    assert [r.code for r in other["decode"].reasons if r.code is Code.SPARED] == [Code.SPARED]
    assert Code.BOUNDED not in {reason.code for reason in other["decode"].reasons}
