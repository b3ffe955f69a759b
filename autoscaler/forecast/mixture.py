"""Whom to believe: expert weights by recent loss at each node, so that the best expert is matched on every series.

    w_k ~ exp(-eta * (loss_k / min_j loss_j - 1)),   then a fixed share for all       (Herbster and Warmuth 1998)

The loss is discounted over two half-lives and the weights of both are averaged: the short one turns within hours,
the long one does not follow noise. A loss counts when its minute has come, never before. Series are weighed together:
arrays over many cost little more than over one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.forecast.memory import NODES
from autoscaler.forecast.minutes import IntArray, ShortFloatArray
from autoscaler.performance.step import FloatArray

HALF_LIVES = (240.0, 2880.0)
"""Minutes after which a loss counts half."""

KEPT = np.array([0.5 ** (1.0 / half_life) for half_life in HALF_LIVES])[:, None, None]
"""What is left of a loss after a minute."""

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

    def forget(self) -> None:
        """Drop what waits for its truth: behind a gap longer than any lead it was said of other minutes."""
        self.waiting[:] = np.nan


def issue(mixtures: Sequence[Mixture], minute: int, forecasts: FloatArray) -> None:
    """Remember what each expert expects, and weigh those that do.

    Args:
        mixtures: of several series, with as many experts each.
        minute: the first that is not known yet.
        forecasts: shape (mixtures, experts, nodes); NaN: no opinion.
    """
    slots = _slots(minute)
    for mixture, said in zip(mixtures, forecasts.swapaxes(1, 2), strict=True):
        mixture.waiting[slots] = said
    _weigh(mixtures, ~np.isnan(forecasts))


def settle(mixtures: Sequence[Mixture], minute: int, came: FloatArray) -> None:
    """Take in the load of a minute, shape (mixtures,); a gap (NaN) settles nothing."""
    slots = _slots(minute + 1)  # a lead later each node comes to the same one
    issued = np.array([mixture.waiting for mixture in mixtures])[:, slots].swapaxes(1, 2)
    errors = np.abs(issued - came[:, None, None])[:, None]
    known, (losses, counts) = ~np.isnan(errors), _sums(mixtures)
    losses = np.where(known, KEPT * losses + errors, losses)
    counts = np.where(known, KEPT * counts + 1.0, counts)
    for mixture, lost, counted in zip(mixtures, losses, counts, strict=True):
        mixture.losses[:], mixture.counts[:] = lost, counted
        mixture.waiting[slots] = np.nan  # nothing issued yet for the minutes after this one


def combined(mixtures: Sequence[Mixture], forecasts: FloatArray) -> FloatArray:
    """Return the weighted mean of the experts that speak, shape (mixtures, nodes); NaN where none does."""
    silent = np.isnan(forecasts)
    weights = np.where(silent, 0.0, np.array([mixture.weights for mixture in mixtures]))
    total = weights.sum(axis=1)
    said = (weights * np.where(silent, 0.0, forecasts)).sum(axis=1)
    return np.asarray(np.divide(said, total, out=np.full_like(total, np.nan), where=total > 0))


def _weigh(mixtures: Sequence[Mixture], speaking: NDArray[np.bool_]) -> None:
    losses, counts = _sums(mixtures)
    priors = np.array([mixture.priors for mixture in mixtures])[:, None, :, None]
    typical = losses.sum(axis=2, keepdims=True) / np.maximum(counts.sum(axis=2, keepdims=True), 1e-9)
    means = (losses + DOUBT * typical * priors) / (counts + DOUBT)
    heard = speaking[:, None]
    best = np.where(heard, means, np.inf).min(axis=2, keepdims=True)
    raw = np.where(heard, np.exp(-ETA * (means / np.maximum(best, 1e-12) - 1.0)), 0.0)
    fair = speaking / np.maximum(speaking.sum(axis=1, keepdims=True), 1)
    shares = raw / np.maximum(raw.sum(axis=2, keepdims=True), 1e-300)
    weights = (1.0 - SHARE) * shares.mean(axis=1) + SHARE * fair
    for mixture, weight in zip(mixtures, weights, strict=True):
        mixture.weights[:] = weight


def _sums(mixtures: Sequence[Mixture]) -> tuple[FloatArray, FloatArray]:
    """Return losses and counts, shape (mixtures, half-lives, experts, nodes)."""
    return np.array([mixture.losses for mixture in mixtures]), np.array([mixture.counts for mixture in mixtures])


def _slots(minute: int) -> IntArray:
    """Return where forecasts wait that are made when ``minute`` is the first not known yet, by node."""
    return np.asarray(FIRST_SLOTS + minute % LEAD)
