"""A fan chart: what came, against the quantiles that had been forecast of it (extra ``report``)."""

import numpy as np
from matplotlib.figure import Figure

from autoscaler.backtest import charts
from autoscaler.backtest.forecasts import Judged
from autoscaler.forecast.conformal import PROBABILITIES
from autoscaler.forecast.evaluation import MIXTURE
from autoscaler.performance.step import FloatArray


def fan(found: Judged, horizon: int) -> Figure:
    """Draw what came against the quantiles that had been forecast ``horizon`` minutes before."""
    result, column = found.result, found.result.horizons.index(horizon)
    said = result.by_forecaster[MIXTURE].bounds[:, column]
    hours = (result.origins + horizon) / 60.0
    median = said[:, PROBABILITIES.index(0.5)]
    with charts.styled(10.5, 3.4) as figure:
        axes = figure.subplots()
        for probability, strength in ((0.99, 0.16), (0.95, 0.24), (0.9, 0.34)):
            upper = said[:, PROBABILITIES.index(probability)]
            label = f"to P{probability * 100:.0f}"
            axes.fill_between(hours, median, upper, label=label, color=charts.SERIES[0], alpha=strength, linewidth=0)
        axes.plot(hours, median, color=charts.SERIES[0], linewidth=1.3, label="P50")
        axes.plot(hours, result.came[:, column], color=charts.INK, linewidth=0.9, label="came")
        missed = result.came[:, column] > said[:, PROBABILITIES.index(0.99)]
        axes.plot(
            hours[missed], result.came[missed, column], "o", color=charts.LIMIT, markersize=3.2, label="above P99"
        )
        axes.set_title(f"{found.series.profile}: {found.series.signal.replace('_', ' ')}/s, {horizon} min ahead")
        axes.set_xlabel("hours")
        axes.set_xlim(float(hours[0]), float(hours[-1]))
        axes.set_ylim(bottom=0, top=1.05 * _highest(result.came[:, column], said))
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), handlelength=1.4, fontsize=8.5)
        return figure


def _highest(came: FloatArray, said: FloatArray) -> float:
    """Return how high to draw: a bound that shoots up for a moment is cut off, what came never is."""
    return max(float(np.nanmax(came)), float(np.nanquantile(said, 0.995)), 1e-9)
