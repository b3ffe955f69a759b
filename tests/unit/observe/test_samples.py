"""Histograms, slopes and moments of what readings return."""

import math

import pytest

from autoscaler.domain.units import Instant
from autoscaler.observe.samples import Histogram, Row, slope


def buckets(**upto: float) -> list[Row]:
    names = {"inf": "+Inf"}
    return [Row({"le": names.get(b[1:], b[1:].replace("_", "."))}, value, Instant(0.0)) for b, value in upto.items()]


def of(**upto: float) -> Histogram:
    found = Histogram.of(buckets(**upto))
    assert found is not None
    return found


def test_quantiles_are_interpolated_in_their_bucket() -> None:
    waits = of(b1=2.0, b2=8.0, b4=10.0, binf=10.0)
    assert waits.quantile(0.5) == pytest.approx(1.5)
    assert waits.quantile(0.9) == pytest.approx(3.0)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert of(b1=1.0, binf=10.0).quantile(0.99) == 1.0


@pytest.mark.parametrize(("limit", "share"), [(1.0, 0.2), (2.0, 0.8), (3.0, 0.8), (0.0, 0.0)], ids=str)
def test_the_share_inside_a_limit_is_exact_at_bounds(limit: float, share: float) -> None:
    """Beyond the last finite bound nothing counts as inside."""
    assert of(b1=2.0, b2=8.0, binf=10.0).share_within(limit, mean=1.2) == pytest.approx(share)


def test_bounds_mean_numbers_however_they_are_written() -> None:
    rows = [*buckets(b1=1.0, binf=2.0), Row({"le": "1.0"}, 1.0, Instant(0.0)), Row({"le": "+Inf"}, 2.0, Instant(0.0))]
    found = Histogram.of(rows)
    assert found == Histogram((1.0, math.inf), (2.0, 4.0))


def test_without_an_infinite_bucket_there_is_no_histogram() -> None:
    assert Histogram.of(buckets(b1=1.0, b2=2.0)) is None


def test_buckets_that_shrink_by_rounding_are_made_monotone() -> None:
    assert of(b1=1.0, b2=0.999999, binf=1.0).cumulative == (1.0, 1.0, 1.0)


def test_moments_keep_the_exact_mean_and_take_the_spread_from_the_buckets() -> None:
    moments = of(b100=0.0, b200=10.0, binf=10.0).moments(mean=170.0)
    assert moments.mean == 170.0
    assert moments.squared_variation == pytest.approx(1.0 / 27.0)  # even between 100 and 200: 100^2/12 over 150^2


def test_the_slope_is_of_the_sum_so_a_new_member_at_zero_adds_nothing() -> None:
    old = [Row({"pod": "a"}, 10.0 + 2.0 * t, Instant(t)) for t in (0.0, 15.0, 30.0)]
    new = [Row({"pod": "b"}, 0.0, Instant(30.0))]
    assert slope([*old, *new]) == pytest.approx(2.0)
    assert slope(old[:1]) is None


@pytest.mark.parametrize(("limit", "share"), [(1.0, 0.0), (1.5, 0.6), (3.0, 0.2), (0.5, 0.2)], ids=str)
def test_how_much_is_guessed_at_a_limit(limit: float, share: float) -> None:
    assert of(b1=2.0, b2=8.0, binf=10.0).guessed_at(limit) == pytest.approx(share)
