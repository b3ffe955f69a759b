"""For how long damping keeps what is no longer recommended: what leaving costs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.domain.policy import Behavior, ScalingRules
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import behavior
from autoscaler.plan.behavior import Entry, Memory

NOW = Instant(1000.0)
RULES = Behavior(ScalingRules(Seconds(0.0)), ScalingRules(Seconds(300.0)))


def memory(*entries: tuple[float, int]) -> Memory:
    """Return what was recommended so many seconds ago."""
    return Memory(tuple(Entry(Instant(NOW - ago), replicas) for ago, replicas in entries))


@pytest.mark.parametrize(
    ("past", "current", "seconds"),
    [
        pytest.param(memory((15.0, 3)), 3, (285.0,) * 3, id="all wanted until now"),
        pytest.param(memory((200.0, 3), (15.0, 1)), 3, (285.0, 100.0, 100.0), id="two of three for 200 s no more"),
        pytest.param(memory((400.0, 3), (15.0, 1)), 3, (285.0, 0.0, 0.0), id="longer than the window: they go now"),
        pytest.param(memory((15.0, 9)), 2, (285.0,) * 2, id="more than there is"),
        pytest.param(memory(), 2, (0.0, 0.0), id="nothing is remembered"),
        pytest.param(memory((15.0, 3)), 0, (), id="nothing is there"),
    ],
)
def test_the_window_keeps_what_it_has_seen_recommended(past: Memory, current: int, seconds: tuple[float, ...]) -> None:
    assert behavior.lasting(current, RULES, past, NOW) == seconds


@given(
    ages=st.lists(st.floats(0.0, 600.0), max_size=12).map(lambda ages: sorted(ages, reverse=True)),
    counts=st.lists(st.integers(0, 9), min_size=12, max_size=12),
    current=st.integers(0, 9),
    later=st.floats(0.0, 600.0),
)
def test_it_foretells_what_stabilization_does(ages: list[float], counts: list[int], current: int, later: float) -> None:
    """With no replica recommended from now on, as many stay ``later`` as last longer than that."""
    past = memory(*zip(ages, counts, strict=False))
    lasting = behavior.lasting(current, RULES, past, NOW)
    kept = behavior.stabilized(0, current, RULES, past, Instant(NOW + later))
    assert [*lasting] == sorted(lasting, reverse=True)
    assert abs(kept - sum(1 for seconds in lasting if seconds > later)) <= sum(
        1 for seconds in lasting if abs(seconds - later) < 1e-6
    )


@given(
    steps=st.lists(st.tuples(st.floats(0.1, 200.0), st.integers(0, 3)), min_size=1, max_size=20),
    current=st.integers(0, 4),
    now=st.integers(0, 4),
    later=st.floats(0.0, 400.0),
)
def test_only_the_newest_of_equal_recommendations_is_kept_and_nothing_is_lost(
    steps: list[tuple[float, int]], current: int, now: int, later: float
) -> None:
    both = Behavior(ScalingRules(Seconds(120.0)), ScalingRules(Seconds(300.0)))
    at, kept, every = NOW, Memory(), []
    for seconds, replicas in steps:
        at = Instant(at + seconds)
        kept = kept.recommended(at, replicas, both)
        every.append(Entry(at, replicas))
    counts = [entry.replicas for entry in kept.recommendations]
    assert all(first != second for first, second in itertools.pairwise(counts))
    at = Instant(at + later)
    assert behavior.stabilized(now, current, both, kept, at) == behavior.stabilized(
        now, current, both, Memory(tuple(every)), at
    )
    assert behavior.lasting(current, both, kept, at) == behavior.lasting(current, both, Memory(tuple(every)), at)
