"""How well a load can be forecast: every forecaster on every signal of a trace or of a Prometheus' past."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.domain.observation import ModelObservation, ProfileLoad
from autoscaler.domain.signal import is_present
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.forecast import evaluation
from autoscaler.forecast.conformal import PROBABILITIES
from autoscaler.forecast.evaluation import MIXTURE, REFERENCE, RollingOrigin
from autoscaler.forecast.minutes import IntArray
from autoscaler.performance.step import FloatArray
from autoscaler.simulate.trace import Trace

P90, P95 = (PROBABILITIES.index(p) for p in (0.9, 0.95))
SIGNALS = ("requests", "prompt_tokens", "output_tokens")
"""What is forecast of every profile, per second."""

EVERYTHING = "all"
"""The name under which all profiles together are judged."""

SHORTEST = 45
"""Minutes below which there is nothing to judge: half of them are the past of the first forecast, which reaches 15."""

SHORT = 600
"""Minutes below which a series is too short to judge coverage."""

FEWEST = 1.0
"""Requests per minute; a profile below cannot be forecast by itself (forecasting.md section 6)."""

PAYS = 0.97
"""A forecast that errs less than so many times the last value's error is worth having."""


@dataclass(frozen=True, slots=True)
class Series:
    """One signal of one profile of one trace."""

    trace: str
    profile: str
    signal: str
    values: FloatArray  # per second, by minute; NaN: a gap
    grain: float  # E[X^2]/E[X] of one request
    first: int = 0  # number (Unix time / 60) of the first minute

    @property
    def is_short(self) -> bool:
        """Tell whether the trace is too short to judge coverage (below ten hours)."""
        return len(self.values) < SHORT


@dataclass(frozen=True, slots=True)
class Score:
    """One forecaster on one series at one horizon; ratios below 1 are better than the reference."""

    trace: str
    profile: str
    signal: str
    horizon_s: int
    forecaster: str
    mae_ratio: float  # mean absolute error over last value's
    coverage_p90: float
    pinball_ratio_p95: float  # over the rolling quantile of the last ten minutes
    capacity_ratio: float  # capacity at 1 % of minutes short, over last value's, each with its best constant factor
    worst_day_coverage: float  # the day (of P90) that is farthest from 0.9
    short: bool  # below ten hours: too little to judge coverage


@dataclass(frozen=True, slots=True)
class Judged:
    """A series, what was forecast of it and what came, and how good that was."""

    series: Series
    result: RollingOrigin
    scores: tuple[Score, ...]

    def score(self, forecaster: str, horizon_s: int) -> Score:
        """Return one forecaster's score at a horizon."""
        return next(s for s in self.scores if (s.forecaster, s.horizon_s) == (forecaster, horizon_s))


def judged(series: Series, every: int = 5) -> Judged:
    """Return the scores of every forecaster on a series, origins ``every`` so many minutes."""
    result = evaluation.rolling_origin(series.values, first=series.first, grain=series.grain, every=every)
    scores = tuple(
        _score(series, result, name, column)
        for name, said in result.by_forecaster.items()
        for column in range(len(result.horizons))
        if not np.isnan(said.expected[:, column] - result.came[:, column]).all()
    )
    return Judged(series, result, scores)


def _score(series: Series, result: RollingOrigin, name: str, column: int) -> Score:
    came = result.came[:, column]
    bounds = result.by_forecaster[name].bounds[:, column]
    last = result.by_forecaster[REFERENCE].expected[:, column]
    rolling = _rolling_quantile(series.values, result.origins)
    return Score(
        series.trace,
        series.profile,
        series.signal,
        60 * result.horizons[column],
        name,
        mae_ratio=float(evaluation.relative_error(result, name)[column]),
        coverage_p90=evaluation.coverage(came, bounds[:, P90]),
        pinball_ratio_p95=evaluation.pinball(came, bounds[:, P95], 0.95)
        / max(evaluation.pinball(came, rolling, 0.95), 1e-12),
        capacity_ratio=evaluation.capacity(came, bounds[:, P95]) / max(evaluation.capacity(came, last), 1e-12),
        worst_day_coverage=_worst_day(came, bounds[:, P90], result.origins),
        short=series.is_short,
    )


def _rolling_quantile(values: FloatArray, origins: Iterable[int]) -> FloatArray:
    """Return the 95 % quantile of the last ten minutes at each origin; NaN where all of them are gaps."""
    out = []
    for origin in origins:
        window = values[max(0, origin - 9) : origin + 1]
        seen = window[~np.isnan(window)]
        out.append(float(np.quantile(seen, 0.95)) if len(seen) else math.nan)
    return np.array(out)


