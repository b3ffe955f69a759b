"""A rate over samples with gaps is near the truth, or known to be missing; without gaps it is never missing."""

from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe import coverage
from autoscaler.observe.catalogue import TIMES_POINTS
from autoscaler.observe.track import Track

BEGUN, LOAD, COUNTED_BEFORE = 1000.0, 400.0, 1e6  # s, events/s, events


def times_of(interval: float, jitters: list[float]) -> list[float]:
    """Return the times of scrapes at about equal distances."""
    return [round(at, 3) for at in accumulate(interval * (1.0 + jitter) for jitter in [BEGUN / interval - 1, *jitters])]


def seen(times: list[float], at: float, window: float) -> list[float]:
    """Return those times that a back end tells: the newest at each of some points of the window, and the newest now."""
    points = [at - window * n / TIMES_POINTS for n in range(TIMES_POINTS + 1)]
    return [max(past) for point in points if (past := [time for time in times if time <= point])]


intervals = st.sampled_from([1.0, 5.0, 10.0, 15.0, 30.0])
jitters = st.lists(st.floats(-0.03, 0.03), min_size=40, max_size=40)
scrapes_per_window = st.floats(4.0, 30.0)
parts = st.floats(0.0, 1.0)


@given(intervals, jitters, scrapes_per_window, parts, parts, parts)
def test_behind_and_beside_a_gap_a_rate_is_near_the_truth_or_missing(
    interval: float, jitter: list[float], scrapes: float, begin: float, length: float, look: float
) -> None:
    window, times = interval * scrapes, times_of(interval, jitter)
    span = times[-1] - BEGUN
    gone = (BEGUN + begin * span, BEGUN + begin * span + length * 2.0 * window)
    left = [time for time in times if not gone[0] <= time <= gone[1]]
    at = BEGUN + window + look * (span + window)
    track = Track()
    for time in left:
        track.append(Instant(time), COUNTED_BEFORE + LOAD * time)
    rate = track.rate(Instant(at), Seconds(window))
    found = coverage.covered(seen(left, at, window), Instant(at), Seconds(window))
    if coverage.gap({"target": found}, Instant(at), Seconds(window)) is None:
        assert rate is not None
        # what cannot be told: where inside a twentieth of the window its first sample lies
        assert rate >= (coverage.ENOUGH - 1.0 / TIMES_POINTS) * LOAD
        assert rate <= LOAD * (1.0 + 1e-6)


@given(intervals, jitters, scrapes_per_window, parts)
def test_without_a_gap_nothing_is_missing(interval: float, jitter: list[float], scrapes: float, look: float) -> None:
    window, times = interval * scrapes, times_of(interval, jitter)
    assume(times[-1] - BEGUN > window)
    at = BEGUN + window + look * (times[-1] - BEGUN - window)
    found = coverage.covered(seen(times, at, window), Instant(at), Seconds(window))
    assert coverage.gap({"target": found}, Instant(at), Seconds(window)) is None


@pytest.mark.parametrize("silent", [5.0, 10.0, 30.0])
def test_when_scrapes_stop_the_decaying_rate_is_not_read(silent: float) -> None:
    """A scrape each second, a window of 10 s: Prometheus would say 210 after 5 s, nothing after 10 s."""
    times = [BEGUN + n for n in range(60)]
    at, window = Instant(times[-1] + silent), Seconds(10.0)
    found = coverage.gap({"target": coverage.covered(times, at, window)}, at, window)
    assert found is not None
    assert found.reason == "stale"
    assert found.since == (times[-1] if silent <= window else at - window)
