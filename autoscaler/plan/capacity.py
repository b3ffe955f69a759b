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
from autoscaler.performance import admission, queueing
from autoscaler.performance.step import ReplicaModel
from autoscaler.plan.traffic import LENGTH_WEIGHTS, TrafficClass, lengths

FloatArray = NDArray[np.float64]


class Stage(Protocol):
    """One role of one model on one variant."""

    def attainment(self, replicas: int, tokens_per_s: FloatArray) -> FloatArray:
        """Return the share of each class's requests inside its limit.

        Args:
            replicas: replicas that serve, >= 1.
            tokens_per_s: load of each class in this role's tokens, shape (classes,).

        Returns:
            Shape (classes,), each in [0, 1].
        """
        ...

    def busy_replicas(self, tokens_per_s: FloatArray) -> float:
        """Return the replicas that the load would keep fully busy: fewer can never do."""
        ...

    def binding(self, tokens_per_s: FloatArray) -> Code:
        """Return what limits this stage at such a load."""
        ...


@dataclass(frozen=True, slots=True)
class PrefillStage:
    """Prefill: a prompt waits for a replica, is computed, handed over, and takes its first decode step."""

    model: ReplicaModel
    classes: Sequence[TrafficClass]
    first_step_s: float  # of decode, part of what the user sees as TTFT
    hands_over: bool = True  # False: the same engine goes on to decode

    def attainment(self, replicas: int, tokens_per_s: FloatArray) -> FloatArray:
        """Return the share of each class's requests whose first token comes inside its limit (``Stage``)."""
        load = self._load(tokens_per_s)
        return np.array([self._kept(traffic, load, replicas) for traffic in self.classes])

    def busy_replicas(self, tokens_per_s: FloatArray) -> float:
        """Return the replicas that computing the prompts keeps busy (``Stage``)."""
        return self._load(tokens_per_s).busy_servers

    def binding(self, tokens_per_s: FloatArray) -> Code:  # noqa: ARG002 - prefill knows one limit
        """Return that the wait for prefill limits this stage (``Stage``)."""
        return Code.TTFT_AT_RISK

    def _kept(self, traffic: TrafficClass, load: queueing.Load, replicas: int) -> float:
        late = [queueing.waiting_tail(load, replicas, wait) if wait > 0 else 1.0 for wait in self._patience(traffic)]
        return 1.0 - float(LENGTH_WEIGHTS @ np.array(late))

    def _patience(self, traffic: TrafficClass) -> list[float]:
        """Return how long prompts of each length may wait, in seconds; negative: too long even on an idle replica."""
        prompt, uncached = lengths(traffic.prompt), lengths(traffic.uncached)
        own = self.model.prefill.latency_s(uncached, np.maximum(0.0, prompt - uncached)) + self.first_step_s
        if self.hands_over:
            own = own + self.model.handover.latency_s(prompt)
        return [float(wait) for wait in traffic.profile.slo.ttft - own]

    def _load(self, tokens_per_s: FloatArray) -> queueing.Load:
        """Return what all classes together ask of the replicas: their mixture, weighted by arrivals."""
        parts = [self._part(c, float(rate)) for c, rate in zip(self.classes, tokens_per_s, strict=True) if rate > 0]
        arrivals = sum(part.arrivals_per_second for part in parts)
        if arrivals <= 0:
            return queueing.Load(0.0, 1.0, 0.0, 0.0)
        shares = np.array([part.arrivals_per_second for part in parts]) / arrivals
        means = np.array([part.service_mean_s for part in parts])
        seconds = means**2 * (1.0 + np.array([part.service_scv for part in parts]))
        mean = float(shares @ means)
        return queueing.Load(
            arrivals_per_second=arrivals,
            arrival_scv=float(shares @ np.array([part.arrival_scv for part in parts])),
            service_mean_s=mean,
            service_scv=max(0.0, float(shares @ seconds) / mean**2 - 1.0),
            step_requests=1.0 / float(shares @ (1.0 / np.array([part.step_requests for part in parts]))),
        )

    def _part(self, traffic: TrafficClass, tokens_per_s: float) -> queueing.Load:
        arrivals = tokens_per_s / traffic.uncached.mean
        cached = max(0.0, traffic.prompt.mean - traffic.uncached.mean)
        return admission.prefill_load(self.model, arrivals, traffic.burstiness, traffic.uncached, cached)


