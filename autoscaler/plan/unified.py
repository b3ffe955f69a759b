"""Engines that do both: prompts and answers share every second of a replica.

Per replica and second: prompts take ``u`` of it, each of ``r`` output tokens what it adds to a step (``s``), and the
rest goes into the fixed part ``a`` of steps without prompts. So there are ``(1 - u - r s) / a`` such steps and ``k``
with prompts, and a running sequence gets a token every ``1 / (steps per second)``. A step with prompts stops all
sequences for as long as a prompt takes; a short answer that meets one has a long mean gap: that spread decides.
A prompt waits for the prompts before it, each longer by what the running batch adds to its step, and for the step that
runs when it comes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, ndtr

from autoscaler.domain.reason import Code
from autoscaler.domain.units import Seconds
from autoscaler.performance.step import ReplicaModel
from autoscaler.performance.transient import Loads
from autoscaler.plan.capacity import Counts, DecodeStage, LoadedDecode, LoadedPrefill, PrefillStage
from autoscaler.plan.traffic import LENGTH_WEIGHTS, TrafficClass, lengths

FloatArray = NDArray[np.float64]

IDLEST = 1e-9
"""Share of a second in which nothing but steps without prompts runs; less is overload."""

FULLEST = 0.95
"""Share of a second that prompts take, beyond which answers hardly get on."""

SMOOTHEST = 1e4
"""Squared mean over variance of gaps; smoother ones are all alike."""


@dataclass(frozen=True, slots=True)
class UnifiedStage:
    """Prompts and answers on the same engines; loads are uncached prompt tokens, answers follow from them."""

    prefill: PrefillStage
    decode: DecodeStage

    @classmethod
    def of(
        cls, model: ReplicaModel, classes: Sequence[TrafficClass], first_step_s: float, window: Seconds
    ) -> "UnifiedStage":
        """Take one step off every TTFT limit: a prompt waits for the one that runs when it comes."""
        prefill = PrefillStage.of(model, classes, first_step_s, window, hands_over=False)
        return cls(prefill, DecodeStage(model, classes))

    @property
    def classes(self) -> Sequence[TrafficClass]:
        """Return the classes of requests."""
        return self.decode.classes

    def under(self, tokens_per_s: FloatArray) -> "LoadedUnified":
        """Return this stage under levels of load (``Stage``)."""
        requests = self._requests(tokens_per_s)
        prefill = self.prefill.under(tokens_per_s)
        decode = self.decode.under(requests * np.array([c.output.mean for c in self.classes]))
        squares = np.array([prompt_s.second for prompt_s in self.prefill.prompts_s])
        limits_s = np.array([c.profile.slo.itl for c in self.classes])
        answers = np.array([np.maximum(2.0, lengths(c.output)) for c in self.classes])
        return LoadedUnified(
            prefill,
            decode,
            requests.sum(axis=1),
            requests @ squares,
            limits_s=np.repeat(limits_s[None], len(requests), axis=0),
            answers=np.repeat(answers[None], len(requests), axis=0),
        )

    def reachable(self) -> FloatArray:
        """Return the share of each class's requests that an idle engine would keep inside both limits (``Stage``)."""
        return np.minimum(self.prefill.reachable(), self.decode.reachable())

    def binding(self, tokens_per_s: FloatArray) -> Code:
        """Return what takes the larger part of a replica: prompts, or whatever limits decode (``Stage``)."""
        loaded = self.under(tokens_per_s[None, :])
        if loaded.prefill.busy_replicas[0] >= loaded.decode.busy_replicas[0]:
            return Code.TTFT_AT_RISK
        return self.decode.binding(self._requests(tokens_per_s) * np.array([c.output.mean for c in self.classes]))

    def pace(self, tokens_per_s: FloatArray, batch: FloatArray) -> FloatArray:
        """Return the tokens per second that a replica generates while it runs each batch, shape (levels, batches).

        In the mix of each level of load: every token brings its part of a prompt with it.
        """
        loaded, step = self.under(tokens_per_s), self.decode.model.step
        total = np.maximum(loaded.decode.tokens_per_s, IDLEST)
        prompts_s, prompts = (of_all / total for of_all in (loaded.prefill.busy_replicas, loaded.requests_per_s))
        longer_s = np.maximum(0.0, prompts_s - prompts * step.base_s)  # a step with prompts has no fixed part
        plain_s = step.step_s(batch, batch * loaded.decode.context[:, None])
        return np.asarray(batch / (plain_s + batch * longer_s[:, None]))

    def _requests(self, tokens_per_s: FloatArray) -> FloatArray:
        uncached = np.array([c.uncached.mean for c in self.classes])
        return np.asarray(np.divide(tokens_per_s, uncached, out=np.zeros_like(tokens_per_s), where=uncached > 0))


