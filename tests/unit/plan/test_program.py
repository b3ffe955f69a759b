"""Counts under limits that pools share: by table, and against every count there is."""

import itertools

import pytest

from autoscaler.domain.policy import Budget
from autoscaler.plan.allocation import OVERDUE, Option
from autoscaler.plan.program import Claim, Share, shared
from tests.planning import option


@pytest.mark.parametrize(
    ("pools", "budget", "share"),
    [
        pytest.param((), Budget(), Share((), 1.0), id="nothing is asked for"),
        pytest.param(((option(4),), (option(2),)), Budget(), Share(((4,), (2,)), 1.0), id="no limit"),
        pytest.param(((option(0),), (option(2),)), Budget(), Share(((0,), (2,)), 1.0), id="a pool without load"),
        pytest.param(
            ((option(4), option(8, accelerator="L40S", price=0.9)),),
            Budget((("H200-SXM", 2),)),
            Share(((2, 4),), 1.0),
            id="a full accelerator moves load to the next",
        ),
        pytest.param(
            ((option(4), option(6, accelerator="L40S", price=0.6)),),
            Budget(cost_per_hour=3.6),
            Share(((0, 6),), 1.0),
            id="cost per hour decides",
        ),
        pytest.param(
            ((option(6),), (option(4),)),
            Budget((("H200-SXM", 5),)),
            Share(((3,), (2,)), 0.5),
            id="too small: both roles serve the same share",
        ),
        pytest.param(
            ((option(4, requested=4, arrivals=(0.0, 0.0, OVERDUE, OVERDUE)), option(4, price=2.0)),),
            Budget((("H200-SXM", 9),)),
            Share(((2, 2),), 1.0),
            id="what is overdue serves nobody",
        ),
    ],
)
def test_one_claim(pools: tuple[tuple[Option, ...], ...], budget: Budget, share: Share) -> None:
    found = shared([Claim(pools)], budget)
    assert found is not None
    assert found[0].counts == share.counts
    assert found[0].served == pytest.approx(share.served)


def test_minimums_beyond_a_limit_are_no_share_at_all() -> None:
    assert shared([Claim(((option(4, least=3),),))], Budget((("H200-SXM", 2),))) is None


@pytest.mark.parametrize(
    ("importances", "served"), [((1, 0), (1.0, 0.25)), ((0, 1), (0.25, 1.0))], ids=["first", "second"]
)
def test_of_two_policies_the_more_important_is_served_first(
    importances: tuple[int, int], served: tuple[float, float]
) -> None:
    claims = [Claim(((option(4),), (option(4),)), importance) for importance in importances]
    found = shared(claims, Budget((("H200-SXM", 10),)))
    assert found is not None
    assert tuple(share.served for share in found) == pytest.approx(served)


@pytest.mark.parametrize("seed", range(12))
def test_no_counts_within_the_limits_serve_more_or_cost_less(seed: int) -> None:
    pools = (
        (option(2 + seed % 3, price=1.0 + seed % 2, most=4), option(3 + seed % 4, accelerator="L40S", most=4)),
        (option(1 + seed % 5, price=2.0, most=4, requested=seed % 3),),
    )
    limit = Budget((("H200-SXM", 3 + seed % 4),), cost_per_hour=6.0 + seed % 5)
    found = shared([Claim(pools)], limit)
    assert found is not None

    def affordable(counts: tuple[int, ...]) -> bool:
        h200 = counts[0] + counts[2]
        cost = sum(n * o.variant.cost_per_replica_hour for n, o in zip(counts, (*pools[0], *pools[1]), strict=True))
        return h200 <= limit.accelerator_limits[0][1] and cost <= (limit.cost_per_hour or 0.0) + 1e-9

    def served(counts: tuple[int, ...]) -> float:
        first = counts[0] / pools[0][0].alone + counts[1] / pools[0][1].alone
        return min(1.0, first, counts[2] / pools[1][0].alone)

    def price(counts: tuple[int, ...]) -> float:
        return sum(o.cost(n) for n, o in zip(counts, (*pools[0], *pools[1]), strict=True))

    every = [counts for counts in itertools.product(range(5), repeat=3) if affordable(counts)]
    most = max(served(counts) for counts in every)
    assert found[0].served == pytest.approx(most, abs=1e-5)
    flat = (*found[0].counts[0], *found[0].counts[1])
    assert price(flat) == pytest.approx(min(price(c) for c in every if served(c) >= most - 1e-5))
