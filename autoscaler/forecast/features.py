"""What learned forecasters look at: the last four hours, the clock, yesterday and last week, all relative to now.

Every feature and the target are logarithms of ratios to the usual level (an exponential average), so that a model stays
right when the level shifts. Rows are built by one function, for training (many origins) and in the loop (one).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from autoscaler.forecast.minutes import MINUTES_PER_DAY
from autoscaler.performance.step import FloatArray

PAST = 240
"""Minutes of the immediate past that a row is made of."""

LAGS = np.array((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 19, 29, 44, 59))
MEANS = (5, 60, 240)
USUAL_SPAN = 60
USUAL_WEIGHTS = (1.0 - 2.0 / 16.0) ** np.arange(USUAL_SPAN - 1, -1, -1)
USUAL_WEIGHTS /= USUAL_WEIGHTS.sum()
SLOPE_WEIGHTS = np.arange(10) - 4.5
SLOPE_WEIGHTS /= (SLOPE_WEIGHTS**2).sum()
AROUND = 7
"""Minutes on each side over which yesterday is averaged."""

PAST_HOUR = np.arange(1 - USUAL_SPAN, 1)
BACK = (MINUTES_PER_DAY, 7 * MINUTES_PER_DAY)


def usual(windows: FloatArray) -> FloatArray:
    """Return the usual level at the end of each window, shape (rows,)."""
    return np.asarray(windows[:, -USUAL_SPAN:] @ USUAL_WEIGHTS)


def recent(windows: FloatArray, offset: float) -> FloatArray:
    """Return what the last four hours say, for windows of shape (rows, PAST); does not depend on the horizon."""
    level = usual(windows)
    base = np.log(level + offset)[:, None]
    lags = np.log(windows[:, PAST - 1 - LAGS] + offset) - base
    means = np.stack([windows[:, -span:].mean(axis=1) for span in MEANS], axis=1)
    spreads = np.stack([windows[:, -15:].std(axis=1), windows[:, -60:].std(axis=1)], axis=1)
    slope = (windows[:, -10:] @ SLOPE_WEIGHTS)[:, None]
    peak = windows[:, -60:].max(axis=1)[:, None]
    relative = np.concatenate([spreads, slope], axis=1) / (level + offset)[:, None]
    return np.concatenate([lags, np.log(means + offset) - base, relative, np.log(peak + offset) - base], axis=1)


def clock(minute_of_day: NDArray[np.int64]) -> FloatArray:
    """Return four pairs of daily waves, shape (rows, 8)."""
    angle = 2.0 * np.pi * np.asarray(minute_of_day)[:, None] / MINUTES_PER_DAY * np.arange(1, 5)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def repeated(values: FloatArray, origins: NDArray[np.int64], horizon: int, offset: float) -> FloatArray:
    """Return what happened over the same span a day and a week before, shape (rows, 2); 0 where it is not known.

    Args:
        values: minutes without gaps.
        origins: index of the newest known minute of each row.
        horizon: minutes ahead.
        offset: added before the logarithm.
    """
    columns = []
    around = np.arange(-AROUND, AROUND + 1)
    for back in BACK:
        then = origins - back
        known = then >= PAST
        start = np.where(known, then, PAST)
        came = values[np.minimum(start[:, None] + horizon + around, len(values) - 1)].mean(axis=1)
        before = values[start[:, None] + PAST_HOUR] @ USUAL_WEIGHTS
        columns.append(np.where(known, np.log(came + offset) - np.log(before + offset), 0.0))
    return np.stack(columns, axis=1)


def rows(values: FloatArray, first: int, origins: NDArray[np.int64], horizon: int, offset: float) -> FloatArray:
    """Return one row of features per origin, for one horizon.

    Args:
        values: minutes without gaps.
        first: number (Unix time / 60) of the first of them.
        origins: index of the newest known minute of each row, >= PAST - 1.
        horizon: minutes ahead.
        offset: added before every logarithm, 5 % of the long-run mean.
    """
    windows = sliding_window_view(values, PAST)[origins - PAST + 1]
    minute_of_day = (first + origins + horizon) % MINUTES_PER_DAY
    parts = [recent(windows, offset), clock(minute_of_day), repeated(values, origins, horizon, offset)]
    return np.concatenate(parts, axis=1)
