"""Forecasters that are trained: ridge regression and gradient boosting on relative targets.

Training is a value, ``TrainingJob``: the loop hands it out, anyone runs it anywhere (``job.run()``, bounded work on at
most a week), and the loop adopts the model that comes back. Until then the last good model speaks, or none. A model is
plain arrays, so that it can be written down and costs microseconds to ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from autoscaler.forecast import features
from autoscaler.forecast.memory import NODES, TRAINED, Memory
from autoscaler.forecast.minutes import MINUTES_PER_DAY, ShortFloatArray
from autoscaler.performance.step import FloatArray

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

TRAINED_ON = 7 * MINUTES_PER_DAY
LOOKS_BACK = 7 * MINUTES_PER_DAY + features.PAST
ByteArray: TypeAlias = NDArray[np.uint8]
LOG_NODES, LOG_TRAINED = np.log(NODES), np.log(TRAINED)
RETRAINED_EVERY = MINUTES_PER_DAY
THINNED = 2
"""Boosting learns from every second minute: neighbours say nearly the same, and it halves the time."""

UNSAID = (np.nan,) * len(NODES)

BOUND = 2.0
"""A relative forecast is at most exp(BOUND) times the usual level, or one over it."""


class Kind(StrEnum):
    """How a model learns."""

    RIDGE = "ridge"
    BOOSTING = "boosting"  # absolute error: the median
    BOOSTING_Q95 = "boosting-q95"  # quantile loss: a bound


NEEDS = {Kind.RIDGE: 2 * MINUTES_PER_DAY, Kind.BOOSTING: 4 * MINUTES_PER_DAY, Kind.BOOSTING_Q95: 4 * MINUTES_PER_DAY}
"""Minutes of history below which learning loses to averaging (forecasting.md section 8)."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights over raw features, one row per horizon."""

    weights: FloatArray  # (horizons, features)
    intercepts: FloatArray  # (horizons,)

    def __call__(self, rows: FloatArray) -> FloatArray:
        """Return log-ratios for one row of features per horizon, shape (horizons,)."""
        return np.asarray((self.weights * rows).sum(axis=1) + self.intercepts)


@dataclass(frozen=True, slots=True)
class Trees:
    """Regression trees of all horizons side by side, padded to equal size, walked together.

    A node's left child follows right behind it. A leaf asks for a feature behind the last, which is unknown, so it goes
    to its right child: itself.
    """

    horizon: ByteArray  # (trees,): which horizon a tree belongs to
    feature: ByteArray  # (trees, nodes)
    right: ByteArray  # (trees, nodes): the right child
    split: ShortFloatArray  # (trees, nodes): the threshold up to which it goes left; what a leaf is worth
    baseline: FloatArray  # (horizons,)
    depth: int

    def __call__(self, rows: FloatArray) -> FloatArray:
        """Return log-ratios for one row of features per horizon, shape (horizons,)."""
        trees = np.arange(len(self.horizon))
        rows = np.concatenate([rows, np.full((len(rows), 1), np.nan)], axis=1)
        at = np.zeros(len(trees), dtype=np.uint8)
        for _ in range(self.depth):
            goes_left = rows[self.horizon, self.feature[trees, at]] <= self.split[trees, at]
            at = np.where(goes_left, at + np.uint8(1), self.right[trees, at])
        sums = np.bincount(self.horizon, weights=self.split[trees, at], minlength=len(self.baseline))
        return np.asarray(self.baseline + sums)


