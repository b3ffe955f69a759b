"""What forecasts cost, and how fast they follow a level shift: figures that need no trace."""

import copy
import pickle
import statistics
import time

import numpy as np

from autoscaler.domain.observation import Moments, ProfileLoad
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.conformal import PROBABILITIES
from autoscaler.forecast.room import LoadForecaster
from autoscaler.forecast.series import SeriesForecaster, ask, turn
from autoscaler.performance.step import FloatArray

ABSENT = Missing(GapReason.ABSENT, Instant(0.0))
P90 = PROBABILITIES.index(0.9)
HORIZON, HOLD = Seconds(120.0), Seconds(60.0)
PER_DAY_S = 86400.0


def a_day(tick: float, seed: int = 0, days: float = 1.0) -> FloatArray:
    """Return a load by tick: a daily wave around 20 requests/s, Poisson arrivals."""
    at = np.arange(0.0, days * PER_DAY_S, tick)
    rate = 20.0 + 10.0 * np.sin(2.0 * np.pi * at / PER_DAY_S)
    return np.asarray(np.random.default_rng(seed).poisson(rate * tick) / tick)


def load(profile: str, rate: float) -> ProfileLoad:
    """Return a tick's load of requests with prompts of 1,000 and answers of 200 tokens on average."""
    prompt, output = Moments(1000.0, 2e6), Moments(200.0, 8e4)
    return ProfileLoad(profile, rate, 1000.0 * rate, 600.0 * rate, 200.0 * rate, prompt, output, ABSENT, ABSENT, ABSENT)


def shift(tick: float) -> float:
    """Return the ticks until the P90 covers a load that suddenly triples and stays; the worst of 20 draws.

    Ticks count from the first sample of the new level: 1 means that the forecast made on it covers.
    """
    return float(max(_shift(tick, seed) for seed in range(20)))


def _shift(tick: float, seed: int) -> int:
    draw = np.random.default_rng(seed)
    series = SeriesForecaster()
    calm = int(3600.0 / tick)
    for i in range(calm + 60):
        rate = 10.0 if i < calm else 30.0
        at = Instant((i + 1) * tick)
        series.observe(at, float(draw.poisson(rate * tick) / tick), 1.0)
        if i >= calm and series.forecast(series.path(), HORIZON, HOLD).levels[P90] >= rate:
            return i - calm + 1
    return 60


def after_shift() -> float:
    """Return the P90 over the load ten minutes after a load grew tenfold, ticks of 15 s; the worst of 20 draws."""
    return max(_after_shift(seed) for seed in range(20))


def _after_shift(seed: int) -> float:
    draw = np.random.default_rng(seed)
    series = SeriesForecaster()
    series.watch((2, 1))
    for i, rate in enumerate([2.0] * 40 + [20.0] * 40):
        series.observe(Instant((i + 1) * 15.0), float(draw.poisson(rate * 15.0) / 15.0), 1.0)
    return series.forecast(series.path(), HORIZON, HOLD).levels[P90] / 20.0


def profile_tick_ms() -> float:
    """Return the mean time of observing and forecasting one profile (three signals, two horizons), ticks of 15 s."""
    forecaster = LoadForecaster()
    rates = a_day(15.0, days=0.25)
    spent = []
    for i, rate in enumerate(rates.tolist()):
        at = Instant((i + 1) * 15.0)
        start = time.process_time()
        forecaster.observe(at, {"chat": load("chat", rate)})
        forecaster.demand(at, [HOLD, HORIZON], HOLD)
        spent.append(time.process_time() - start)
    return 1e3 * statistics.fmean(spent[len(spent) // 2 :])


def thousand_series_s() -> float:
    """Return the time of a tick of 1,000 series that have models: observing, forecasting, and training's share.

    A hundred of them are observed and asked together, ten times over.
    """
    series, rates = SeriesForecaster(), a_day(60.0, days=5.0)
    for i, rate in enumerate(rates.tolist()):
        series.remember(Instant((i + 1) * 60.0), rate, 1.0)
    start = time.process_time()
    models = [job.run() for job in series.training_jobs()]
    training = time.process_time() - start
    for model in models:
        series.adopt(model)
    base, ticks, several = len(rates) * 60.0, 80, [copy.deepcopy(series) for _ in range(100)]
    start = time.process_time()
    for i in range(ticks):
        at = Instant(base + (i + 1) * 15.0)
        turn([(each, each.remember(at, 20.0 + i % 3, 1.0)) for each in several])
        ask(several)
        for each in several:
            each.forecast(each.path(), HORIZON, HOLD)
    one = (time.process_time() - start) / ticks / len(several)
    return 1000.0 * (one + training * 15.0 / PER_DAY_S)


def replay_s() -> float:
    """Return the time of replaying 10,000 ticks of 15 s (42 h) of three profiles, the last day in full."""
    forecaster, rates = LoadForecaster(), a_day(15.0, days=10_000 * 15.0 / PER_DAY_S)
    fully_from = len(rates) - int(PER_DAY_S / 15.0)
    start = time.process_time()
    for i, rate in enumerate(rates.tolist()):
        loads = {name: load(name, rate) for name in ("chat", "rag", "extract")}
        forecaster.observe(Instant((i + 1) * 15.0), loads, long_ago=i < fully_from)
    return time.process_time() - start


def memory_mb() -> float:
    """Return the size of one series after two weeks, with models."""
    series, rates = SeriesForecaster(), a_day(60.0, days=14.0)
    days = len(rates) - 2 * 1440
    for i, rate in enumerate(rates.tolist()):
        (series.remember if i < days else series.observe)(Instant((i + 1) * 60.0), rate, 1.0)
        series.watch((2, 1))
    for job in series.training_jobs():
        series.adopt(job.run())
    return len(pickle.dumps(series)) / 1e6
