"""What the last minutes say of the next ones: a regression on a few lags, learned online from the first half hour on.

    (y[t+h] - y[t]) / usual ~ sum_k w_hk * (y[t] - y[t-k]) / usual + w_h * (y[t] - usual) / usual

Ridge by least squares with forgetting, one per node. It learns how much of a change is noise that will be gone, how
much goes on, and waves of some minutes; knowing nothing it says that the present goes on. What lies before a level
shift is taken to have been at the new level: the jump itself tells nothing of what follows.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from autoscaler.forecast.memory import NODES, Memory
from autoscaler.performance.step import FloatArray

LAGS = (1, 2, 4, 8)
"""Minutes back."""

LONGEST = LAGS[-1]
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
    waiting: FloatArray = field(default_factory=lambda: np.full((SLOTS, FEATURES), np.nan))  # by minute modulo slots
    bases: FloatArray = field(default_factory=lambda: np.ones((SLOTS, 2)))  # level and usual level then
    name: str = "autoregression"
    needs: int = LONGEST + 2
    every: int = 1
    prior: float = 1.0

    def fit(self, memory: Memory) -> None:
        """Learn from the newest minute, and remember what will be learned of it."""
        end = memory.minutes.end
        self._learn(end - 1, memory.minutes.at(end - 1))
        level, usual = memory.latest, memory.share
        self.waiting[end % SLOTS] = np.nan  # of the minute after this one nothing is known yet
        self.waiting[(end - 1) % SLOTS] = _features(memory)
        self.bases[(end - 1) % SLOTS] = level, usual

    def _learn(self, minute: int, came: float) -> None:
        if math.isnan(came):
            return
        slots = (minute - LEAD) % SLOTS
        rows, (levels, usual) = self.waiting[slots], self.bases[slots].T
        known = ~np.isnan(rows[:, 0])
        rows = np.where(known[:, None], rows, 0.0)
        changes = np.minimum(np.maximum((came - levels) / usual, -LARGEST), LARGEST)
        faded = np.where(known, KEPT, 1.0)
        self.counts = faded * self.counts + known
        self.products = faded[:, None, None] * self.products + rows[:, :, None] * rows[:, None, :]
        self.outcomes = faded[:, None] * self.outcomes + rows * changes[:, None]
        size = self.products.reshape(len(NODES), -1)[:, :: FEATURES + 1].sum(axis=1) / FEATURES
        ridge = DOUBT * size / np.maximum(self.counts, 1.0) + 1e-9
        self.weights = np.linalg.solve(self.products + ridge[:, None, None] * ONES, self.outcomes[:, :, None])[:, :, 0]

    def predict(self, memory: Memory) -> FloatArray:
        """Return the level plus the change that the lags foretell; NaN where too little was learned."""
        said = memory.latest + memory.share * (self.weights @ _features(memory))
        return np.where(self.counts >= FEWEST, np.maximum(said, 0.0), np.nan)


def _features(memory: Memory) -> FloatArray:
    """Return how the last minute's mean differs from those before and from the usual level, in shares of the latter."""
    level, usual = memory.latest, memory.share
    past = memory.minutes.newest(LONGEST + 1).tolist()
    begun = 0.0 if memory.last is None else min(max(memory.last / 60.0 - memory.minutes.end, 0.0), 1.0)
    steady = int(memory.bank.settled_s // 60.0)  # minutes since the last level shift
    changes = [0.0] * len(LAGS)
    if steady > 0:
        places = [len(past) - min(lag, steady) for lag in LAGS]
        changes = [level - (1.0 - begun) * past[at - 1] - begun * past[min(at, len(past) - 1)] for at in places]
    return np.array([min(max(change / usual, -LARGEST), LARGEST) for change in (*changes, level - usual)])
