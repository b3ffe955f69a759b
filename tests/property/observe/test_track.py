"""Rates over counters with resets agree with a slow reading of PromQL's definition."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.track import Track

gaps = st.floats(0.5, 60.0).map(lambda gap: round(gap, 3))
values = st.floats(0.0, 1e6)
series = st.lists(st.tuples(gaps, values), min_size=1, max_size=30)


def slow_rate(samples: list[tuple[float, float]], at: float, window: float) -> float | None:
    """Return PromQL's rate, step by step (Prometheus 2.x, extrapolatedRate)."""
    inside = [(t, v) for t, v in samples if at - window <= t <= at]
    if len(inside) < 2:
        return None
    increase = inside[-1][1] - inside[0][1]
    for (_, before), (_, now) in pairwise(inside):
        if now < before:
            increase += before
    first, last = inside[0], inside[-1]
    to_start, to_end = first[0] - (at - window), at - last[0]
    sampled = last[0] - first[0]
    typical = sampled / (len(inside) - 1)
    if increase > 0 and first[1] >= 0:
        to_start = min(to_start, sampled * (first[1] / increase))
    covered = sampled
    covered += to_start if to_start < typical * 1.1 else typical / 2
    covered += to_end if to_end < typical * 1.1 else typical / 2
    return increase * (covered / sampled) / window


def filled(points: list[tuple[float, float]]) -> tuple[Track, list[tuple[float, float]]]:
    track, samples, at = Track(), [], 1000.0
    for gap, value in points:
        at = round(at + gap, 3)
        track.append(Instant(at), value)
        samples.append((at, value))
    return track, samples


@given(series, st.floats(1.0, 600.0), st.floats(0.0, 400.0))
def test_rate_with_resets_agrees_with_the_definition(
    points: list[tuple[float, float]], window: float, later: float
) -> None:
    track, samples = filled(points)
    at = 1000.0 + later
    expected = slow_rate(samples, at, window)
    found = track.rate(Instant(at), Seconds(window))
    assert (found is None) is (expected is None)
    if found is not None:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-7)
        assert found >= 0.0


@given(series, st.floats(0.0, 2000.0))
def test_forgetting_changes_nothing_that_is_still_read(points: list[tuple[float, float]], later: float) -> None:
    track, _ = filled(points)
    at, window = Instant(1000.0 + later), Seconds(300.0)
    before = (track.last(at), track.peak(at, window), track.average(at, window), track.rate(at, window))
    track.forget(Instant(at - 300.0))
    after = (track.last(at), track.peak(at, window), track.average(at, window), track.rate(at, window))
    assert after == before


@given(series)
def test_a_series_that_ended_has_no_value_until_it_comes_back(points: list[tuple[float, float]]) -> None:
    track, samples = filled(points)
    last = samples[-1][0]
    track.end(Instant(last + 1.0))
    assert track.last(Instant(last + 0.5)) == (last, samples[-1][1])
    assert track.last(Instant(last + 2.0)) is None
    track.append(Instant(last + 3.0), 7.0)
    assert track.last(Instant(last + 3.0)) == pytest.approx((last + 3.0, 7.0))


@given(st.lists(st.one_of(values, st.just(math.nan)), min_size=1, max_size=10))
def test_a_peak_ignores_what_is_no_number_unless_nothing_else_is_there(found: list[float]) -> None:
    track, _ = filled([(1.0, value) for value in found])
    peak = track.peak(Instant(1100.0), Seconds(200.0))
    numbers = [value for value in found if not math.isnan(value)]
    assert peak is not None
    assert (peak == max(numbers)) if numbers else math.isnan(peak)