@dataclass(frozen=True, slots=True)
class Model:
    """What a training job brings back."""

    kind: Kind
    trained_at: int  # number of the minute after the newest it has seen
    offset: float  # added before every logarithm
    linear: Linear | None
    trees: Trees | None

    def log_ratios(self, rows: FloatArray) -> FloatArray:
        """Return the expected logarithm of the ratio to the usual level, per trained horizon."""
        if self.trees is not None:
            return self.trees(rows)
        if self.linear is not None:
            return self.linear(rows)
        msg = f"a model of kind {self.kind} without weights"
        raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Training data of one model, taken at one moment; ``run`` may happen in any thread or process."""

    kind: Kind
    values: FloatArray  # filled minutes
    usable: NDArray[np.bool_]  # minutes that were seen, and no outage
    first: int

    def run(self) -> Model:
        """Return the trained model. Deterministic; about 10 ms (ridge) to a second (boosting)."""
        offset = max(0.05 * float(self.values.mean()), 1e-9)
        start = max(features.PAST - 1, len(self.values) - TRAINED_ON - max(TRAINED))
        tables: list[tuple[FloatArray, FloatArray]] = []
        for horizon in TRAINED:
            origins = np.arange(start, len(self.values) - horizon, 1 if self.kind is Kind.RIDGE else THINNED)
            origins = origins[self.usable[origins] & self.usable[origins + horizon]]
            table = features.rows(self.values, self.first, origins, horizon, offset)
            level = sliding_window_view(self.values, features.USUAL_SPAN)[origins - features.USUAL_SPAN + 1]
            level = level @ features.USUAL_WEIGHTS
            tables.append((table, np.log(self.values[origins + horizon] + offset) - np.log(level + offset)))
        end = self.first + len(self.values)
        if self.kind is Kind.RIDGE:
            return Model(self.kind, end, offset, linear=_ridge(tables), trees=None)
        return Model(self.kind, end, offset, linear=None, trees=_boosted(tables, self.kind))


def _ridge(tables: list[tuple[FloatArray, FloatArray]]) -> Linear:
    from sklearn.linear_model import Ridge  # noqa: PLC0415 - scikit-learn takes a second to import: only who trains pays
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - likewise

    weights, intercepts = [], []
    for table, target in tables:
        scaler = StandardScaler().fit(table)
        fitted = Ridge(alpha=30.0).fit(scaler.transform(table), target)
        raw = fitted.coef_ / scaler.scale_
        weights.append(raw)
        intercepts.append(float(fitted.intercept_ - raw @ scaler.mean_))
    return Linear(np.array(weights), np.array(intercepts))


def _boosted(tables: list[tuple[FloatArray, FloatArray]], kind: Kind) -> Trees:
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - as above
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn

    quantile = {"loss": "quantile", "quantile": 0.95} if kind is Kind.BOOSTING_Q95 else {"loss": "absolute_error"}
    with threadpool_limits(limits=1, user_api="openmp"):  # its threads spin: beside a busy loop that costs all cores
        fitted = [
            HistGradientBoostingRegressor(
                **quantile,
                max_iter=80,
                learning_rate=0.08,
                max_leaf_nodes=15,
                max_depth=6,
                min_samples_leaf=40,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=0,
            ).fit(table, target)
            for table, target in tables
        ]
    return flattened(fitted)


def flattened(fitted: "list[HistGradientBoostingRegressor]") -> Trees:
    """Return scikit-learn's trees as arrays (reads its private attributes; a test holds both to the same answers).

    Raises:
        ValueError: their nodes do not stand in the order in which they are walked.
    """
    trees = [(h, stage[0].nodes) for h, model in enumerate(fitted) for stage in model._predictors]  # noqa: SLF001
    shape = (len(trees), max(len(nodes) for _, nodes in trees))
    own = np.arange(shape[1], dtype=np.uint8)
    feature, right = np.full(shape, fitted[0].n_features_in_, np.uint8), np.tile(own, (shape[0], 1))
    split = np.zeros(shape, np.float32)
    for row, (_, nodes) in enumerate(trees):
        inner, size = nodes["is_leaf"] == 0, len(nodes)
        feature[row, :size] = np.where(inner, nodes["feature_idx"], fitted[0].n_features_in_)
        split[row, :size] = np.where(inner, _rounded_up(nodes["num_threshold"]), nodes["value"])
        right[row, :size] = np.where(inner, nodes["right"], own[:size])
        if (nodes["left"][inner] != np.flatnonzero(inner) + 1).any():
            msg = "this version of scikit-learn puts left children elsewhere than behind their parents; use 1.9"
            raise ValueError(msg)
    baseline = np.array([float(np.ravel(model._baseline_prediction)[0]) for model in fitted])  # noqa: SLF001
    depth = max(int(nodes["depth"].max()) for _, nodes in trees)
    return Trees(np.array([h for h, _ in trees], np.uint8), feature, right, split, baseline, depth)


def _rounded_up(thresholds: FloatArray) -> ShortFloatArray:
    """Return thresholds in single precision, never below: a value that equals one still goes left."""
    short = thresholds.astype(np.float32)
    return np.where(short < thresholds, np.nextafter(short, np.float32(np.inf)), short)


def training_job(kind: Kind, memory: Memory) -> TrainingJob:
    """Return the job that trains a model on what the memory holds now (a copy: the loop goes on)."""
    values = memory.minutes.whole
    tail = max(0, len(values) - TRAINED_ON - LOOKS_BACK)
    usable = ~np.isnan(memory.minutes.values[tail:])
    return TrainingJob(kind, values[tail:].copy(), usable, memory.minutes.first + tail)


@dataclass(slots=True)
class Learned:
    """An expert that speaks once it has a model."""

    kind: Kind
    model: Model | None = None
    expected: list[float] = field(default_factory=list)  # at each node, as of the last complete minute
    level_then: float = 1.0
    every: int = 1
    prior: float = 1.0

    @property
    def name(self) -> str:
        """Return the kind's name."""
        return str(self.kind)

    @property
    def needs(self) -> int:
        """Return the minutes of history that learning takes."""
        return NEEDS[self.kind]

    def due(self, minute: int) -> bool:
        """Tell whether a (new) model should be trained."""
        return self.model is None or minute - self.model.trained_at >= RETRAINED_EVERY

    @staticmethod
    def fit(several: Sequence["Learned"], memories: Sequence[Memory]) -> None:
        """Ask the models once a minute; their training runs off the loop."""
        for each, memory in zip(several, memories, strict=True):
            each._ask(memory)  # noqa: SLF001 - one of them

    @staticmethod
    def predict(several: Sequence["Learned"], memories: Sequence[Memory]) -> FloatArray:
        """Return what models said at the last minute, moved with the level since; NaN without a model."""
        return np.array(
            [
                [said * (memory.usual / each.level_then) for said in each.expected] or UNSAID
                for each, memory in zip(several, memories, strict=True)
            ]
        )

    def _ask(self, memory: Memory) -> None:
        if self.model is None or memory.minutes.count < features.PAST:
            return
        offset = self.model.offset
        table = memory.features(offset)
        ratios = np.interp(LOG_NODES, LOG_TRAINED, np.clip(self.model.log_ratios(table), -BOUND, BOUND))
        level = float(memory.minutes.newest(features.USUAL_SPAN) @ features.USUAL_WEIGHTS)
        self.expected = np.maximum(np.exp(ratios) * (level + offset) - offset, 0.0).tolist()
        self.level_then = memory.usual
