"""How far loads pass the highest level of their last hour: ``python -m benchmarks.records [TRACE…]``.

Each minute of each development trace (``DISAGG_SHARED``), after so many minutes of history: how often the highest of
the next four minutes stays within the bound of ``autoscaler.forecast.records``, for several exponents of its tail.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autoscaler.backtest.forecasts import Series
from autoscaler.errors import InputError
from autoscaler.forecast.minutes import HOUR, RECENT
from autoscaler.forecast.records import TAIL, factor
from autoscaler.performance.step import FloatArray
from benchmarks import forecast_traces as traces

PROBABILITIES = (0.9, 0.95, 0.99, 0.995)
TAILS = (3.0, 4.0, TAIL, 6.0, 8.0)
AFTER = (10, 20, HOUR)
AHEAD = 4
LONGEST = 3 * 1440  # minutes of a series
FEWEST = 5  # records of a series that say something


def coverage(values: FloatArray, after: int, tail: float) -> list[float] | None:
    """Return the share of minutes at which the bound of each probability holds; None: the series is too short."""
    seen = values[~np.isnan(values)][:LONGEST]
    if len(seen) < after + AHEAD + HOUR:
        return None
    highest = sliding_window_view(seen, after).max(axis=1)[: len(seen) - after - AHEAD + 1]
    came = sliding_window_view(seen, AHEAD)[after:].max(axis=1)
    records = np.array(
        [seen[n] > seen[max(0, n - HOUR) : n].max(initial=math.inf if n == 0 else 0.0) for n in range(len(seen))]
    )
    broken = sliding_window_view(records, RECENT).mean(axis=1)[after - RECENT :][: len(came)]
    passed = np.maximum(AHEAD / (after + AHEAD), broken)
    chances, places = np.unique(passed, return_inverse=True)
    factors = ([factor(float(chance), q, tail) for chance in chances] for q in PROBABILITIES)
    return [float((came <= highest * np.array(own)[places] + 1e-9).mean()) for own in factors]


def table(series: Sequence[Series]) -> str:
    """Return mean coverage and that of the worst tenth of the series, by history and exponent."""
    lines = ["history  exponent  " + "  ".join(f"P{100 * q:<14g}" for q in PROBABILITIES)]
    for after in AFTER:
        for tail in TAILS:
            found = np.array([row for each in series if (row := coverage(each.values, after, tail)) is not None])
            cells = (
                f"{mean:.3f} (.1: {low:.3f})"
                for mean, low in zip(found.mean(0), np.quantile(found, 0.1, 0), strict=True)
            )
            lines.append(f"{after:>3} min  {tail:>8g}  " + "  ".join(cells))
    return "\n".join(lines)


def passed_soon(values: FloatArray) -> float | None:
    """Return how often a minute that is a record is passed within the next ones; None: too few of them."""
    seen = values[~np.isnan(values)][:LONGEST]
    found = [
        bool(seen[n + 1 : n + 1 + AHEAD].max() > seen[n])
        for n in range(20, len(seen) - AHEAD)
        if seen[n] > seen[max(0, n - HOUR) : n].max()
    ]
    return float(np.mean(found)) if len(found) > FEWEST else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        series = [each for path in chosen.traces or traces.development() for each in traces.read(path)]
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(table(series) + "\n")
    passed = [share for each in series if (share := passed_soon(each.values)) is not None]
    sys.stdout.write(f"a record is passed within {AHEAD} minutes with {np.mean(passed):.2f} ({len(passed)} series)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
