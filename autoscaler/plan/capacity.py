"""How well a number of replicas would serve a load: the share of each class's requests that keep their limit.

Two stages, one protocol: prefill by the tail of the wait before and the service of a prompt (TTFT), decode by the step
time of the batch that the load keeps running (ITL) and by the memory and sequences it needs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from autoscaler.domain.observation import Moments
from autoscaler.domain.reason import Code
from autoscaler.domain.units import Seconds
from autoscaler.performance import admission, transient
from autoscaler.performance.step import ReplicaModel
from autoscaler.performance.transient import Loads
from autoscaler.plan.traffic import LENGTH_WEIGHTS, TrafficClass, lengths

FloatArray = NDArray[np.float64]
Counts: TypeAlias = FloatArray | int
"""Replicas: as many at all levels, or at each its own, shape (levels,)."""


class Loaded(Protocol):
    """A stage under several levels of load, however many replicas share it: a table with a row for each (``rows``)."""

    @property
    def busy_replicas(self) -> FloatArray:
        """Return the replicas that each level would keep fully busy, shape (levels,): fewer can never do."""
        ...

    def attainment(self, replicas: Counts) -> FloatArray:
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
class Patience:
    """How long prompts may wait, by class and length, at each level: arrays of shape (levels, classes, lengths)."""

    waits_s: FloatArray  # not negative
    shares: FloatArray  # of a class's prompts; 0 where an idle replica already takes too long

    @classmethod
    def of(cls, left_s: FloatArray) -> "Patience":
        """Take the time left by class and length, the same at all levels; negative: too long on an idle replica."""
        return cls(np.maximum(0.0, left_s)[None], np.where(left_s > 0, LENGTH_WEIGHTS, 0.0)[None])

    def at(self, levels: int) -> "Patience":
        """Return the patience at so many levels."""
        return Patience(np.repeat(self.waits_s, levels, axis=0), np.repeat(self.shares, levels, axis=0))

    def kept(self, loads: Loads, replicas: Counts, window: Seconds) -> FloatArray:
        """Return the share of each class's prompts that wait no longer, shape (levels, classes)."""
        waits_s = self.waits_s.reshape(len(self.waits_s), -1)
        late = transient.waiting_tail(loads, replicas, waits_s, window).reshape(self.waits_s.shape)
        return np.asarray(((1.0 - late) * self.shares).sum(axis=2))


@dataclass(frozen=True, slots=True)
class PrefillStage:
    """Prefill: a prompt waits for a replica, is computed, handed over, and takes its first decode step."""

    model: ReplicaModel
    classes: Sequence[TrafficClass]
    patience: Patience
    window: Seconds  # that a decision has to serve before the next one can
    prompts_s: Sequence[Moments]  # replica seconds of one prompt of each class
    queues: bool = True  # False: prompts wait only where they come faster than they are computed

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
        patience = Patience.of(_left_s(model, classes, first_step_s, hands_over=hands_over))
        return cls(model, classes, patience, window, tuple(_prompt_s(model, c) for c in classes))

    def under(self, tokens_per_s: FloatArray) -> "LoadedPrefill":
        """Return this stage under levels of load (``Stage``).

        All classes together make one mixture of prompts, weighted by arrivals.
        """
        lengthy = np.array([c.uncached.mean for c in self.classes])
        arrivals = np.divide(tokens_per_s, lengthy, out=np.zeros_like(tokens_per_s), where=lengthy > 0)
        total = np.maximum(arrivals.sum(axis=1), 1e-12)
        each = np.array([(s.mean, s.second, c.burstiness) for s, c in zip(self.prompts_s, self.classes, strict=True)])
        mean, second, scatter = (arrivals @ each).T / total
        return LoadedPrefill(
            self.patience.at(len(total)),
            Loads(total * mean, mean * scatter + np.divide(second - mean**2, mean, out=0 * mean, where=mean > 0)),
            self.window,
            self.queues,
        )

    def reachable(self) -> FloatArray:
        """Return the share of each class's prompts short enough for the limit (``Stage``)."""
        return np.asarray(self.patience.shares[0].sum(axis=1))

    def binding(self, tokens_per_s: FloatArray) -> Code:  # noqa: ARG002 - prefill knows one limit
        """Return that the wait for prefill limits this stage (``Stage``)."""
        return Code.TTFT_AT_RISK