def _worst_day(came: FloatArray, bounds: FloatArray, origins: IntArray) -> float:
    days = [
        evaluation.coverage(came[origins // 1440 == day], bounds[origins // 1440 == day])
        for day in set(origins // 1440)
    ]
    known = [day for day in days if not math.isnan(day)]
    return max(known, key=lambda day: abs(day - 0.9), default=math.nan)


def series_of(trace: Trace) -> tuple[Series, ...]:
    """Return the signals of each profile of a trace by minute, and of all together where there are several.

    Raises:
        InputError: the trace is too short to judge forecasts on, or has less than a request a minute.
    """
    whole = int(trace.duration_s // 60.0)  # the last minute is cut off
    minute = (trace.arrival_s // 60.0).astype(np.int64)
    parts = {name: trace.profile == index for index, name in enumerate(trace.profiles)}
    if len(parts) > 1:
        parts[EVERYTHING] = np.ones(len(trace), dtype=bool)

    def by_minute(rows: np.ndarray[tuple[int], np.dtype[np.bool_]], weights: FloatArray) -> FloatArray:
        return np.bincount(minute[rows], weights=weights[rows], minlength=whole)[:whole] / 60.0

    columns = (np.ones(len(trace)), trace.input_tokens.astype(float), trace.output_tokens.astype(float))
    found = [
        Series(trace.name, name, signal, by_minute(rows, column), grain=_grain(column[rows]))
        for name, rows in parts.items()
        for signal, column in zip(SIGNALS, columns, strict=True)
        if rows.sum() >= FEWEST * whole
    ]
    return _worth_judging(found, whole, trace.name)


def _grain(amounts: FloatArray) -> float:
    return float((amounts**2).sum() / max(amounts.sum(), 1e-12))


def series_of_history(models: Iterable[tuple[Instant, ModelObservation]], name: str) -> tuple[Series, ...]:
    """Return the signals of each profile that was observed minute by minute; what was not observed is a gap.

    Raises:
        InputError: too little was observed to judge forecasts on.
    """
    seen = {math.floor(at / 60.0): model.loads for at, model in models}
    minutes = range(min(seen, default=0), max(seen, default=-1) + 1)
    profiles = sorted({profile for loads in seen.values() for profile in loads})
    found = [
        series
        for profile in profiles
        for series in _of_profile(name, profile, [seen.get(minute, {}).get(profile) for minute in minutes], minutes)
    ]
    return _worth_judging(found, len(minutes), name)


def _of_profile(name: str, profile: str, loads: Sequence[ProfileLoad | None], minutes: range) -> Iterator[Series]:
    rates: Mapping[str, list[float]] = {
        signal: [_number(load, f"{signal}_per_second") for load in loads] for signal in SIGNALS
    }
    requests = np.array(rates["requests"])
    if not np.nansum(requests) * 60.0 >= FEWEST * (~np.isnan(requests)).sum() > 0:
        return
    for signal in SIGNALS:
        values = np.array(rates[signal])
        # lengths taken as exponential: a second moment of twice the squared mean
        grain = 1.0 if signal == "requests" else 2.0 * float(np.nansum(values) / np.nansum(requests))
        if np.nansum(values) > 0.0:
            yield Series(name, profile, signal, values, grain, first=minutes[0])


def _number(load: ProfileLoad | None, signal: str) -> float:
    value = None if load is None else getattr(load, signal)
    return float(value) if value is not None and is_present(value) else math.nan


def _worth_judging(found: Sequence[Series], minutes: int, name: str) -> tuple[Series, ...]:
    if minutes < SHORTEST:
        msg = f"{name}: {minutes} minutes are too few to judge forecasts on; give {SHORTEST} or more"
        raise InputError(msg)
    if not found:
        msg = f"{name}: no profile has a request a minute, which is too little to forecast; choose a busier time span"
        raise InputError(msg)
    return tuple(found)


def verdict(found: Sequence[Judged]) -> str:
    """Return in plain words at which horizons forecasts serve this load, and whose."""
    horizons = found[0].result.horizons
    pays = {horizon: typical_ratio(found, horizon) for horizon in horizons}
    good = [horizon for horizon in horizons if pays[horizon] < PAYS]
    parts = []
    if good:
        gains = _listed([f"{1 - pays[horizon]:.0%}".replace("%", " %") for horizon in good])
        chosen = _listed([_champion(found, horizon) for horizon in good])
        ahead = _listed([str(horizon) for horizon in good])
        parts.append(
            f"Forecasts serve this load {ahead} minutes ahead: the mixture errs {gains} less than the last value, "
            f"with most weight on {chosen}."
        )
    if len(good) < len(horizons):
        rest = _listed([str(horizon) for horizon in horizons if horizon not in good])
        parts.append(f"{rest} minutes ahead nothing errs clearly less than the last value: rely on the bounds there.")
    covered = _listed([f"{_covered(found, horizon):.0%}".replace("%", " %") for horizon in horizons])
    parts.append(
        f"What came lay below the P90 in {covered} of the minutes {_listed([str(h) for h in horizons])} ahead."
    )
    origins = len(found[0].result.origins)
    if origins < SHORT // 5:
        parts.append(f"Judged on {origins} forecasts a series only: a longer trace says more.")
    return " ".join(parts)


def typical_ratio(found: Sequence[Judged], horizon: int) -> float:
    """Return the mixture's error over the last value's at a horizon (minutes): the geometric mean over series."""
    ratios = [max(each.score(MIXTURE, 60 * horizon).mae_ratio, 1e-6) for each in found]
    return float(np.exp(np.mean(np.log(ratios))))


def _covered(found: Sequence[Judged], horizon: int) -> float:
    return float(np.mean([each.score(MIXTURE, 60 * horizon).coverage_p90 for each in found]))


def _champion(found: Sequence[Judged], horizon: int) -> str:
    """Return who is most often given the largest weight."""
    names = [each.result.champions[each.result.horizons.index(horizon)] for each in found]
    return max(dict.fromkeys(names), key=names.count)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
