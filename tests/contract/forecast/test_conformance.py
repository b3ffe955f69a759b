"""One suite that every forecaster passes, the naive ones included."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from autoscaler.forecast.forecaster import EXPERTS, MIXTURE, Forecaster, MinuteForecaster
from autoscaler.performance.step import FloatArray

DAYS = 5
HORIZONS = (1, 5, 15)
QUANTILES = (0.5, 0.9, 0.95, 0.99)
NAMES = (MIXTURE, *EXPERTS)


def noisy(days: float = DAYS, seed: int = 0) -> FloatArray:
    """Return minutes with a daily wave and gamma noise."""
    minute = np.arange(int(days * 1440))
    wave = 20.0 + 10.0 * np.sin(2.0 * np.pi * minute / 1440.0)
    return np.asarray(wave * np.random.default_rng(seed).gamma(25.0, 1.0 / 25.0, len(minute)))


def fitted(name: str, values: FloatArray, grain: float = 1.0) -> MinuteForecaster:
    forecaster = MinuteForecaster(name, grain=grain)
    forecaster.fit(values)
    return forecaster


@pytest.fixture(scope="module")
def trained() -> Callable[[str], MinuteForecaster]:
    """Return forecasters fitted on the same five days, each fitted once."""
    cache: dict[str, MinuteForecaster] = {}

    def of(name: str) -> MinuteForecaster:
        if name not in cache:
            cache[name] = fitted(name, noisy())
        return cache[name]

    return of


every = pytest.mark.parametrize("name", NAMES)
Trained = Callable[[str], MinuteForecaster]


@every
def test_quantiles_rise_and_are_loads(name: str, trained: Trained) -> None:
    predicted = trained(name).predict(HORIZONS, QUANTILES)
    assert predicted.shape == (3, 4)
    assert np.isfinite(predicted).all()
    assert (predicted >= 0.0).all()
    assert (np.diff(predicted, axis=1) >= 0.0).all()


@every
def test_fits_the_protocol(name: str) -> None:
    forecaster: Forecaster = MinuteForecaster(name)
    forecaster.fit(np.array([4.0, 5.0]))
    forecaster.update(6.0)
    assert forecaster.predict((1,), (0.5,)).shape == (1, 1)


@pytest.mark.slow
@every
def test_a_load_twice_as_large_is_forecast_twice_as_large(name: str, trained: Trained) -> None:
    double = fitted(name, 2.0 * noisy(), grain=2.0)
    assert double.predict(HORIZONS, QUANTILES) == pytest.approx(
        2.0 * trained(name).predict(HORIZONS, QUANTILES), rel=1e-3
    )


@every
def test_the_future_changes_nothing_said_before_it(name: str) -> None:
    past, one, other = noisy(0.2), noisy(0.1, seed=1), 5.0 * noisy(0.1, seed=2)
    said = []
    for future in (one, other):
        forecaster = fitted(name, past)
        said.append(forecaster.predict(HORIZONS, QUANTILES))
        for value in future[:30].tolist():
            forecaster.update(value)
    assert (said[0] == said[1]).all()


@every
def test_a_past_given_at_once_or_by_and_by_says_the_same(name: str) -> None:
    values = noisy(0.3)
    stepwise = MinuteForecaster(name)
    for value in values.tolist():
        stepwise.update(value)
    assert (stepwise.predict(HORIZONS, QUANTILES) == fitted(name, values).predict(HORIZONS, QUANTILES)).all()


@every
def test_gaps_are_bridged_and_never_read_as_zero(name: str) -> None:
    values = np.full(400, 10.0)
    values[100:130] = np.nan
    values[-7:] = np.nan
    predicted = fitted(name, values).predict(HORIZONS, (0.5,))
    assert predicted == pytest.approx(np.full((3, 1), 10.0), rel=0.05)


@every
def test_a_constant_load_stays_and_its_band_narrows(name: str) -> None:
    predicted = fitted(name, np.full(600, 7.0)).predict(HORIZONS, (0.5, 0.9))
    assert predicted[:, 0] == pytest.approx(np.full(3, 7.0), rel=0.02)
    assert (predicted[:, 1] < 7.0 * 1.25).all()


@every
def test_no_load_is_forecast_as_hardly_any(name: str) -> None:
    predicted = fitted(name, np.zeros(600)).predict(HORIZONS, QUANTILES)
    assert (predicted[:, 0] == 0.0).all()
    assert (predicted < 0.1).all()


@every
def test_one_sample_is_enough_to_speak(name: str) -> None:
    predicted = fitted(name, np.array([12.0])).predict(HORIZONS, (0.5, 0.9))
    assert predicted[:, 0] == pytest.approx(np.full(3, 12.0))
    assert (predicted[:, 1] > 12.0).all()


@every
def test_a_level_shift_is_covered_within_three_minutes(name: str) -> None:
    forecaster = fitted(name, noisy(0.2))
    level = 3.0 * float(noisy(0.2)[-30:].mean())
    for _ in range(3):
        forecaster.update(level)
    assert (forecaster.predict((1, 5), (0.9,)) >= 0.99 * level).all()


@every
def test_a_clock_gap_of_hours_does_no_harm(name: str) -> None:
    values = np.concatenate([np.full(300, 10.0), np.full(360, np.nan), np.full(3, 30.0)])
    predicted = fitted(name, values).predict(HORIZONS, (0.5, 0.9))
    assert (predicted[:, 0] > 15.0).all()
    assert (predicted[:, 1] >= 30.0 * 0.95).all()


@every
def test_an_update_with_its_forecast_costs_milliseconds_at_most(name: str, trained: Trained) -> None:
    forecaster = trained(name)
    values = noisy(0.1, seed=3).tolist()
    start = time.process_time()
    for value in values:
        forecaster.update(value)
        forecaster.predict(HORIZONS, QUANTILES)
    assert (time.process_time() - start) / len(values) < 0.005  # 0.5 ms on an idle core; machines differ


def test_quantiles_below_the_median_are_refused() -> None:
    with pytest.raises(ValueError, match=r"quantiles \(0.1,\)"):
        fitted(MIXTURE, np.array([1.0])).predict((1,), (0.1,))


def test_an_unknown_forecaster_is_refused() -> None:
    with pytest.raises(KeyError, match="prophet"):
        MinuteForecaster("prophet")
