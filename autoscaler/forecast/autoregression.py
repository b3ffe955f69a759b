"""What the last minutes say of the next ones: a regression on a few lags, learned online from the first half hour on.

    (y[t+h] - y[t]) / usual ~ sum_k w_hk * (y[t] - y[t-k]) / usual + w_h * (y[t] - usual) / usual

Ridge by least squares with forgetting, one per node. It learns how much of a change is noise that will be gone, how
much goes on, and waves of some minutes; knowing nothing it says that the present goes on. What lies before a level
shift is taken to have been at the new level: the jump itself tells nothing of what follows. Many series learn and speak
together: arrays over many cost little more than over one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from autoscaler.forecast.memory import NODES, Memory
from autoscaler.forecast.minutes import ShortFloatArray
from autoscaler.performance.step import FloatArray

LAGS = np.array((1, 2, 4, 8))
"""Minutes back."""

LONGEST = int(LAGS[-1])
FEATURES = len(LAGS) + 1
KEPT = 0.5 ** (1.0 / 240.0)
"""By minute: what was learned counts half after four hours."""

DOUBT = 20.0
"""Minutes' worth of believing that the present goes on."""

FEWEST = 10
"""Outcomes at a node before it is spoken of."""

LARGEST = 1.0
"""Changes, in shares of the usual level, count as at most so much: one burst does not teach everything."""

LEAD = np.array(NODES)
ONES = np.eye(FEATURES)
SLOTS = max(NODES) + 1


@dataclass(slots=True)
class Autoregression:
    """Weights of the lags at each node, and what they were learned from."""

    products: FloatArray = field(default_factory=lambda: np.zeros((len(NODES), FEATURES, FEATURES)))
    outcomes: FloatArray = field(default_factory=lambda: np.zeros((len(NODES), FEATURES)))
    counts: FloatArray = field(default_factory=lambda: np.zeros(len(NODES)))  # discounted
    weights: FloatArray = field(default_factory=lambda: np.zeros((len(NODES), FEATURES)))
    # by minute modulo slots: features, and the level and the usual level then
    waiting: ShortFloatArray = field(default_factory=lambda: np.full((SLOTS, FEATURES), np.nan, np.float32))
    bases: ShortFloatArray = field(default_factory=lambda: np.ones((SLOTS, 2), np.float32))
    name: str = "autoregression"
    needs: int = LONGEST + 2
    every: int = 1
    prior: float = 1.0

    @staticmethod
    def fit(several: Sequence["Autoregression"], memories: Sequence[Memory]) -> None:
        """Learn from the newest minute, the same of each, and remember what will be learned of it."""
        end = memories[0].minutes.end
        _learn(several, end - 1, np.array([memory.minutes.at(end - 1) for memory in memories]))
        now, unknown = (end - 1) % SLOTS, end % SLOTS
        for each, row, *base in zip(several, _features(memories), *_levels(memories), strict=True):
            each.waiting[unknown] = np.nan  # of the minute after this one nothing is known yet
            each.waiting[now], each.bases[now] = row, base

    @staticmethod
    def predict(several: Sequence["Autoregression"], memories: Sequence[Memory]) -> FloatArray:
        """Return the level plus the change that the lags foretell, by node; NaN where too little was learned."""
        level, usual = _levels(memories)
        weights = np.array([each.weights for each in several])
        said = level[:, None] + usual[:, None] * (weights @ _features(memories)[:, :, None])[:, :, 0]
        known = np.array([each.counts for each in several]) >= FEWEST
        return np.where(known, np.maximum(said, 0.0), np.nan)


def _learn(several: Sequence[Autoregression], minute: int, came: FloatArray) -> None:
    slots = (minute - LEAD) % SLOTS
    rows = np.array([each.waiting for each in several], np.float64)[:, slots]
    levels, usual = np.moveaxis(np.array([each.bases for each in several], np.float64)[:, slots], -1, 0)
    known = ~np.isnan(rows[:, :, 0]) & ~np.isnan(came)[:, None]
    rows = np.where(known[:, :, None], rows, 0.0)
    changes = np.where(known, np.clip((came[:, None] - levels) / usual, -LARGEST, LARGEST), 0.0)
    faded = np.where(known, KEPT, 1.0)
    counts = faded * np.array([each.counts for each in several]) + known
    products = faded[:, :, None, None] * np.array([each.products for each in several])
    products += rows[:, :, :, None] * rows[:, :, None, :]
    outcomes = faded[:, :, None] * np.array([each.outcomes for each in several]) + rows * changes[:, :, None]
    size = np.trace(products, axis1=2, axis2=3) / FEATURES
    ridge = DOUBT * size / np.maximum(counts, 1.0) + 1e-9
    weights = np.linalg.solve(products + ridge[:, :, None, None] * ONES, outcomes[:, :, :, None])[:, :, :, 0]
    for each, *learned in zip(several, products, outcomes, counts, weights, strict=True):
        each.products[:], each.outcomes[:], each.counts[:], each.weights[:] = learned


def _levels(memories: Sequence[Memory]) -> tuple[FloatArray, FloatArray]:
    """Return the present and the usual level of each series."""
    return np.array([memory.latest for memory in memories]), np.array([memory.share for memory in memories])


def _features(memories: Sequence[Memory]) -> FloatArray:
    """Return how the last minute's mean differs from those before and from the usual level, in shares of the latter.

    Shape (series, FEATURES); each has seen at least ``needs`` minutes.
    """
    level, usual = (values[:, None] for values in _levels(memories))
    past = np.array([memory.minutes.newest(LONGEST + 1) for memory in memories])
    begun = np.array([[(memory.last or 0.0) / 60.0 - memory.minutes.end] for memory in memories]).clip(0.0, 1.0)
    # minutes since the last level shift
    steady = np.array([[memory.bank.settled_s // 60.0] for memory in memories]).clip(0, LONGEST).astype(np.int64)
    places = LONGEST + 1 - np.minimum(LAGS, steady)
    before = np.take_along_axis(past, places - 1, axis=1)
    since = np.take_along_axis(past, np.minimum(places, LONGEST), axis=1)
    changes = np.where(steady > 0, level - (1.0 - begun) * before - begun * since, 0.0)
    return np.clip(np.concatenate([changes, level - usual], axis=1) / usual, -LARGEST, LARGEST)
