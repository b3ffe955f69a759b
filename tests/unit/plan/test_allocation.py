"""Which variants to run: mixes, switches, bridges over slow starts, replicas that do not come."""

import functools
import itertools

import pytest

from autoscaler.domain.units import Seconds
from autoscaler.plan import allocation
from autoscaler.plan.allocation import OVERDUE, Option
from tests.planning import option

SLOW = Seconds(300.0)


cheap = functools.partial(option, name="cheap")
dear = functools.partial(option, name="dear", price=4.0)


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        pytest.param([], (), id="no variant"),
        pytest.param([cheap(3)], (3,), id="one variant: what it needs alone"),
        pytest.param([cheap(0)], (0,), id="no load, no minimum"),
        pytest.param([option(0, name="v", price=1.0, least=2)], (2,), id="no load: the minimum"),
        pytest.param([option(9, name="v", price=1.0, most=4)], (4,), id="the maximum where nothing is enough"),
        pytest.param([cheap(6), dear(3)], (6, 0), id="six at 1 are cheaper than three at 4"),
        pytest.param([cheap(9), dear(2)], (0, 2), id="two at 4 are cheaper than nine at 1"),
        pytest.param([option(6, name="v", price=1.0, most=3), dear(3)], (2, 2), id="the dear one fills up"),
        pytest.param([cheap(6), option(3, name="d", price=4.0, least=1)], (4, 1), id="a minimum is counted"),
        pytest.param(
            [option(6, name="a", price=1.0, most=2), option(3, name="b", price=4.0, most=1)], (2, 1), id="both full"
        ),
    ],
)
def test_the_cheapest_mix(options: list[Option], counts: tuple[int, ...]) -> None:
    assert allocation.cheapest(options) == counts


@pytest.mark.parametrize(
    ("price", "counts"),
    [pytest.param(0.9, (0, 4), id="not for ten per cent"), pytest.param(0.5, (4, 0), id="for half the price")],
)
def test_a_switch_pays_for_its_starts(price: float, counts: tuple[int, ...]) -> None:
    running = option(4, 4, name="running", price=1.0, start=SLOW)
    assert allocation.cheapest([option(4, 0, name="other", price=price, start=SLOW), running])[0] == counts[0]


@pytest.mark.parametrize(
    ("lasts", "counts"),
    [
        pytest.param(0.0, (4, 0), id="what would be gone at once gives way to what is cheaper by more than a start"),
        pytest.param(300.0, (0, 4), id="what would be paid for five more minutes stays"),
        pytest.param(60.0, (4, 0), id="the less so, the sooner it would be gone"),
    ],
)
def test_what_runs_gives_way_only_to_what_is_cheaper_by_more_than_its_leaving_costs(
    lasts: float, counts: tuple[int, ...]
) -> None:
    running = option(4, 4, name="running", price=1.0, lasting=(Seconds(lasts),) * 4)
    assert allocation.cheapest([option(4, 0, name="other", price=0.8), running]) == counts


def test_a_mix_that_was_left_a_moment_ago_is_not_gone_back_to() -> None:
    """What leaves is nearly paid for, what came is not: the same prices that brought the change make it last."""
    gone = (Seconds(30.0),) * 3
    came = (Seconds(285.0),)
    before = [cheap(3, 2, least=1), dear(1, price=1.9)]
    after = [cheap(3, 3, least=1, lasting=gone), dear(1, 1, price=1.9, lasting=came)]
    assert allocation.cheapest(before) == (1, 1)
    assert allocation.cheapest(after) == (1, 1)


def test_leaving_counts_replica_by_replica_and_no_more_than_a_whole_hour_does() -> None:
    lasting = (Seconds(9000.0), Seconds(450.0), Seconds(0.0))
    some = cheap(3, 3, lasting=lasting)
    assert [some.cost(n) for n in range(4)] == pytest.approx([1.5, 1.5, 2.0, 3.0])
    assert some.cost(2, stay=Seconds(90.0)) == pytest.approx(2.1)
    assert allocation.cheapest([cheap(0, 3, lasting=lasting)]) == (0,)


