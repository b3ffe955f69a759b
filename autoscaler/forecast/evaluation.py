"""How good were the forecasts: rolling origins over a recorded series, every forecaster judged alike.

Origins are whole minutes; each forecast sees the past of its origin only, models are retrained once a day on it, and
all bounds are adaptive conformal (conformal.py). Pure and deterministic.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from autoscaler.domain.units import Instant
from autoscaler.forecast.conformal import PROBABILITIES, Calibration
from autoscaler.forecast.memory import NODES
from autoscaler.forecast.series import SeriesForecaster
from autoscaler.performance.step import FloatArray

MIXTURE = "mixture"
REFERENCE = "last-value"
HORIZONS = (1, 5, 15)
SCORED = 2 * 1440
"""Minutes at the end of a long series that are scored."""

CALIBRATED = 1440
"""Minutes before these in which forecasts are made, weights and bounds adapt; what lies farther back is remembered."""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What one forecaster said, by origin (rows) and horizon (columns)."""

    expected: FloatArray  # (origins, horizons)
    bounds: FloatArray  # (origins, horizons, probabilities): at PROBABILITIES


@dataclass(frozen=True, slots=True)
class RollingOrigin:
    """Forecasts of several forecasters against what came."""

    horizons: tuple[int, ...]  # minutes
    origins: np.ndarray[tuple[int], np.dtype[np.int64]]  # index of the newest known minute
    came: FloatArray  # (origins, horizons); NaN: a gap
    by_forecaster: Mapping[str, Forecasts]
    champions: tuple[str, ...]  # most often the largest weight, per horizon


