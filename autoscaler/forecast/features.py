"""What learned forecasters look at: the last four hours, the clock, yesterday and last week, all relative to now.

Every feature and the target are logarithms of ratios to the usual level (an exponential average), so that a model stays
right when the level shifts. Rows are built by one function, for training (many origins) and in the loop (one).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from autoscaler.forecast.minutes import MINUTES_PER_DAY, IntArray
from autoscaler.performance.step import FloatArray

PAST = 240
"""Minutes of the immediate past that a row is made of."""

LAGS = np.array((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 19, 29, 44, 59))
USUAL_SPAN = 60
AROUND = np.arange(-7, 8)
"""Minutes over which the load of the same time yesterday is averaged."""

PAST_HOUR = np.arange(1 - USUAL_SPAN, 1)
BACK = np.array((MINUTES_PER_DAY, 7 * MINUTES_PER_DAY))
REACH = int(BACK.max()) + PAST + 1
"""Minutes from the newest back that a row is made of."""


def _usual_weights() -> FloatArray:
    """Return the weights of an exponential average over 15 minutes, cut off after an hour."""
    weights = (1.0 - 2.0 / 16.0) ** np.arange(USUAL_SPAN - 1, -1, -1.0)
    return np.asarray(weights / weights.sum())


USUAL_WEIGHTS = _usual_weights()


def _summaries() -> FloatArray:
    """Return weights over the past for: usual, slope of ten minutes, means of 5, 15, 60 and 240; shape (PAST, 6)."""
    table = np.zeros((PAST, 6))
    table[-USUAL_SPAN:, 0] = USUAL_WEIGHTS
    line = np.arange(10) - 4.5
    table[-10:, 1] = line / (line**2).sum()
    for column, span in enumerate((5, 15, 60, 240), start=2):
        table[-span:, column] = 1.0 / span
    return table


SUMMARIES = _summaries()


def recent(windows: FloatArray, offset: float) -> FloatArray:
    """Return what the last four hours say, for windows of shape (rows, PAST); does not depend on the horizon."""
    usual, slope, mean5, mean15, mean60, mean240 = (windows @ SUMMARIES).T
    squares = windows[:, -60:] ** 2
    spread15 = np.sqrt(np.maximum(squares[:, -15:].sum(axis=1) / 15.0 - mean15**2, 0.0))
    spread60 = np.sqrt(np.maximum(squares.sum(axis=1) / 60.0 - mean60**2, 0.0))
    peak = windows[:, -60:].max(axis=1)
    levels = np.column_stack([windows[:, PAST - 1 - LAGS], mean5, mean60, mean240, peak])
    base = (usual + offset)[:, None]
    relative = np.column_stack([spread15, spread60, slope]) / base
    return np.concatenate([np.log((np.maximum(levels, 0.0) + offset) / base), relative], axis=1)


def clock(minute_of_day: IntArray) -> FloatArray:
    """Return four pairs of daily waves, shape (rows, 8)."""
    angle = 2.0 * np.pi * np.asarray(minute_of_day)[:, None] / MINUTES_PER_DAY * np.arange(1, 5)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def repeated(values: FloatArray, origins: IntArray, horizons: IntArray, offset: float) -> FloatArray:
    """Return what happened over the same span a day and a week before, shape (rows, 2); 0 where it is not known."""
    then = origins[:, None] - BACK
    known = then >= PAST
    start = np.where(known, then, PAST)[:, :, None]
    came = values[np.minimum(start + horizons[:, None, None] + AROUND, len(values) - 1)].mean(axis=2)
    before = values[np.minimum(start + PAST_HOUR, len(values) - 1)] @ USUAL_WEIGHTS
    return np.where(known, np.log((came + offset) / (before + offset)), 0.0)


def rows(values: FloatArray, first: int, origins: IntArray, horizon: int, offset: float) -> FloatArray:
    """Return one row of features per origin, for one horizon.

    Args:
        values: minutes without gaps.
        first: number (Unix time / 60) of the first of them.
        origins: index of the newest known minute of each row, >= PAST - 1.
        horizon: minutes ahead.
        offset: added before every logarithm, 5 % of the long-run mean.
    """
    windows = sliding_window_view(values, PAST)[origins - PAST + 1]
    return _joined(recent(windows, offset), values, first, origins, np.full(len(origins), horizon), offset)


def newest(values: FloatArray, first: int, horizons: IntArray, offset: float) -> FloatArray:
    """Return the row of the newest minute for each horizon: the same as ``rows``, cheaper for one origin.

    Minutes farther back than ``REACH`` do not matter.
    """
    shared = np.broadcast_to(recent(values[None, -PAST:], offset), (len(horizons), RECENT))
    return _joined(shared, values, first, np.full(len(horizons), len(values) - 1), horizons, offset)


RECENT = len(LAGS) + 7


def _joined(
    shared: FloatArray, values: FloatArray, first: int, origins: IntArray, horizons: IntArray, offset: float
) -> FloatArray:
    minute_of_day = (first + origins + horizons) % MINUTES_PER_DAY
    return np.concatenate([shared, clock(minute_of_day), repeated(values, origins, horizons, offset)], axis=1)
