"""How long an engine's forward pass takes, and how much of it a replica can do.

    step    = a + e*sqrt(B) + b*B + d*max(0, B - K) + c*KV + p*T
    prefill = smooth maximum of f and a0 + b*L + c*((P+L)^2 - P^2)

B sequences decode and hold KV tokens together, T prompt tokens are computed beside them. The root is what more
sequences share: experts that are read anyway, steps that prompts lengthen. Beyond K sequences the step is bound by
arithmetic and each one costs d more. L prompt tokens are computed behind a cached prefix of P tokens.
Measured errors of these forms: ``docs/reference/model-accuracy.md``. All functions broadcast over numpy arrays.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepModel:
    """Time of one forward pass that decodes a batch (and perhaps computes prompt tokens beside it)."""

    base_s: float  # streaming the weights, launch overhead
    per_sequence_s: float
    per_kv_token_s: float  # streaming the KV cache
    per_prefill_token_s: float = 0.0
    knee_sequences: float = math.inf  # beyond so many, arithmetic and no longer memory bounds the step
    per_sequence_beyond_knee_s: float = 0.0  # in addition to per_sequence_s
    per_root_sequence_s: float = 0.0

    def step_s(self, batch: ArrayLike, kv_tokens: ArrayLike, prefill_tokens: ArrayLike = 0.0) -> FloatArray:
        """Return the seconds of a step over ``batch`` sequences that hold ``kv_tokens`` together."""
        sequences = np.asarray(batch, dtype=np.float64)
        return np.asarray(
            self.base_s
            + self.per_root_sequence_s * np.sqrt(sequences)
            + self.per_sequence_s * sequences
            + self.per_sequence_beyond_knee_s * np.maximum(0.0, sequences - self.knee_sequences)
            + self.per_kv_token_s * np.asarray(kv_tokens, dtype=np.float64)
            + self.per_prefill_token_s * np.asarray(prefill_tokens, dtype=np.float64)
        )

    def largest_batch(self, step_s: float, context_tokens: float) -> float:
        """Return how many sequences of a mean context fit into a step of ``step_s`` seconds (real, >= 0)."""
        below = self._batch_on(step_s - self.base_s, self.per_sequence_s + self.per_kv_token_s * context_tokens)
        if below <= self.knee_sequences:
            return below
        steeper = self.per_sequence_s + self.per_sequence_beyond_knee_s + self.per_kv_token_s * context_tokens
        return self._batch_on(step_s - self.base_s + self.per_sequence_beyond_knee_s * self.knee_sequences, steeper)

    def _batch_on(self, spare_s: float, slope_s: float) -> float:
        """Return B with ``root * sqrt(B) + slope * B = spare``; 0 without spare time, inf where B costs nothing."""
        if spare_s <= 0:
            return 0.0
        half = self.per_root_sequence_s / 2.0
        if slope_s <= 0:
            return (spare_s / self.per_root_sequence_s) ** 2 if half > 0 else math.inf
        return float((spare_s / (half + math.sqrt(half * half + slope_s * spare_s))) ** 2)


@dataclass(frozen=True, slots=True)
class PrefillModel:
    """Time to compute a prompt on an otherwise idle engine."""

    floor_s: float
    base_s: float
    per_token_s: float
    per_token_squared_s: float  # causal attention
    corner: float = math.inf  # how sharply the floor turns into the slope; inf: the plain maximum

    def latency_s(self, uncached_tokens: ArrayLike, cached_tokens: ArrayLike = 0.0) -> FloatArray:
        """Return the seconds to compute ``uncached_tokens`` behind a cached prefix."""
        fresh = np.asarray(uncached_tokens, dtype=np.float64)
        prefix = np.asarray(cached_tokens, dtype=np.float64)
        return self.pass_s(fresh, fresh * (fresh + 2.0 * prefix))

    def pass_s(self, tokens: ArrayLike, attended: ArrayLike) -> FloatArray:
        """Return the seconds of one forward pass over several prompts, which all end with it.

        Args:
            tokens: prompt tokens computed in the pass.
            attended: sum over its prompts of ``(P+L)^2 - P^2``.
        """
        work = (
            self.base_s
            + self.per_token_s * np.asarray(tokens, dtype=np.float64)
            + self.per_token_squared_s * np.asarray(attended, dtype=np.float64)
        )
        longer = np.maximum(self.floor_s, work)
        return np.asarray(
            longer * (1.0 + (np.minimum(self.floor_s, work) / longer) ** self.corner) ** (1.0 / self.corner)
        )


@dataclass(frozen=True, slots=True)
class Handover:
    """Time from the end of prefill to the start of decode: moving the KV, and its orchestration."""

    base_s: float
    per_token_s: float
    stall_per_token_s: float = 0.0  # by which each pulled token delays the decode steps that run meanwhile

    def dilation(self, pulled_tokens_per_second: ArrayLike) -> FloatArray:
        """Return by what factor decode steps last longer while KV of so many tokens per second is pulled in."""
        return np.asarray(1.0 + self.stall_per_token_s * np.asarray(pulled_tokens_per_second, dtype=np.float64))

    def latency_s(self, prompt_tokens: ArrayLike) -> FloatArray:
        """Return the seconds to hand over a prompt's KV."""
        return np.asarray(self.base_s + self.per_token_s * np.asarray(prompt_tokens, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one replica can hold and do at most in a step."""

    kv_capacity_tokens: float
    max_sequences: int = 256
    max_batched_tokens: int = 8192
    block_tokens: int = 16


@dataclass(frozen=True, slots=True)
class ReplicaModel:
    """All that is known of the speed of one replica of a variant."""

    step: StepModel
    prefill: PrefillModel
    handover: Handover
    limits: EngineLimits