@dataclass(frozen=True, slots=True)
class DecodeStage:
    """Decode: the load keeps a batch running on every replica, and the batch sets the step time."""

    model: ReplicaModel
    classes: Sequence[TrafficClass]

    def attainment(self, replicas: int, tokens_per_s: FloatArray) -> FloatArray:
        """Return the share of each class's requests whose mean ITL stays inside its limit (``Stage``)."""
        total = float(tokens_per_s.sum())
        if total <= 0:
            return np.ones(len(self.classes))
        context = self._context(tokens_per_s)
        batch = self._running(total / replicas, context)
        if not math.isfinite(batch):
            return np.zeros(len(self.classes))
        spread = self._spread(batch, total / replicas, context, tokens_per_s)
        room = np.array([min(self._itl_batch(c, context), self._held(context)) for c in self.classes])
        return np.asarray(ndtr((room + 0.5 - batch) / spread))

    def busy_replicas(self, tokens_per_s: FloatArray) -> float:
        """Return the replicas whose largest batch would just generate the load (``Stage``)."""
        total = float(tokens_per_s.sum())
        if total <= 0:
            return 0.0
        context = self._context(tokens_per_s)
        most = self._held(context)
        return total * float(self.model.step.step_s(most, most * context)) / most

    def binding(self, tokens_per_s: FloatArray) -> Code:
        """Return whether step time, KV memory or the engine's limit of sequences is reached first (``Stage``)."""
        context = self._context(tokens_per_s)
        limits = {
            Code.ITL_AT_RISK: min(self._itl_batch(c, context) for c in self.classes),
            Code.KV_FULL: admission.KV_MARGIN * self.model.limits.kv_capacity_tokens / context,
            Code.SEQUENCES_FULL: float(self.model.limits.max_sequences),
        }
        return min(limits, key=lambda code: limits[code])

    def _context(self, tokens_per_s: FloatArray) -> float:
        """Return the mean context of a running sequence: classes count by the tokens they generate."""
        total = float(tokens_per_s.sum())
        own = np.array([c.context_tokens for c in self.classes])
        return max(1.0, float(own @ tokens_per_s) / total) if total > 0 else max(1.0, float(own.mean()))

    def _itl_batch(self, traffic: TrafficClass, context: float) -> float:
        return self.model.step.largest_batch(traffic.profile.slo.itl, context)

    def _held(self, context: float) -> float:
        """Return how many sequences of a context a replica can hold at most."""
        limits = self.model.limits
        return max(1.0, min(admission.KV_MARGIN * limits.kv_capacity_tokens / context, float(limits.max_sequences)))

    def _running(self, tokens_per_s: float, context: float) -> float:
        """Return the batch at which one replica generates so many tokens per second; inf where none does.

        Fixed point of ``batch = rate * step(batch)``: unique, because the step is convex in the batch.
        """
        step = self.model.step
        slope = step.per_sequence_s + step.per_kv_token_s * context
        batch = _fixed_point(step.base_s, slope, tokens_per_s)
        if batch > step.knee_sequences:
            extra = step.per_sequence_beyond_knee_s
            batch = _fixed_point(step.base_s - extra * step.knee_sequences, slope + extra, tokens_per_s)
        return batch

    def _spread(self, batch: float, tokens_per_s: float, context: float, mix: FloatArray) -> float:
        """Return the standard deviation of the batch that a request sees on average over its life.

        Running requests fluctuate like those of an infinite-server queue, a bursty stream half as much again as its
        dispersion says; a slower step keeps requests longer and so adds to its own cause; averaging over one's own
        life of about one correlation time takes a quarter off the variance.
        """
        slope = self.model.step.per_sequence_s + self.model.step.per_kv_token_s * context
        feedback = 1.0 / max(0.05, 1.0 - tokens_per_s * slope)
        dispersion = float(np.array([(1.0 + c.burstiness) / 2.0 for c in self.classes]) @ mix) / float(mix.sum())
        return math.sqrt(max(0.25, 0.74 * batch * dispersion * feedback))


def _fixed_point(base_s: float, slope_s: float, tokens_per_s: float) -> float:
    share = tokens_per_s * slope_s
    return tokens_per_s * base_s / (1.0 - share) if share < 1.0 else math.inf
