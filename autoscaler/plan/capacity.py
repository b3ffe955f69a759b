"""How well a number of replicas would serve a load: the share of each class's requests that keep their limit.

Two stages, one protocol: prefill by the tail of the wait before and the service of a prompt (TTFT), decode by the step
time of the batch that the load keeps running (ITL) and by the memory and sequences it needs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from autoscaler.domain.reason import Code
from autoscaler.domain.units import Seconds
from autoscaler.performance import admission, queueing, transient
from autoscaler.performance.step import ReplicaModel
from autoscaler.performance.transient import Loads
from autoscaler.plan.traffic import LENGTH_WEIGHTS, TrafficClass, lengths

FloatArray = NDArray[np.float64]


class Loaded(Protocol):
    """A stage under several levels of load, however many replicas share it."""

    @property
    def busy_replicas(self) -> FloatArray:
        """Return the replicas that each level would keep fully busy, shape (levels,): fewer can never do."""
        ...

    def attainment(self, replicas: int) -> FloatArray:
        """Return the share of each class's requests inside its limit with so many replicas, shape (levels, classes)."""
        ...


class Stage(Protocol):
    """One role of one model on one variant."""

    def under(self, tokens_per_s: FloatArray) -> Loaded:
        """Return this stage under levels of load, in this role's tokens per second, shape (levels, classes)."""
        ...

    def reachable(self) -> FloatArray:
        """Return the share of each class's requests that replicas without any other load would keep inside."""
        ...

    def binding(self, tokens_per_s: FloatArray) -> Code:
        """Return what limits this stage at a load of shape (classes,)."""
        ...


@dataclass(frozen=True, slots=True)
class PrefillStage:
    """Prefill: a prompt waits for a replica, is computed, handed over, and takes its first decode step."""

    model: ReplicaModel
    classes: Sequence[TrafficClass]
    patience_s: FloatArray  # how long a prompt may wait, by class and length; negative: too long on an idle replica
    window: Seconds  # that a decision has to serve before the next one can

    @classmethod
    def of(
        cls,
        model: ReplicaModel,
        classes: Sequence[TrafficClass],
        first_step_s: float,
        window: Seconds,
        *,
        hands_over: bool,
    ) -> "PrefillStage":
        """Take ``first_step_s`` (of decode) off every TTFT limit, and the hand-over where decode is elsewhere."""
        return cls(model, classes, np.array([_patience(model, c, first_step_s, hands_over) for c in classes]), window)

    def under(self, tokens_per_s: FloatArray) -> "LoadedPrefill":
        """Return this stage under levels of load (``Stage``).

        All classes together make one mixture of prompts, weighted by arrivals.
        """
        lengthy = np.array([c.uncached.mean for c in self.classes])
        unit = [self._unit(traffic) for traffic in self.classes]
        arrivals = np.divide(tokens_per_s, lengthy, out=np.zeros_like(tokens_per_s), where=lengthy > 0)
        total = np.maximum(arrivals.sum(axis=1), 1e-12)
        mean = arrivals @ np.array([load.service_mean_s for load in unit]) / total
        second = arrivals @ np.array([load.service_mean_s**2 * (1.0 + load.service_scv) for load in unit]) / total
        scatter = arrivals @ np.array([load.arrival_scv for load in unit]) / total
        return LoadedPrefill(
            self.patience_s,
            Loads(total * mean, mean * scatter + np.divide(second - mean**2, mean, out=0 * mean, where=mean > 0)),
            self.window,
        )

    def reachable(self) -> FloatArray:
        """Return the share of each class's prompts short enough for the limit (``Stage``)."""
        return np.asarray((self.patience_s > 0) @ LENGTH_WEIGHTS)

    def binding(self, tokens_per_s: FloatArray) -> Code:  # noqa: ARG002 - prefill knows one limit
        """Return that the wait for prefill limits this stage (``Stage``)."""
        return Code.TTFT_AT_RISK

    def _unit(self, traffic: TrafficClass) -> queueing.Load:
        """Return the load of one prompt of a class a second."""
        cached = max(0.0, traffic.prompt.mean - traffic.uncached.mean)
        return admission.prefill_load(self.model, 1.0, traffic.burstiness, traffic.uncached, cached)


def _patience(model: ReplicaModel, traffic: TrafficClass, first_step_s: float, hands_over: bool) -> FloatArray:  # noqa: FBT001
    prompt, uncached = lengths(traffic.prompt), lengths(traffic.uncached)
    own = model.prefill.latency_s(uncached, np.maximum(0.0, prompt - uncached)) + first_step_s
    if hands_over:
        own = own + model.handover.latency_s(prompt)
    return np.asarray(traffic.profile.slo.ttft - own)


@dataclass(frozen=True, slots=True)
class LoadedPrefill:
    """Prefill replicas under several levels of load."""

    patience_s: FloatArray  # shape (classes, lengths)
    loads: Loads
    window: Seconds

    @property
    def busy_replicas(self) -> FloatArray:
        """Return the replicas that computing the prompts keeps busy (``Loaded``)."""
        return self.loads.busy_servers

    def attainment(self, replicas: int) -> FloatArray:
        """Return the share of each class's requests whose first token comes inside its limit (``Loaded``)."""
        waits = np.maximum(self.patience_s, 0.0)
        late = transient.waiting_tail(self.loads, replicas, waits.ravel(), self.window)
        late = np.where(self.patience_s > 0, late.reshape(-1, *waits.shape), 1.0)
        return np.asarray(1.0 - late @ LENGTH_WEIGHTS)


