"""The adversary: loads within their limits and the same for the same seed; the opposite forecast is a mirror."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.domain.demand import Quantiles
from benchmarks import _opposite, adversary
from benchmarks.adversary import Tried
from benchmarks.board import patterns
from benchmarks.board.patterns import Pattern

SHORT = Pattern((0.5, 1.0, 0.2, 0.5, 0.1, 0.3), (0.0, 1.0, 0.5, 0.0, 0.0, 1.0), (1, 1, 1, 1, 1, 1), 1.0, 3)


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 6))
@settings(max_examples=50, deadline=None)
def test_patterns_stay_within_their_limits(seed: int, steps: int) -> None:
    random = np.random.default_rng(seed)
    pattern = Pattern.random(random)
    for _ in range(steps):
        pattern = pattern.mutated(random)
    assert len(pattern.work) == len(pattern.reasoning) == len(pattern.minutes) == patterns.STAGES
    assert all(patterns.LEAST <= work <= patterns.MOST for work in pattern.work)
    assert all(0 <= share <= 1 for share in pattern.reasoning)
    assert all(patterns.SHORTEST_MIN <= m <= patterns.LONGEST_MIN for m in pattern.minutes)


def test_a_pattern_is_a_scenario_and_always_the_same_one() -> None:
    first, again = SHORT.scene(), SHORT.scene()
    assert np.array_equal(first.trace.arrival_s, again.trace.arrival_s)
    assert set(first.trace.profiles) == {"rag", "reasoning"}
    assert first.horizon <= 6 * 60
    assert min(first.initial.values()) >= 1


def test_an_attempt_says_what_aims_need() -> None:
    tried = adversary.attempt(SHORT)
    assert tried == adversary.attempt(SHORT)
    assert tried.bound is not None
    assert adversary.over_bound(tried) == (tried.cost / tried.bound if tried.kept else 0.0)


@pytest.mark.parametrize(
    ("tried", "misses", "over_bound", "over_hpa"),
    [
        pytest.param(Tried(SHORT, 0.995, kept=True, cost=6.0, bound=3.0, hpa=4.0, rival=1.0), 0.0, 2.0, 1.5, id="kept"),
        pytest.param(
            Tried(SHORT, 0.9, kept=False, cost=6.0, bound=3.0, hpa=None, rival=0.97), 0.07, 0.0, 0.0, id="missed"
        ),
        pytest.param(
            Tried(SHORT, 0.9, kept=False, cost=6.0, bound=None, hpa=3.0, rival=1.0), 0.0, 0.0, 2.0, id="nobody could"
        ),
    ],
)
def test_aims(tried: Tried, misses: float, over_bound: float, over_hpa: float) -> None:
    assert adversary.misses(tried) == pytest.approx(misses)
    assert adversary.over_bound(tried) == over_bound
    assert adversary.over_hpa(tried) == over_hpa


levels = st.lists(st.floats(0.2, 5.0), min_size=3, max_size=3).map(sorted)


@given(levels=levels, now=st.floats(0.5, 2.0))
@settings(deadline=None)
def test_the_opposite_of_the_opposite_is_the_forecast(levels: list[float], now: float) -> None:
    told = Quantiles((0.1, 0.5, 0.9), tuple(levels))
    turned = _opposite.mirrored(told, now)
    assert list(turned.levels) == sorted(turned.levels)
    assert turned.at(0.5) * told.at(0.5) == pytest.approx(now * now)
    assert _opposite.mirrored(turned, now).levels == pytest.approx(levels)
