"""``autoscaler backtest --forecast``: how well the load of a trace, or of a Prometheus' past, can be forecast."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import typer
from joblib import Parallel, delayed
from rich.table import Table

from autoscaler.backtest import forecast_report
from autoscaler.backtest.forecasts import Judged, Series, judged, series_of, series_of_history, verdict
from autoscaler.cli import wiring
from autoscaler.cli.output import Format, Jsonable, show, table
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.forecast.evaluation import MIXTURE
from autoscaler.observe.connection import Connection
from autoscaler.observe.observer import PrometheusHistory
from autoscaler.simulate.trace_files import read_trace

MINUTE = Seconds(60.0)
LONG = 600
"""Minutes from which on a forecast every five minutes is enough to judge; below, every minute is."""


def report(found: Sequence[Series], *, workers: int | None, output: Format, report_file: Path | None) -> None:
    """Judge every forecaster on every series, print it, and draw it where a report is wanted."""
    done = Parallel(n_jobs=workers or -1)(delayed(judged)(each, every=1 if each.is_short else 5) for each in found)
    results = list(done)
    show(data(results), [verdict(results), *_tables(results)], output)
    if report_file is not None:
        for written in forecast_report.write(results, report_file):
            typer.echo(f"wrote {written}", err=True)


def of_trace(trace: Path, profile: str, scale: float) -> tuple[Series, ...]:
    """Return the series of a trace of requests.

    Raises:
        InputError: it cannot be read, or is too short or too thin to judge forecasts on.
    """
    requests = read_trace(trace, profile=profile)
    return series_of(requests if scale == 1 else requests.scaled(scale))


def of_prometheus(url: str, policy: Path, begin: Instant, end: Instant) -> tuple[Series, ...]:
    """Return the series that a Prometheus remembers of a policy's requests.

    Raises:
        InputError: the file holds several policies, or too little was observed.
        ObservationError: Prometheus does not answer.
    """
    chosen = wiring.policies([policy])
    if len(chosen) != 1:
        msg = f"--policy: {policy} holds {len(chosen)} policies; forecasts are judged of one, put the others elsewhere"
        raise InputError(msg)
    if not end > begin:
        msg = f"--to {end:.0f} does not lie behind --from {begin:.0f}; swap them"
        raise InputError(msg)
    start = Instant(math.ceil(begin / MINUTE) * MINUTE)

    async def remembered() -> list[tuple[Instant, ModelObservation]]:
        metrics = await wiring.metrics_source(Connection(url), chosen, end, MINUTE)
        past = PrometheusHistory(chosen, metrics).past(start, end, MINUTE)
        return [
            # a rate at a full minute is that of the minute before it
            (Instant(seen.at - MINUTE), model)
            async for seen in past
            for model in seen.models.values()
        ]

    return series_of_history(asyncio.run(remembered()), chosen[0].key)


def data(found: Sequence[Judged]) -> dict[str, Jsonable]:
    """Return all figures for programs; keys are stable."""
    rows: list[Jsonable] = [asdict(score) for each in found for score in each.scores]
    weights: list[Jsonable] = [
        {
            "profile": each.series.profile,
            "signal": each.series.signal,
            "champions": {str(60 * h): c for h, c in zip(each.result.horizons, each.result.champions, strict=True)},
        }
        for each in found
    ]
    return {"verdict": verdict(found), "series": rows, "champions": weights}


def _tables(found: Sequence[Judged]) -> Iterator[Table]:
    for horizon in found[0].result.horizons:
        rows = [_line(each, horizon) for each in found]
        columns = ("profile", "signal", "best alone", "error", "mixture", "led by", "P90 covers", "capacity")
        yield table(columns, rows, title=f"{horizon} min ahead; errors and capacity over the last value's")


def _line(each: Judged, horizon: int) -> tuple[str, ...]:
    alone = (s for s in each.scores if s.horizon_s == 60 * horizon and s.forecaster != MIXTURE)
    best, mixture = min(alone, key=lambda s: s.mae_ratio), each.score(MIXTURE, 60 * horizon)
    return (
        each.series.profile,
        each.series.signal,
        best.forecaster,
        f"{best.mae_ratio:.2f}",
        f"{mixture.mae_ratio:.2f}",
        each.result.champions[each.result.horizons.index(horizon)],
        f"{mixture.coverage_p90:.1%}",
        f"{mixture.capacity_ratio:.2f}",
    )