def _prompt_s(model: ReplicaModel, traffic: TrafficClass) -> Moments:
    return admission.prompt_time(model, traffic.uncached, max(0.0, traffic.prompt.mean - traffic.uncached.mean))


def _left_s(
    model: ReplicaModel, classes: Sequence[TrafficClass], first_step_s: float, *, hands_over: bool
) -> FloatArray:
    """Return what the TTFT limit leaves for waiting, by class and length."""
    prompt = np.array([lengths(c.prompt) for c in classes])
    uncached = np.array([lengths(c.uncached) for c in classes])
    own = model.prefill.latency_s(uncached, np.maximum(0.0, prompt - uncached)) + first_step_s
    if hands_over:
        own = own + model.handover.latency_s(prompt)
    return np.array([[c.profile.slo.ttft] for c in classes]) - own


@dataclass(frozen=True, slots=True)
class LoadedPrefill:
    """Prefill replicas under several levels of load."""

    patience: Patience
    loads: Loads
    window: Seconds
    queues: bool

    @property
    def busy_replicas(self) -> FloatArray:
        """Return the replicas that computing the prompts keeps busy (``Loaded``)."""
        return self.loads.busy_servers

    def attainment(self, replicas: Counts) -> FloatArray:
        """Return the share of each class's requests whose first token comes inside its limit (``Loaded``)."""
        if self.queues:
            return self.patience.kept(self.loads, replicas, self.window)
        return np.asarray(np.where(self.busy_replicas > replicas, 0.0, 1.0)[:, None] * self.patience.shares.sum(axis=2))


@dataclass(frozen=True, slots=True)
class DecodeStage:
    """Decode: the load keeps a batch running on every replica, and the batch sets the step time."""

    model: ReplicaModel
    classes: Sequence[TrafficClass]

    def under(self, tokens_per_s: FloatArray) -> "LoadedDecode":
        """Return this stage under levels of load (``Stage``)."""
        step, total = self.model.step, tokens_per_s.sum(axis=1)
        context, dispersion = self._mixed(tokens_per_s, total).T
        held = self._held(context)
        room = [[step.largest_batch(c.profile.slo.itl, own) for c in self.classes] for own in context.tolist()]
        return LoadedDecode(
            tokens_per_s=total,
            context=context,
            base_s=np.full_like(total, step.base_s),
            slope_s=step.per_sequence_s + step.per_kv_token_s * context,
            knee=np.full_like(total, step.knee_sequences),
            steeper_s=np.full_like(total, step.per_sequence_beyond_knee_s),
            held=held,
            room=np.minimum(room, held[:, None]),
            dispersion=dispersion,
            busy_replicas=total * step.step_s(held, held * context) / held,
        )

    def reachable(self) -> FloatArray:
        """Return 1 for each class whose limit at least a sequence alone on a replica keeps (``Stage``)."""
        alone = [self.model.step.largest_batch(c.profile.slo.itl, c.context_tokens) >= 1.0 for c in self.classes]
        return np.array(alone, dtype=np.float64)

    def binding(self, tokens_per_s: FloatArray) -> Code:
        """Return whether step time, KV memory or the engine's limit of sequences is reached first (``Stage``)."""
        context = float(self._mixed(tokens_per_s[None, :], tokens_per_s.sum(keepdims=True))[0, 0])
        limits = {
            Code.ITL_AT_RISK: min(self.model.step.largest_batch(c.profile.slo.itl, context) for c in self.classes),
            Code.KV_FULL: admission.KV_MARGIN * self.model.limits.kv_capacity_tokens / context,
            Code.SEQUENCES_FULL: float(self.model.limits.max_sequences),
        }
        return min(limits, key=lambda code: limits[code])

    def _mixed(self, tokens_per_s: FloatArray, total: FloatArray) -> FloatArray:
        """Return the mean context of a running sequence and the dispersion by level, shape (levels, 2).

        Classes count by the tokens they generate. Dispersion is how much more the number of running requests varies
        than Poisson: half of what arrivals do.
        """
        own = [(c.context_tokens, (1.0 + c.burstiness) / 2.0) for c in self.classes]
        idle = (sum(context for context, _ in own) / len(own), 1.0)
        mixed = np.full((len(total), 2), idle)
        np.divide(tokens_per_s @ np.array(own), total[:, None], out=mixed, where=total[:, None] > 0)
        return np.asarray(np.maximum((1.0, 0.0), mixed))

    def _held(self, context: FloatArray) -> FloatArray:
        """Return how many sequences of each context a replica can hold at most."""
        limits = self.model.limits
        held = np.minimum(admission.KV_MARGIN * limits.kv_capacity_tokens / context, float(limits.max_sequences))
        return np.asarray(np.maximum(1.0, held))