def test_a_fast_dear_variant_bridges_the_start_of_a_slow_cheap_one_and_goes() -> None:
    waiting = (0.0, 0.0, 200.0, 200.0, 200.0, 200.0)
    came = (0.0,) * 6
    begin = [cheap(6, 2, start=SLOW), dear(3, 0)]
    between = [cheap(6, 6, start=SLOW, arrivals=waiting), dear(3, 2)]
    end = [cheap(6, 6, start=SLOW, arrivals=came), dear(3, 2)]
    assert [allocation.cheapest(options) for options in (begin, between, end)] == [(6, 2), (6, 2), (6, 0)]


@pytest.mark.parametrize(
    ("lead", "bridge"),
    [
        pytest.param(300.0, 0, id="no variant is faster"),
        pytest.param(240.0, 0, id="faster by no more than one decision has to do"),
        pytest.param(239.0, 2, id="faster by more"),
    ],
)
def test_without_a_faster_variant_there_is_no_bridge(lead: float, bridge: int) -> None:
    assert allocation.cheapest([cheap(6, 2, start=SLOW), dear(3, start=Seconds(lead))]) == (6, bridge)


def test_no_bridge_to_what_is_about_to_come() -> None:
    nearly = cheap(6, 6, start=SLOW, arrivals=(0.0, 0.0, *[119.0] * 4))
    assert allocation.cheapest([nearly, dear(3, 0)]) == (6, 0)


@pytest.mark.parametrize(
    ("alone", "arrivals", "counts"),
    [
        pytest.param(6, (0.0, 0.0, *[OVERDUE] * 4), (6, 2), id="others stand in for four of six; the order stands"),
        pytest.param(6, (OVERDUE,) * 6, (6, 3), id="others do it all"),
        pytest.param(6, (0.0,) * 6, (6, 0), id="they came: given back"),
        pytest.param(2, (0.0, 0.0, *[OVERDUE] * 4), (2, 0), id="no longer wanted: withdrawn"),
    ],
)
def test_overdue_replicas_spill_to_the_next_variant(
    alone: int, arrivals: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    others = dear(-(-alone // 2))
    assert allocation.cheapest([cheap(alone, 6, arrivals=arrivals), others]) == counts


def test_alone_an_overdue_variant_is_asked_for_what_load_needs() -> None:
    stuck = (0.0, OVERDUE, OVERDUE)
    assert allocation.cheapest([cheap(5, 3, arrivals=stuck)]) == (5,)
    assert allocation.cheapest([cheap(2, 3, arrivals=stuck)]) == (2,)


@pytest.mark.parametrize("seed", range(40))
def test_no_mix_within_bounds_that_is_enough_costs_less(seed: int) -> None:
    alone = [1 + seed % 7, 1 + seed % 5, 1 + seed % 3]
    prices = [1.0, 1.0 + seed % 4, 1.5 + seed % 6]
    options = [
        option(
            alone[n],
            (seed // 3) % 4,
            name=f"v{n}",
            price=prices[n],
            least=seed % 2,
            most=4 + n,
            lasting=(Seconds(60.0 * (seed % 6)),) * ((seed // 3) % 4),
        )
        for n in range(3)
    ]
    best = allocation.cheapest(options)
    every = itertools.product(*(range(o.variant.min_replicas, o.variant.max_replicas + 1) for o in options))
    enough = [counts for counts in every if sum(n / a for n, a in zip(counts, alone, strict=True)) >= 1 - 1e-9]

    def cost(counts: tuple[int, ...]) -> float:
        return sum(o.cost(n) for o, n in zip(options, counts, strict=True))

    assert cost(best) == pytest.approx(min(cost(counts) for counts in enough))
