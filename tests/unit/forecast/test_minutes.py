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
