"""Laws of spread: others stand ready for whichever variant fails; nobody is served less, and nothing is given away."""

import itertools
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from autoscaler.domain.policy import Budget
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Seconds
from autoscaler.plan import allocation, program
from autoscaler.plan.allocation import OVERDUE, Option
from autoscaler.plan.program import Claim
from tests import planning

START = Seconds(60.0)
ROUNDING = 1e-6
quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def roles(draw: st.DrawFn, *, losses: int = 0, overdue: bool = False) -> list[Option]:
    """Draw the options of a role that is to be spread."""
    spread, lost = draw(st.integers(1, 50)) / 100, draw(st.integers(0, losses))

    def option(name: str) -> Option:
        least = draw(st.integers(0, 2))
        most = draw(st.integers(max(1, least), 7))
        price = float(draw(st.integers(1, 6)))
        variant = planning.variant(Role.DECODE, name=name, least=least, most=most, price=price)
        requested = draw(st.integers(0, 4))
        arrivals = draw(st.lists(st.sampled_from([0.0, OVERDUE]), min_size=requested, max_size=requested))
        alone = draw(st.integers(1, 6))
        coming = tuple(arrivals) if overdue else None
        return Option(variant, alone, requested, START, START, coming, lost, spread)

    return [option(f"v{n}") for n in range(draw(st.integers(2, 3)))]


def unspread(options: list[Option]) -> list[Option]:
    return [replace(option, spread=0.0) for option in options]


def done(options: list[Option], counts: tuple[int, ...]) -> float:
    return min(1.0, sum(o.share(n, START) for o, n in zip(options, counts, strict=True)))


def cost(options: list[Option], counts: tuple[int, ...]) -> float:
    return sum(o.cost(n) for o, n in zip(options, counts, strict=True))


def stands(options: list[Option], counts: tuple[int, ...]) -> bool:
    """Tell by trying each failure whether the others do what is asked, or all that their maxima allow."""
    if any(o.share(1, START) >= 1.0 and not o.losses for o in options):
        return True  # one replica is enough, and cannot be divided
    for failed, option in enumerate(options):
        others = [(o, n) for place, (o, n) in enumerate(zip(options, counts, strict=True)) if place != failed]
        left = sum(o.share(n, START) for o, n in others)
        room = sum(o.share(o.variant.max_replicas, START) for o, _ in others)
        if left < min(option.spread, room) - ROUNDING:
            return False
    return True


def survives(options: list[Option], counts: tuple[int, ...]) -> bool:
    """Tell by trying each loss whether the rest is enough."""
    losses = min(options[0].losses, sum(counts))
    ways = itertools.product(*(range(min(losses, n) + 1) for n in counts))
    left = (
        done(options, tuple(n - gone for n, gone in zip(counts, lost, strict=True)))
        for lost in ways
        if sum(lost) == losses
    )
    return min(left) >= 1.0 - ROUNDING


@quick
@given(options=roles(losses=2))
def test_the_cheapest_counts_that_stand_are_found(options: list[Option]) -> None:
    counts = allocation.cheapest(options)
    every = itertools.product(*(range(o.variant.min_replicas, o.variant.max_replicas + 1) for o in options))
    enough = [found for found in every if survives(options, found) and stands(options, found)]
    if enough:
        assert stands(options, counts)
        assert survives(options, counts)
        assert cost(options, counts) <= min(cost(options, found) for found in enough) + ROUNDING
    else:
        assert counts == tuple(option.variant.max_replicas for option in options)


@quick
@given(options=roles(losses=1, overdue=True))
def test_spread_never_serves_less(options: list[Option]) -> None:
    counts, plain = allocation.cheapest(options), allocation.cheapest(unspread(options))
    assert done(options, counts) >= done(options, plain) - ROUNDING
    assert done(options, counts) < 1.0 - ROUNDING or stands(options, counts)


@quick
@given(options=roles(losses=2))
def test_spread_is_never_cheaper(options: list[Option]) -> None:
    assert (
        cost(options, allocation.cheapest(options)) >= cost(options, allocation.cheapest(unspread(options))) - ROUNDING
    )


@quick
@given(options=roles())
def test_the_program_finds_what_the_search_finds(options: list[Option]) -> None:
    most = tuple(option.variant.max_replicas for option in options)
    assume(done(options, most) >= 1.0 - ROUNDING)
    shares = program.shared([Claim((tuple(options),))], Budget())
    assert shares is not None
    (counts,) = shares[0].counts
    assert stands(options, counts)
    assert done(options, counts) >= 1.0 - ROUNDING
    assert abs(cost(options, counts) - cost(options, allocation.cheapest(options))) <= ROUNDING


@quick
@given(options=roles(losses=1, overdue=True), limit=st.integers(0, 14), cost_limit=st.integers(1, 40))
def test_under_a_budget_spread_yields_before_service(options: list[Option], limit: int, cost_limit: int) -> None:
    budget = Budget((("H200-SXM", limit),), float(cost_limit))
    spread, plain = (program.shared([Claim((tuple(way),))], budget) for way in (options, unspread(options)))
    assert (spread is None) == (plain is None)
    if spread is not None and plain is not None:
        assert spread[0].served >= plain[0].served - 2 * program.SLACK
