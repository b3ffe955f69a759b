"""Shares inside a limit, read from buckets that the limit divides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.performance.buckets import share_within

BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1)  # of the endpoint picker, seconds


def counted(samples: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """Return the observations in each bucket, the one without an upper bound last."""
    places = np.searchsorted(BOUNDS, samples)
    return [float(count) for count in np.bincount(places, minlength=len(BOUNDS) + 1)]


@pytest.mark.parametrize("scatter", [0.05, 0.15, 0.3, 0.6])
@pytest.mark.parametrize("typical", [0.022, 0.028, 0.034, 0.045])
def test_what_lies_near_its_mean_is_not_spread_over_its_bucket(scatter: float, typical: float) -> None:
    gaps = typical * np.exp(scatter * np.random.default_rng(1).standard_normal(4000))
    found = share_within(BOUNDS, counted(gaps), float(gaps.mean()), 0.035)
    assert found == pytest.approx(float((gaps <= 0.035).mean()), abs=0.07)


@pytest.mark.parametrize("typical", [0.022, 0.024])
def test_a_limit_well_above_what_is_seen_is_not_read_as_broken(typical: float) -> None:
    """Evenly spread, a quarter of the bucket from 20 to 40 ms would lie above 35 ms."""
    gaps = typical * np.exp(0.1 * np.random.default_rng(2).standard_normal(4000))
    assert share_within(BOUNDS, counted(gaps), float(gaps.mean()), 0.035) > 0.998


def test_two_kinds_of_requests_are_told_apart_by_the_bounds_between_them() -> None:
    counts = [0.0, 0.0, 0.0, 500.0, 0.0, 0.0, 500.0, 0.0, 0.0]
    assert share_within(BOUNDS, counts, 0.045, 0.05) == 0.5


@given(
    counts=st.lists(st.floats(0.0, 1e6), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1).filter(
        lambda c: sum(c) > 0
    ),
    mean=st.floats(0.0, 10.0),
    limits=st.tuples(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0)),
)
def test_more_is_inside_a_longer_limit_and_bounds_are_exact(
    counts: list[float], mean: float, limits: tuple[float, float]
) -> None:
    low, high = (share_within(BOUNDS, counts, mean, limit) for limit in sorted(limits))
    assert 0.0 <= low <= high + 1e-9
    assert high <= 1.0 + 1e-9
    assert share_within(BOUNDS, counts, mean, 0.02) == pytest.approx(sum(counts[:4]) / sum(counts))
