"""One self-contained HTML page of how well a load can be forecast: a fan chart of each series, and all forecasters."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler.backtest import report
from autoscaler.backtest.forecasts import Judged, Score, verdict
from autoscaler.errors import InputError
from autoscaler.forecast.evaluation import MIXTURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 5
"""Minutes ahead that are drawn, where they were judged: about what a replica takes to start."""

COLUMNS = ("forecaster", "error / last value", "P90 covers", "pinball P95 / rolling", "capacity / last value")


def write(found: Sequence[Judged], path: Path) -> list[Path]:
    """Write the page, and every chart as SVG and PNG into a folder beside it; return what was written.

    Raises:
        InputError: matplotlib is not installed, or the place cannot be written.
    """
    try:
        from autoscaler.backtest import fan  # noqa: PLC0415 - matplotlib is an extra
    except ImportError as error:
        msg = "--report: charts need matplotlib; install disagg-autoscaler[report]"
        raise InputError(msg) from error
    drawn: dict[str, Figure] = {_name(each): fan.fan(each, _drawn(each)) for each in found}
    return report.save(drawn, path, lambda drawings: page(found, drawings))


def _name(each: Judged) -> str:
    return f"fan-{each.series.profile}-{each.series.signal}"


def _drawn(each: Judged) -> int:
    horizons = each.result.horizons
    return DRAWN if DRAWN in horizons else horizons[-1]


def page(found: Sequence[Judged], drawings: dict[str, str]) -> str:
    """Return the HTML page. ``drawings``: SVG text by chart name."""
    series = found[0].series
    title = f"Forecasts: {series.trace}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p><b>{html.escape(verdict(found))}</b></p>",
        f'<p class="quiet">{html.escape(_subtitle(found))}</p>',
        *(_section(each, drawings[_name(each)]) for each in found),
        _method(),
    ]
    return report.document(title, parts)


def _subtitle(found: Sequence[Judged]) -> str:
    minutes, origins = len(found[0].series.values), len(found[0].result.origins)
    return f"{minutes:,} minutes, {len(found)} series, {origins} forecasts of each judged over the later part"


def _section(each: Judged, drawing: str) -> str:
    caption = f"{each.series.profile}: {each.series.signal.replace('_', ' ')}"
    tables = "".join(
        f"<details><summary>{horizon} min ahead <span>{html.escape(_said(each, horizon))}</span></summary>"
        f'<div class="wide">{_table(each, horizon)}</div></details>'
        for horizon in each.result.horizons
    )
    return f"<h2>{html.escape(caption)}</h2>{report.framed(drawing, f'Fan chart of {caption}')}{tables}"


def _said(each: Judged, horizon: int) -> str:
    own = each.score(MIXTURE, 60 * horizon)
    champion = each.result.champions[each.result.horizons.index(horizon)]
    return f"mixture {own.mae_ratio:.2f}x the last value's error, P90 covers {own.coverage_p90:.1%}, led by {champion}"


def _table(each: Judged, horizon: int) -> str:
    scores = sorted((s for s in each.scores if s.horizon_s == 60 * horizon), key=lambda s: s.mae_ratio)
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    return f"<table><tr>{head}</tr>{''.join(_row(score) for score in scores)}</table>"


def _row(score: Score) -> str:
    mark = ' class="ours"' if score.forecaster == MIXTURE else ""
    cells = (
        f"{score.mae_ratio:.3f}",
        f"{score.coverage_p90:.1%}",
        f"{score.pinball_ratio_p95:.3f}",
        f"{score.capacity_ratio:.3f}",
    )
    return f"<tr{mark}><td>{score.forecaster}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _method() -> str:
    sentences = (
        "Every forecast was made from what lay before it, as the controller would have made it; learned forecasters",
        "speak once they have days of history. The mixture is what the controller uses.",
        "Error: mean absolute error of a minute's load. Pinball: loss of the P95, beside the 95 % quantile of the last",
        "ten minutes. Capacity: mean of the P95 times the factor that leaves 1 % of the minutes short, beside the last",
        "value with a factor of its own; both factors are chosen in hindsight. Below 1 is better.",
    )
    return f'<h2>How to read this</h2><p class="quiet">{html.escape(" ".join(sentences))}</p>'
