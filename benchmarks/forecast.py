"""How good the forecasts are: ``make bench-forecast``, or ``python -m benchmarks.forecast [TRACE…] [--json]``.

Rolling origins (every five minutes over the later half of each series, at most two days), horizons of 1, 5 and 15
minutes; each forecaster judged alike. Without traces named: the development traces, and the page in docs/reference is
written anew.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from autoscaler.backtest.forecasts import SHORTEST, Score, Series, judged
from autoscaler.errors import InputError
from autoscaler.forecast.evaluation import MIXTURE
from benchmarks import forecast_probes as probes
from benchmarks import forecast_traces as traces

PAGE = Path("docs/reference/forecast-accuracy.md")
RESULTS = Path("build/bench/forecast.json")
LATER = (300, 900)
"""Horizons of the headline figures, seconds."""

STEADY = 0.3
"""Capacity over that of the last value, above which the last value can be said to work."""


def scored(series: Series, every: int = 5) -> list[Score]:
    """Return the scores of every forecaster on a series, origins ``every`` so many minutes."""
    return list(judged(series, every).scores)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of what must be shown."""

    id: str
    what: str
    value: float
    unit: str
    target: float
    moonshot: float
    met: bool


def rows(scores: Sequence[Score]) -> list[Row]:
    """Return the issue's table for the mixture, and for each half of the series."""
    mine = [score for score in scores if score.forecaster == MIXTURE]
    long = [score for score in mine if not score.short]
    later = [score for score in mine if score.horizon_s in LATER]
    judged = [score for score in long if score.horizon_s in LATER] or later
    five = [score for score in later if score.horizon_s == LATER[0]]
    return [
        *_errors(mine, long, later),
        *_coverage(judged),
        *_pinball(later, judged),
        *_capacity(five),
        *_halves(later),
    ]


def _errors(mine: Sequence[Score], long: Sequence[Score], later: Sequence[Score]) -> Iterator[Row]:
    mean, worst = geometric(s.mae_ratio for s in later), max(s.mae_ratio for s in mine)
    worst_long = max((s.mae_ratio for s in long), default=math.nan)
    yield _at_most("mae", "MAE / last value, geometric mean, 5 and 15 min", mean, 0.90, 0.84)
    yield _at_most("mae-worst", "MAE / last value, worst series, any horizon", worst, 1.10, 1.02)
    yield _at_most("mae-worst-long", "the same without traces of an hour", worst_long, 1.10, 1.02)


def _coverage(judged: Sequence[Score]) -> Iterator[Row]:
    series, days = [s.coverage_p90 for s in judged], [s.worst_day_coverage for s in judged]
    yield _at_least("coverage-low", "P90 covers, least of all series, 5 and 15 min", min(series), 0.87, 0.88)
    yield _at_most("coverage-high", "P90 covers, most of all series, 5 and 15 min", max(series), 0.93, 0.92)
    yield _at_least("coverage-day-low", "P90 covers, worst single day, low", min(days), 0.80, 0.80)
    yield _at_most("coverage-day-high", "P90 covers, worst single day, high", max(days), 0.97, 0.97)


def _pinball(later: Sequence[Score], judged: Sequence[Score]) -> Iterator[Row]:
    every, long = (geometric(s.pinball_ratio_p95 for s in some) for some in (later, judged))
    yield _at_most("pinball", "pinball P95 / rolling quantile, geometric mean, 5 and 15 min", every, 0.90, 0.80)
    yield _at_most("pinball-long", "the same without traces of an hour", long, 0.90, 0.80)


def _capacity(five: Sequence[Score]) -> Iterator[Row]:
    every = geometric(s.capacity_ratio for s in five)
    steady = geometric(s.capacity_ratio for s in five if s.capacity_ratio >= STEADY)
    yield _at_most("capacity", "capacity at 1 % short / last value, geometric mean, 5 min", every, 0.90, 0.82)
    yield _at_most(
        "capacity-steady",
        f"the same without series where last value fails (ratio below {STEADY}: on/off loads)",
        steady,
        0.90,
        0.82,
    )


def _halves(later: Sequence[Score]) -> list[Row]:
    """Return the error on the series that chose the settings (every other one), and on those that did not."""
    names = list(dict.fromkeys((s.trace, s.profile, s.signal) for s in later))
    out = []
    for label, part in (("chose", names[0::2]), ("confirm", names[1::2])):
        picked = [s.mae_ratio for s in later if (s.trace, s.profile, s.signal) in part]
        if picked:
            out.append(
                _at_most(f"mae-{label}", f"MAE / last value, series that {label}", geometric(picked), 0.90, 0.84)
            )
    return out


def geometric(values: Iterable[float]) -> float:
    """Return the geometric mean; NaN of nothing."""
    known = list(values)
    return float(np.exp(np.mean(np.log(known)))) if known else float("nan")


def _at_most(name: str, what: str, value: float, target: float, moonshot: float, unit: str = "ratio") -> Row:
    return Row(name, what, value, unit, target, moonshot, met=value <= target)


def _at_least(name: str, what: str, value: float, target: float, moonshot: float) -> Row:
    return Row(name, what, value, "share", target, moonshot, met=value >= target)


