"""Loads that are either off or on: a batch job, a nightly extraction, a team that tests by the hour.

Relative errors explode where the level is almost nothing. Such a series is described by two states instead: how often
it comes on within a time ahead, and how high it is then.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from autoscaler.forecast.memory import NODES
from autoscaler.performance.step import FloatArray

OFF_BELOW = 0.05
"""A minute below this share of the on-level is off."""

OFTEN_OFF = 0.2
"""A series that is off in more than this share of minutes is on/off."""

HISTORY = 180
"""Minutes below which nothing is said of a series' states."""

LEVELS = (0.5, 0.9, 0.95, 0.99, 0.995)
"""Quantiles of the load while on."""


@dataclass(slots=True)
class OnOff:
    """The two states of a series, taken from its past once an hour."""

    applies: bool = False
    threshold: float = 0.0  # below: off
    comes_on: list[float] = field(default_factory=list)  # probability, per node, to be on at some minute until then
    on_then: list[float] = field(default_factory=list)  # probability, per node, to be on at that minute
    on_levels: list[float] = field(default_factory=list)  # at LEVELS
    highest: float = math.inf  # the largest minute of the past
    on_level: float = 0.0

    def learn(self, minutes: FloatArray) -> None:
        """Take the states from past minutes (NaN: a gap)."""
        seen = minutes[~np.isnan(minutes)]
        self.applies = False
        if len(seen) < HISTORY or not (seen > 0).any():
            return
        self.threshold = OFF_BELOW * float(np.quantile(seen[seen > 0.0], 0.9))
        on = seen > self.threshold
        self.on_level = float(np.quantile(seen[on], 0.9))
        self.highest = float(seen[-7 * 1440 :].max())
        self.on_levels = np.quantile(seen[on], LEVELS).tolist()
        off_share = 1.0 - float(on.mean())
        starts = int((on[1:] & ~on[:-1]).sum())
        # a load that was born once or died once has no states to learn
        self.applies = off_share > OFTEN_OFF and starts >= 2
        self.comes_on = [_on_within(on, 1, node) for node in NODES]
        self.on_then = [_on_within(on, node, node) for node in NODES]

    def is_off(self, level: float) -> bool:
        """Tell whether a load of two states is off now."""
        return self.applies and level < self.threshold

    def bound(self, probability: float, minutes: float, level: float, *, highest: bool) -> float:
        """Return a quantile for a series that is off now at ``level``.

        Args:
            probability: which quantile.
            minutes: how far ahead.
            level: the load now.
            highest: of the highest load until then, else of the load then.
        """
        chance = float(np.interp(minutes, NODES, self.comes_on if highest else self.on_then))
        if chance <= 1.0 - probability:
            return level
        return max(level, float(np.interp(1.0 - (1.0 - probability) / chance, LEVELS, self.on_levels)))


def _on_within(on: np.ndarray[tuple[int], np.dtype[np.bool_]], first: int, last: int) -> float:
    """Return the share of off-minutes that are followed by an on-minute ``first`` to ``last`` minutes later."""
    counts = np.concatenate([[0], np.cumsum(on)])
    origins = np.flatnonzero(~on[: len(on) - last])
    if not len(origins):
        return 0.0
    return float((counts[origins + last + 1] > counts[origins + first]).mean())
