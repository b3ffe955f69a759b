"""Whom to believe: expert weights by recent loss at each node, so that the best expert is matched on every series.

    w_k ~ exp(-eta * (loss_k / min_j loss_j - 1)),   then a fixed share for all       (Herbster and Warmuth 1998)

The loss is discounted over two half-lives and the weights of both are averaged: the short one turns within hours,
the long one does not follow noise. A loss counts when its minute has come, never before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.forecast.memory import NODES
from autoscaler.forecast.minutes import IntArray, ShortFloatArray
from autoscaler.performance.step import FloatArray

HALF_LIVES = (240.0, 2880.0)
"""Minutes after which a loss counts half."""

ETA = 24.0
SHARE = 0.01
LEAD = np.array(NODES)
DOUBT = 10.0 * LEAD
"""So many minutes of losses, by node, are taken from the priors: the first few decide little, and errors of forecasts
that reach far ahead overlap, so that ten minutes of them are hardly one."""

SLOTS = int(LEAD.sum())
"""A forecast for so many minutes ahead waits as long, so each node has that many slots, behind those of nearer ones."""

FIRST_SLOTS = np.cumsum(LEAD) - LEAD


@dataclass(slots=True)
class Mixture:
    """Weights of several experts at each node."""

    losses: FloatArray  # (half-lives, experts, nodes): discounted sums
    counts: FloatArray  # (half-lives, experts, nodes): discounted numbers of losses
    waiting: ShortFloatArray  # (slots, experts): forecasts by node, and minute modulo the node's lead; NaN: none
    weights: FloatArray  # (experts, nodes)
    priors: FloatArray  # (experts,)

    @classmethod
    def of(cls, priors: Sequence[float]) -> "Mixture":
        """Return a mixture that has heard nobody yet.

        Args:
            priors: for each expert its loss before there is any, relative to that of the others.
        """
        experts = len(priors)
        shape = (len(HALF_LIVES), experts, len(NODES))
        waiting = np.full((SLOTS, experts), np.nan, np.float32)
        return cls(np.zeros(shape), np.zeros(shape), waiting, np.full(shape[1:], 1.0 / experts), np.array(priors))

    def issue(self, minute: int, forecasts: FloatArray) -> None:
        """Remember what each expert expects; ``minute`` is the first that is not known yet; NaN: no opinion."""
        self.waiting[_slots(minute)] = forecasts.T
        self._weigh(~np.isnan(forecasts))

    def settle(self, minute: int, came: float) -> None:
        """Take in the load of a minute; a gap (NaN) settles nothing."""
        slots = _slots(minute + 1)  # a lead later each node comes to the same one
        issued = self.waiting[slots].T
        if not math.isnan(came):
            losses = np.abs(issued - came)
            known = ~np.isnan(losses)
            for i, half_life in enumerate(HALF_LIVES):
                kept = 0.5 ** (1.0 / half_life)
                self.losses[i] = np.where(known, kept * self.losses[i] + np.where(known, losses, 0.0), self.losses[i])
                self.counts[i] = np.where(known, kept * self.counts[i] + 1.0, self.counts[i])
        self.waiting[slots] = np.nan  # nothing issued yet for the minutes after this one

    def forget(self) -> None:
        """Drop what waits for its truth: behind a gap longer than any lead it was said of other minutes."""
        self.waiting[:] = np.nan

    def _weigh(self, speaking: NDArray[np.bool_]) -> None:
        typical = self.losses.sum(axis=1, keepdims=True) / np.maximum(self.counts.sum(axis=1, keepdims=True), 1e-9)
        means = (self.losses + DOUBT * typical * self.priors[:, None]) / (self.counts + DOUBT)
        best = np.where(speaking, means, np.inf).min(axis=1, keepdims=True)
        raw = np.where(speaking, np.exp(-ETA * (means / np.maximum(best, 1e-12) - 1.0)), 0.0)
        fair = speaking / np.maximum(speaking.sum(axis=0), 1)
        shares = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-300)
        self.weights = (1.0 - SHARE) * shares.mean(axis=0) + SHARE * fair

    def combine(self, forecasts: FloatArray) -> FloatArray:
        """Return the weighted mean of the experts that speak, shape (nodes,); NaN where none does."""
        silent = np.isnan(forecasts)
        weights = np.where(silent, 0.0, self.weights)
        total = weights.sum(axis=0)
        said = (weights * np.where(silent, 0.0, forecasts)).sum(axis=0)
        return np.asarray(np.divide(said, total, out=np.full_like(total, np.nan), where=total > 0))


def _slots(minute: int) -> IntArray:
    """Return where forecasts wait that are made when ``minute`` is the first not known yet, by node."""
    return np.asarray(FIRST_SLOTS + minute % LEAD)