def probed() -> list[Row]:
    """Return the rows that need no trace: level shift, speed, memory."""
    wants: tuple[tuple[str, str, Callable[[], float], float, float, str], ...] = (
        (
            "shift-60",
            "level shift x3: ticks of 60 s until P90 covers, worst of 20",
            lambda: probes.shift(60.0),
            3,
            1,
            "ticks",
        ),
        (
            "shift-15",
            "level shift x3: ticks of 15 s until P90 covers, worst of 20",
            lambda: probes.shift(15.0),
            3,
            1,
            "ticks",
        ),
        (
            "shift-after",
            "level shift x10: P90 over the load ten minutes later, worst of 20",
            probes.after_shift,
            1.5,
            1.25,
            "ratio",
        ),
        ("tick", "one profile's tick, mean, ticks of 15 s", probes.profile_tick_ms, 1.0, 1.0, "ms"),
        ("thousand", "1,000 series, one tick, training amortised", probes.thousand_series_s, 1.0, 1.0, "s"),
        ("replay", "10,000 samples x 3 profiles replayed", probes.replay_s, 5.0, 5.0, "s"),
        ("memory", "memory of a series after 14 days", probes.memory_mb, 1.0, 1.0, "MB"),
    )
    return [_at_most(name, what, probe(), target, best, unit) for name, what, probe, target, best, unit in wants]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where a trace cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=__doc__)
    parser.add_argument("trace", nargs="*", type=Path, help="trace files; none: the development traces")
    parser.add_argument("--json", action="store_true", help="print series[] and rows[] as JSON")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--every", type=int, default=5, help="minutes between origins (default 5, as on the page)")
    options = parser.parse_args(arguments)
    try:
        series = [each for path in options.trace or traces.development() for each in traces.read(path)]
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    if any(len(each.values) < SHORTEST for each in series):
        print(f"a trace lasts less than {SHORTEST} minutes: nothing to judge forecasts on", file=sys.stderr)
        return 1
    parts = Parallel(n_jobs=options.workers)(delayed(scored)(each, options.every) for each in series)
    scores = [score for part in parts for score in part]
    whole = not options.trace and options.every == 5
    table = rows(scores) + (probed() if whole else [])
    results = {"series": [asdict(score) for score in scores], "rows": [asdict(row) for row in table]}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    text = page(scores, table)
    print(json.dumps(results) if options.json else text)
    if whole:
        PAGE.write_text(text)
    return 0


def page(scores: Sequence[Score], table: Sequence[Row]) -> str:
    """Return the page as Markdown."""
    head = Path(__file__).with_name("forecast_page.md").read_text()
    sections = {
        "COMMIT": [_commit()],
        "GATES": gates(table),
        "FORECASTERS": forecasters(scores),
        "SERIES": by_series(scores),
    }
    for name, lines in sections.items():
        head = head.replace(f"{{{name}}}", "\n".join(lines))
    return head


def _commit() -> str:
    """Return the commit that the tree was made from, as far as git tells."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    told = subprocess.run([git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603 - no input
    return told.stdout.strip() or "unknown"


def gates(table: Sequence[Row]) -> list[str]:
    """Return the table of targets."""
    lines = ["| what | measured | target | moonshot | met |", "|---|---|---|---|---|"]
    return lines + [
        f"| {row.what} | {row.value:.3g} {row.unit if row.unit not in {'ratio', 'share'} else ''} | {row.target:g} | "
        f"{row.moonshot:g} | {'yes' if row.met else '**no**'} |"
        for row in table
    ]


def forecasters(scores: Sequence[Score]) -> list[str]:
    """Return one line per forecaster: geometric means over the series on which it can speak."""
    lines = [
        (
            "| forecaster | series | MAE 1 / 5 / 15 min | worst | coverage P90, 5 min: least to most "
            "| pinball P95 5 / 15 | capacity 5 / 15 |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(score.forecaster for score in scores):
        own = [score for score in scores if score.forecaster == name]
        at = {h: [s for s in own if s.horizon_s == h] for h in (60, 300, 900)}
        error = " / ".join(f"{geometric(s.mae_ratio for s in at[h]):.3f}" for h in at)
        long = [s.coverage_p90 for s in at[300] if not s.short]
        covers = f"{min(long):.2f} to {max(long):.2f}" if long else "-"
        loss = " / ".join(f"{geometric(s.pinball_ratio_p95 for s in at[h]):.2f}" for h in LATER)
        bought = " / ".join(f"{geometric(s.capacity_ratio for s in at[h]):.2f}" for h in LATER)
        worst = max(s.mae_ratio for s in own)
        lines.append(f"| {name} | {len(at[300])} | {error} | {worst:.2f} | {covers} | {loss} | {bought} |")
    return lines


def by_series(scores: Sequence[Score]) -> list[str]:
    """Return one line per series: the mixture at 5 and 15 minutes."""
    lines = [
        (
            "| trace | profile | signal | MAE 1 / 5 / 15 | coverage P90 5 / 15 | worst day "
            "| pinball P95 5 / 15 | capacity 5 |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    mine = [score for score in scores if score.forecaster == MIXTURE]
    for key in dict.fromkeys((s.trace, s.profile, s.signal) for s in mine):
        one, five, late = (s for s in mine if (s.trace, s.profile, s.signal) == key)
        lines.append(
            f"| {key[0]} | {key[1]} | {key[2]} | {one.mae_ratio:.2f} / {five.mae_ratio:.2f} / {late.mae_ratio:.2f} "
            f"| {five.coverage_p90:.3f} / {late.coverage_p90:.3f} | {five.worst_day_coverage:.2f} "
            f"| {five.pinball_ratio_p95:.2f} / {late.pinball_ratio_p95:.2f} | {five.capacity_ratio:.2f} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