@dataclass(frozen=True, slots=True)
class DecodeStage:
    """Decode: the load keeps a batch running on every replica, and the batch sets the step time."""

    model: ReplicaModel
    classes: Sequence[TrafficClass]

    def under(self, tokens_per_s: FloatArray) -> "LoadedDecode":
        """Return this stage under levels of load (``Stage``)."""
        return LoadedDecode(tuple(self._level(level) for level in tokens_per_s))

    def _level(self, tokens_per_s: FloatArray) -> "DecodeLevel":
        context = self._context(tokens_per_s)
        held = self._held(context)
        step, limits = self.model.step, [c.profile.slo.itl for c in self.classes]
        return DecodeLevel(
            model=self.model,
            tokens_per_s=float(tokens_per_s.sum()),
            context=context,
            held=held,
            room=np.array([min(step.largest_batch(itl, context), held) for itl in limits]),
            dispersion=self._dispersion(tokens_per_s),
        )

    def reachable(self) -> FloatArray:
        """Return 1 for each class whose limit at least a sequence alone on a replica keeps (``Stage``)."""
        alone = [self.model.step.largest_batch(c.profile.slo.itl, c.context_tokens) >= 1.0 for c in self.classes]
        return np.array(alone, dtype=np.float64)

    def binding(self, tokens_per_s: FloatArray) -> Code:
        """Return whether step time, KV memory or the engine's limit of sequences is reached first (``Stage``)."""
        context = self._context(tokens_per_s)
        limits = {
            Code.ITL_AT_RISK: min(self.model.step.largest_batch(c.profile.slo.itl, context) for c in self.classes),
            Code.KV_FULL: admission.KV_MARGIN * self.model.limits.kv_capacity_tokens / context,
            Code.SEQUENCES_FULL: float(self.model.limits.max_sequences),
        }
        return min(limits, key=lambda code: limits[code])

    def _context(self, tokens_per_s: FloatArray) -> float:
        """Return the mean context of a running sequence: classes count by the tokens they generate."""
        total = float(tokens_per_s.sum())
        own = np.array([c.context_tokens for c in self.classes])
        return max(1.0, float(own @ tokens_per_s) / total) if total > 0 else max(1.0, float(own.mean()))

    def _held(self, context: float) -> float:
        """Return how many sequences of a context a replica can hold at most."""
        limits = self.model.limits
        held = min(admission.KV_MARGIN * limits.kv_capacity_tokens / context, float(limits.max_sequences))
        return max(1.0, held)

    def _dispersion(self, tokens_per_s: FloatArray) -> float:
        """Return how much more the number of running requests varies than Poisson: half of what arrivals do."""
        total = float(tokens_per_s.sum())
        own = np.array([(1.0 + c.burstiness) / 2.0 for c in self.classes])
        return float(own @ tokens_per_s) / total if total > 0 else 1.0


@dataclass(frozen=True, slots=True)
class LoadedDecode:
    """Decode replicas under several levels of load."""

    levels: tuple["DecodeLevel", ...]

    @property
    def busy_replicas(self) -> FloatArray:
        """Return the replicas whose largest batch would just generate each level (``Loaded``)."""
        return np.array([level.busy_replicas for level in self.levels])

    def attainment(self, replicas: int) -> FloatArray:
        """Return the share of each class's requests whose mean ITL stays inside its limit (``Loaded``)."""
        return np.array([level.attainment(replicas) for level in self.levels])


@dataclass(frozen=True, slots=True)
class DecodeLevel:
    """Decode replicas under one load."""

    model: ReplicaModel
    tokens_per_s: float
    context: float
    held: float  # sequences that memory and engine allow on a replica
    room: FloatArray  # sequences on a replica with which each class keeps its limit
    dispersion: float

    @property
    def busy_replicas(self) -> float:
        """Return the replicas whose largest batch would just generate the load."""
        step_s = float(self.model.step.step_s(self.held, self.held * self.context))
        return self.tokens_per_s * step_s / self.held

    def attainment(self, replicas: int) -> FloatArray:
        """Return the share of each class's requests whose mean ITL stays inside its limit (``Loaded``)."""
        if self.tokens_per_s <= 0:
            return np.ones(len(self.room))
        rate = self.tokens_per_s / replicas
        batch = self._running(rate)
        if not batch < math.inf:
            return np.zeros(len(self.room))
        return np.asarray(ndtr((self.room + 0.5 - batch) / self._spread(batch, rate)))

    @property
    def _slope_s(self) -> float:
        return self.model.step.per_sequence_s + self.model.step.per_kv_token_s * self.context

    def _running(self, rate: float) -> float:
        """Return the batch at which one replica generates ``rate`` tokens per second; inf where none does.

        Fixed point of ``batch = rate * step(batch)``: unique, because the step is convex in the batch.
        """
        step = self.model.step
        batch = _fixed_point(step.base_s, self._slope_s, rate)
        if batch > step.knee_sequences:
            extra = step.per_sequence_beyond_knee_s
            batch = _fixed_point(step.base_s - extra * step.knee_sequences, self._slope_s + extra, rate)
        return batch

    def _spread(self, batch: float, rate: float) -> float:
        """Return the standard deviation of the batch that a request sees on average over its life.

        Running requests fluctuate like those of an infinite-server queue; a slower step keeps requests longer and so
        adds to its own cause; averaging over one's own life of about one correlation time takes a quarter off.
        """
        feedback = 1.0 / max(0.05, 1.0 - rate * self._slope_s)
        return math.sqrt(max(0.25, 0.74 * batch * self.dispersion * feedback))


def _fixed_point(base_s: float, slope_s: float, tokens_per_s: float) -> float:
    share = tokens_per_s * slope_s
    return tokens_per_s * base_s / (1.0 - share) if share < 1.0 else math.inf