@dataclass(frozen=True, slots=True)
class LoadedUnified:
    """Unified replicas under several levels of load."""

    prefill: LoadedPrefill
    decode: LoadedDecode
    requests_per_s: FloatArray  # shape (levels,)
    stops_s2: FloatArray  # sum over the prompts of a second of their squared times, shape (levels,)
    limits_s: FloatArray  # of mean gaps, shape (levels, classes)
    answers: FloatArray  # tokens by length, shape (levels, classes, lengths)

    @property
    def busy_replicas(self) -> FloatArray:
        """Return the replicas that prompts and full batches of answers would keep busy (``Loaded``)."""
        return self.prefill.busy_replicas + self.decode.busy_replicas

    def attainment(self, replicas: Counts) -> FloatArray:
        """Return the share of each class's requests inside the limit that it keeps less often (``Loaded``)."""
        gap_s = self._gap_s(replicas)
        fits = np.isfinite(gap_s)[:, None]
        known = np.where(fits[:, 0], gap_s, 1.0)
        both = np.minimum(self._in_time(replicas, known), self._in_pace(replicas, known))
        return np.asarray(np.where(self.requests_per_s[:, None] > 0, np.where(fits, both, 0.0), 1.0))

    def _gap_s(self, replicas: Counts) -> FloatArray:
        """Return the mean time between tokens at each level; inf where the work does not fit into the time."""
        left = 1.0 - (self.prefill.busy_replicas + self.decode.tokens_per_s * self.decode.slope_s) / replicas
        steps = left / self.decode.base_s + self.requests_per_s / replicas
        return np.asarray(np.divide(1.0, steps, out=np.full_like(steps, math.inf), where=left > IDLEST))

    def _in_time(self, replicas: Counts, gap_s: FloatArray) -> FloatArray:
        """Return the share of prompts whose first token comes inside the limit."""
        loads = self.prefill.loads
        prompt_s = np.divide(
            loads.busy_servers, self.requests_per_s, out=np.full_like(gap_s, IDLEST), where=self.requests_per_s > 0
        )
        batch = self.decode.tokens_per_s / replicas * gap_s
        longer = 1.0 + batch * self.decode.slope_s / np.maximum(prompt_s, IDLEST)
        stretched = Loads(loads.busy_servers * longer, loads.unit_s * longer)
        return self.prefill.patience.kept(stretched, replicas, self.prefill.window)

    def _in_pace(self, replicas: Counts, gap_s: FloatArray) -> FloatArray:
        """Return the share of answers whose mean gap stays inside the limit, and whose context finds memory.

        Gaps are taken as gamma distributed: few prompts are met, each stops the answer for long, and what it adds to
        an answer's life lets it meet more.
        """
        stopped = np.minimum(self.prefill.busy_replicas / replicas, FULLEST)
        batch = self.decode.tokens_per_s / replicas * gap_s
        others = np.maximum(0.25, 0.74 * batch * self.decode.dispersion)  # variance of the batch that an answer sees
        met = self.stops_s2 / replicas * gap_s / (1.0 - stopped) ** 2
        variance = met[:, None, None] / self.answers + (self.decode.slope_s**2 * others)[:, None, None]
        mean = gap_s[:, None, None]
        shape = np.minimum(mean**2 / variance, SMOOTHEST)
        kept = gammainc(shape, self.limits_s[:, :, None] * shape / mean) @ LENGTH_WEIGHTS
        holds = ndtr((self.decode.held + 0.5 - batch) / np.sqrt(others))
        return np.asarray(np.minimum(kept, holds[:, None]))
