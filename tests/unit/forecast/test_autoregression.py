"""What is learned online from the last minutes."""

import numpy as np
import pytest

from autoscaler.domain.units import Instant
from autoscaler.forecast.autoregression import FEWEST, Autoregression
from autoscaler.forecast.memory import NODES, Memory
from autoscaler.performance.step import FloatArray


def told(values: FloatArray, ticks: int = 1) -> tuple[Autoregression, Memory]:
    """Return the expert after minutes of load, each seen in so many ticks."""
    expert, memory = Autoregression(), Memory()
    for index, value in enumerate(np.repeat(values, ticks).tolist()):
        if memory.add(Instant(60.0 * (index + 1) / ticks), value, 1.0) and memory.minutes.count >= expert.needs:
            expert.fit([expert], [memory])
    return expert, memory


def wave(minutes: int) -> FloatArray:
    return np.asarray(100.0 + 40.0 * np.sin(2.0 * np.pi * np.arange(minutes) / 20.0))


def test_it_is_silent_until_it_has_seen_outcomes() -> None:
    expert, memory = told(wave(15))
    assert np.isnan(expert.predict([expert], [memory])[0]).all()
    expert, memory = told(wave(10 + FEWEST + NODES[0]))
    assert not np.isnan(expert.predict([expert], [memory])[0][0])


def test_a_wave_of_twenty_minutes_is_foreseen_where_the_last_value_is_not() -> None:
    values = wave(200)
    errors = []
    for now in range(150, 190):
        expert, memory = told(values[:now])
        errors.append(
            (abs(expert.predict([expert], [memory])[0][2] - values[now + 4]), abs(values[now - 1] - values[now + 4]))
        )
    mine, last = np.mean(errors, axis=0)
    assert mine < 0.35 * last


def test_noise_is_averaged() -> None:
    values = 100.0 + 10.0 * np.random.default_rng(0).standard_normal(300)
    expert, memory = told(values)
    assert abs(expert.predict([expert], [memory])[0] - 100.0).max() < abs(values[-1] - 100.0)


def test_a_level_shift_is_not_expected_to_be_undone() -> None:
    draw = np.random.default_rng(1)
    expert, memory = told(np.concatenate([draw.poisson(600, 120), draw.poisson(3000, 2)]) / 60.0)
    assert expert.predict([expert], [memory])[0][1] == pytest.approx(50.0, rel=0.1)


def test_between_minutes_it_answers_from_the_newest_minute_of_samples() -> None:
    expert, memory = told(wave(120), ticks=4)
    before = expert.predict([expert], [memory])[0]
    memory.add(Instant(120 * 60.0 + 15.0), float(wave(121)[-1]), 1.0)
    assert abs(expert.predict([expert], [memory])[0] - before).max() < 15.0


def test_a_load_of_nothing_stays_nothing() -> None:
    expert, memory = told(np.zeros(60))
    assert (expert.predict([expert], [memory])[0] == 0.0).all()