def rolling_origin(
    values: FloatArray,
    *,
    first: int = 0,
    horizons: Sequence[int] = HORIZONS,
    score_from: int | None = None,
    every: int = 5,
    grain: float = 1.0,
) -> RollingOrigin:
    """Forecast a series from every minute of its later part, as the controller would have done.

    Args:
        values: load per second of each minute, NaN where there is a gap.
        first: number (Unix time / 60) of the first minute.
        horizons: minutes ahead, each one of ``NODES``.
        score_from: index of the first origin that counts; default: the later half, at most two days.
        every: minutes between two origins.
        grain: see ``SeriesForecaster.observe``.
    """
    start = max(len(values) // 2, len(values) - SCORED) if score_from is None else score_from
    forecaster = SeriesForecaster()
    for horizon in horizons:
        forecaster.watch((horizon - 1, 1))
    told = _told(forecaster, values, first, grain, start - CALIBRATED)
    answers = {minute: _answer(forecaster, horizons) for minute in told if minute % every == 0}
    origins = np.array([*answers], dtype=np.int64)
    scored = origins >= start
    opinions, weights, points, bounds = (np.array(column) for column in zip(*answers.values(), strict=True))
    names = [expert.name for expert in forecaster.council.experts]
    by_forecaster = {
        name: Forecasts(opinions[scored, k], _bounded(values, origins, opinions[:, k], horizons)[scored])
        for k, name in enumerate(names)
        if not np.isnan(opinions[scored, k]).all()
    }
    by_forecaster[MIXTURE] = Forecasts(points[scored], bounds[scored])
    heaviest = weights[scored].mean(axis=0).argmax(axis=0)
    return RollingOrigin(
        tuple(horizons),
        origins[scored],
        np.stack([_shifted(values, horizon)[origins[scored]] for horizon in horizons], axis=1),
        by_forecaster,
        tuple(names[k] for k in heaviest),
    )


def _told(forecaster: SeriesForecaster, values: FloatArray, first: int, grain: float, begin: int) -> Iterator[int]:
    """Tell a forecaster what came, minute by minute; yield those from ``begin`` on, from which it learns as it goes."""
    for minute, value in enumerate(values.tolist()):
        at, long_ago = Instant((first + minute + 1) * 60.0), minute < begin
        if not math.isnan(value):
            (forecaster.remember if long_ago else forecaster.observe)(at, value, grain)
        elif forecaster.last is not None:
            forecaster.pass_over(at)
        if long_ago:
            continue
        if minute % 60 == 59:
            for job in forecaster.training_jobs():
                forecaster.adopt(job.run())
        yield minute


Answer: TypeAlias = tuple[FloatArray, FloatArray, tuple[float, ...], tuple[tuple[float, ...], ...]]
"""At one origin: what experts say and their weights, (experts, horizons); points and bounds of their mixture."""


def _answer(forecaster: SeriesForecaster, horizons: Sequence[int]) -> Answer:
    columns = [NODES.index(horizon) for horizon in horizons]
    council, memory = forecaster.council, forecaster.memory
    opinions = council.said(memory)
    path = council.mixed(opinions, memory).tolist()
    points, bounds = zip(*(forecaster.point(path, horizon) for horizon in horizons), strict=True)
    return opinions[:, columns], council.mixture.weights[:, columns], points, bounds


def _shifted(values: FloatArray, horizon: int) -> FloatArray:
    return np.concatenate([values[horizon:], np.full(horizon, np.nan)])


def _bounded(
    values: FloatArray,
    origins: np.ndarray[tuple[int], np.dtype[np.int64]],
    expected: FloatArray,
    horizons: Sequence[int],
) -> FloatArray:
    """Return calibrated bounds around one expert's forecasts, shape (origins, horizons, probabilities)."""
    usual = _usual(values)
    bounds = np.full((*expected.shape, len(PROBABILITIES)), np.nan)
    for column, horizon in enumerate(horizons):
        calibration = Calibration()
        waiting: deque[tuple[int, float, float, tuple[float, ...]]] = deque()
        for row, origin in enumerate(origins.tolist()):
            while waiting and waiting[0][0] + horizon <= origin:
                made, point, spread, offsets = waiting.popleft()
                if not np.isnan(values[made + horizon]):
                    calibration.add(float(values[made + horizon] - point) / usual[made], spread, offsets, 0.2, 1)
            point = float(expected[row, column])
            if np.isnan(point):
                continue
            spread, offsets = calibration.spread(0.2), calibration.blended((0.0, 1.6, 2.1, 2.9, 3.2), float(horizon))
            waiting.append((origin, point, spread, offsets))
            bounds[row, column] = point + np.array(offsets) * spread * usual[origin]
    return bounds


def _usual(values: FloatArray) -> FloatArray:
    """Return the exponential average over 15 minutes at each minute, gaps skipped; > 0."""
    out = np.empty(len(values))
    level, floor = 0.0, 1e-9 + 0.01 * float(np.nanmean(values)) if not np.isnan(values).all() else 1.0
    seen = 0.0
    for index, value in enumerate(values.tolist()):
        if value == value:  # noqa: PLR0124, NaN is the one value that is not itself
            seen = seen * (7.0 / 8.0) + 1.0 / 8.0
            level += (value - level) / (8.0 * seen)
        out[index] = max(level, floor)
    return out


def relative_error(result: RollingOrigin, forecaster: str) -> FloatArray:
    """Return the mean absolute error over that of the last value, per horizon; NaN where the forecaster never spoke."""
    own = _mean_error(result.by_forecaster[forecaster].expected, result.came)
    reference = _mean_error(result.by_forecaster[REFERENCE].expected, result.came)
    return np.asarray(own / np.maximum(reference, 1e-12))


def _mean_error(expected: FloatArray, came: FloatArray) -> FloatArray:
    errors = np.abs(expected - came)
    known = ~np.isnan(errors)
    counts = known.sum(axis=0)
    sums = np.where(known, errors, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def coverage(came: FloatArray, bounds: FloatArray) -> float:
    """Return the share of known outcomes at or below their bound."""
    known = ~np.isnan(came) & ~np.isnan(bounds)
    return float((came[known] <= bounds[known]).mean()) if known.any() else float("nan")


def pinball(came: FloatArray, bounds: FloatArray, probability: float) -> float:
    """Return the mean pinball loss of a quantile forecast."""
    short = came - bounds
    return float(np.nanmean(np.maximum(probability * short, (probability - 1.0) * short)))


def capacity(came: FloatArray, bounds: FloatArray, short: float = 0.01) -> float:
    """Return the mean capacity that follows ``bounds`` times one factor, such that a share ``short`` of minutes lacks.

    The factor is the best in hindsight, so that rules are compared by their shape alone.
    """
    known = ~np.isnan(came) & ~np.isnan(bounds)
    if not known.any():
        return float("nan")
    floor = 0.01 * float(came[known].mean()) + 1e-12
    follows = np.maximum(bounds[known], floor)
    factor = float(np.quantile(came[known] / follows, 1.0 - short))
    return factor * float(follows.mean())