@dataclass(frozen=True, slots=True)
class LoadedDecode:
    """Decode replicas under several levels of load: arrays of shape (levels,), ``room`` of (levels, classes)."""

    tokens_per_s: FloatArray
    context: FloatArray
    base_s: FloatArray  # of a step
    slope_s: FloatArray  # that a sequence adds to it
    knee: FloatArray  # sequences beyond which each adds more
    steeper_s: FloatArray  # by so much
    held: FloatArray  # sequences that memory and engine allow on a replica
    room: FloatArray  # sequences on a replica with which each class keeps its limit
    dispersion: FloatArray
    busy_replicas: FloatArray
    """The replicas whose largest batch would just generate each level (``Loaded``)."""

    def attainment(self, replicas: Counts) -> FloatArray:
        """Return the share of each class's requests whose mean ITL stays inside its limit (``Loaded``)."""
        rate = self.tokens_per_s / replicas
        batch = self._running(rate)
        runs = np.isfinite(batch)
        known = np.where(runs, batch, 0.0)[:, None]
        inside = ndtr((self.room + 0.5 - known) / self._spread(known[:, 0], rate * self.slope_s)[:, None])
        return np.asarray(np.where(self.tokens_per_s[:, None] > 0, np.where(runs[:, None], inside, 0.0), 1.0))

    def _running(self, rate: FloatArray) -> FloatArray:
        """Return the batch at which one replica generates ``rate`` tokens per second; inf where none does.

        Fixed point of ``batch = rate * step(batch)``: unique, because the step is convex in the batch.
        """
        batch = _fixed_point(self.base_s, self.slope_s, rate)
        beyond = batch > self.knee
        if not beyond.any():
            return batch
        base_s = self.base_s - self.steeper_s * np.where(beyond, self.knee, 0.0)
        return np.where(beyond, _fixed_point(base_s, self.slope_s + self.steeper_s, rate), batch)

    def _spread(self, batch: FloatArray, share: FloatArray) -> FloatArray:
        """Return the standard deviation of the batch that a request sees on average over its life.

        Running requests fluctuate like those of an infinite-server queue; a slower step keeps requests longer and so
        adds to its own cause; averaging over one's own life of about one correlation time takes a quarter off.
        """
        feedback = 1.0 / np.maximum(0.05, 1.0 - share)
        return np.asarray(np.sqrt(np.maximum(0.25, 0.74 * batch * self.dispersion * feedback)))


def _fixed_point(base_s: FloatArray, slope_s: FloatArray, tokens_per_s: FloatArray) -> FloatArray:
    spare = 1.0 - tokens_per_s * slope_s
    return np.asarray(np.divide(tokens_per_s * base_s, spare, out=np.full_like(spare, math.inf), where=spare > 0))
