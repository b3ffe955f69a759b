"""Ticks become minutes; gaps stay gaps."""

import math

import numpy as np
import pytest

from autoscaler.domain.units import Instant
from autoscaler.forecast.minutes import DAYS_KEPT, KEPT, MINUTES_PER_DAY, Minutes


def filled(tick: float, *rates: float) -> Minutes:
    minutes = Minutes()
    for i, rate in enumerate(rates):
        minutes.add(Instant(i * tick), Instant((i + 1) * tick), rate)
    return minutes


@pytest.mark.parametrize(
    ("tick", "rates", "want"),
    [
        pytest.param(60.0, (1.0, 2.0), [1.0, 2.0], id="ticks of a minute"),
        pytest.param(15.0, (1.0, 2.0, 3.0, 4.0, 9.0), [2.5], id="quarters are averaged, the open minute waits"),
        pytest.param(40.0, (3.0, 6.0, 9.0), [4.0, 8.0], id="a tick over the edge counts on both sides"),
    ],
)
def test_means(tick: float, rates: tuple[float, ...], want: list[float]) -> None:
    assert filled(tick, *rates).values.tolist() == pytest.approx(want)


def test_a_minute_less_than_half_seen_is_a_gap_that_is_bridged() -> None:
    minutes = filled(60.0, 5.0)
    minutes.add(Instant(60.0), Instant(300.0), 8.0)  # four minutes; a sample speaks for 90 s
    assert minutes.values.tolist()[:1] == [5.0]
    assert [math.isnan(value) for value in minutes.values.tolist()[1:]] == [True, True, False, False]
    assert minutes.whole.tolist() == [5.0, 5.0, 5.0, 8.0, 8.0]


def test_forgetting_makes_a_gap() -> None:
    minutes = filled(60.0, 5.0, 0.0, 0.0, 6.0)
    minutes.forget(1, 3)
    assert np.isnan(minutes.values[1:3]).all()
    assert minutes.whole.tolist() == [5.0, 5.0, 5.0, 6.0]


def test_the_oldest_day_is_dropped_in_the_end() -> None:
    minutes = filled(60.0, *map(float, range(KEPT + 1)))
    assert minutes.count == DAYS_KEPT * MINUTES_PER_DAY + 1
    assert minutes.first == MINUTES_PER_DAY
    assert minutes.values[[0, -1]].tolist() == [float(MINUTES_PER_DAY), float(KEPT)]


def test_what_is_older_than_a_day_is_kept_to_three_digits_with_its_gaps() -> None:
    rates = np.random.default_rng(0).gamma(2.0, 500.0, 3 * MINUTES_PER_DAY)
    rates[100:103], rates[200] = (0.0, 1e9, 0.0), 0.001
    minutes = filled(60.0, *rates[:50].tolist())
    minutes.forget(10, 12)
    for i, rate in enumerate(rates[50:].tolist(), start=50):
        minutes.add(Instant(60.0 * i), Instant(60.0 * (i + 1)), rate)
    seen = minutes.values
    assert np.flatnonzero(np.isnan(seen)).tolist() == [10, 11]
    assert minutes.whole[10:12] == pytest.approx(rates[[9, 9]], rel=5e-4)
    assert seen[100] == seen[102] == 0.0
    assert seen[101] > 6e7  # held at the largest that can be told
    assert seen[200] == pytest.approx(0.001, abs=3e-5)
    assert seen[201:] == pytest.approx(rates[201:], rel=5e-4)
    assert seen[-MINUTES_PER_DAY:] == pytest.approx(rates[-MINUTES_PER_DAY:], rel=1e-7)
    assert (minutes.newest(2 * MINUTES_PER_DAY) == minutes.whole[-2 * MINUTES_PER_DAY :]).all()
    assert minutes.at(minutes.end - 1) == seen[-1]
