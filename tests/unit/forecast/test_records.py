"""How far a load may pass its highest level, by what its minutes did so far."""

import numpy as np
import pytest

from autoscaler.domain.units import Instant
from autoscaler.forecast import records
from autoscaler.forecast.minutes import Minutes
from autoscaler.performance.step import FloatArray


def of(values: FloatArray) -> Minutes:
    minutes = Minutes()
    for n, value in enumerate([*values, 0.0]):
        minutes.add(Instant(60.0 * n), Instant(60.0 * (n + 1) - 1e-3), float(value))
    return minutes


@pytest.mark.parametrize(
    ("values", "chance"),
    [
        pytest.param(np.full(16, 5.0), 0.2, id="steady for a while"),
        pytest.param(np.full(200, 5.0), 4.0 / 64.0, id="steady for hours: an hour is believed"),
        pytest.param(np.arange(1.0, 201.0), 1.0, id="a ramp: every minute is a record"),
        pytest.param(np.concatenate([np.full(60, 2.0), np.full(3, 8.0)]), 0.1, id="a jump is one record"),
        pytest.param(np.concatenate([np.full(60, 2.0), np.full(12, 8.0)]), 4.0 / 64.0, id="a jump a while ago"),
    ],
)
def test_the_chance_of_a_record(values: FloatArray, chance: float) -> None:
    assert records.chance(of(values), 1.0, 4.0) == pytest.approx(chance)


def test_a_level_above_all_minutes_is_a_record_being_set() -> None:
    steady = of(np.full(200, 5.0))
    assert records.chance(steady, 5.1, 4.0) == records.BEING_SET
    assert records.chance(steady, 5.0, 4.0) < 0.1


def test_a_wave_that_comes_back_breaks_no_record() -> None:
    wave = 25.0 - 20.0 * np.cos(2.0 * np.pi * np.arange(58) / 10.0)
    assert of(wave).records() == 0


def test_rarer_levels_lie_higher_and_none_runs_away() -> None:
    steady, rising = ([records.factor(passed, q) for q in (0.5, 0.9, 0.95, 0.99, 0.999)] for passed in (0.06, 1.0))
    assert steady == sorted(steady)
    assert steady[:2] == [1.0, 1.0]
    assert all(high >= low for low, high in zip(steady, rising, strict=True))
    assert rising[-1] == records.RUNAWAY
