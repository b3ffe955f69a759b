"""How much replica time a trace asks for: the least that any scheduler can do with.

Prefill: passes are as full as the engine's budget allows, so only a share of a pass' fixed time counts. Decode: a
request of n gaps with contexts x_j takes, whatever its batch companions do,

    sum_j k_j s_j / (s_j - a) >= sum_j k_j + a (sum_j sqrt k_j)^2 / (n (ITL - a)),     k_j = b + c x_j,

when its mean gap keeps ITL (Cauchy and Schwarz); steps of all companions together last as long as the replica works.
The knee of the step, KV memory and limits of sequences only add to this.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.performance.step import ReplicaModel
from autoscaler.simulate.trace import Trace

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limits:
    """Each request's limits, shape (requests,)."""

    ttft_s: FloatArray
    itl_s: FloatArray

    @classmethod
    def of(cls, policy: SLOPolicy, trace: Trace) -> "Limits":
        """Return the limits of every request's profile."""
        slos = [policy.profile(name).slo for name in trace.profiles]
        ttft, itl = np.array([slo.ttft for slo in slos]), np.array([slo.itl for slo in slos])
        return cls(ttft[trace.profile], itl[trace.profile])


def cached_tokens(trace: Trace) -> FloatArray:
    """Return the prompt tokens that one cache of unlimited size, shared by all replicas, would have: the best case."""
    if trace.hash_ids is None:
        return np.zeros(len(trace))
    seen: set[int] = set()
    cached = np.zeros(len(trace))
    for row, hashes in enumerate(trace.hash_ids):
        known = next((index for index, each in enumerate(hashes) if each not in seen), len(hashes))
        cached[row] = min(known * trace.hash_block_tokens, int(trace.input_tokens[row]) - 1)
        seen.update(hashes)
    return cached


def prefill_s(model: ReplicaModel, prompt: FloatArray, cached: FloatArray) -> FloatArray:
    """Return the least replica-seconds to compute each prompt."""
    fresh = prompt - cached
    prefill, budget = model.prefill, model.limits.max_batched_tokens
    share = max(prefill.floor_s, prefill.base_s) / budget
    floored = fresh * prefill.floor_s / budget
    work = fresh * (prefill.per_token_s + prefill.base_s / budget) + prefill.per_token_squared_s * fresh * (
        fresh + 2.0 * cached
    )
    return np.maximum(floored, work) if share > 0 else work


def decode_s(model: ReplicaModel, prompt: FloatArray, output: FloatArray, itl_s: FloatArray) -> FloatArray:
    """Return the least replica-seconds to generate each answer with its mean gap inside ``itl_s``; inf: impossible."""
    step = model.step
    gaps = np.maximum(output - 1.0, 0.0)
    marginal = step.per_sequence_s + step.per_kv_token_s * (prompt + output / 2)
    room = itl_s - step.base_s
    roots = _mean_root(step.per_sequence_s, step.per_kv_token_s, prompt, output)
    with np.errstate(divide="ignore", invalid="ignore"):
        work = gaps * (marginal + step.base_s * roots**2 / room)
    return np.where(gaps == 0, 0.0, np.where(room > 0, work, np.inf))


def _mean_root(base: float, slope: float, prompt: FloatArray, output: FloatArray) -> FloatArray:
    """Return the mean of sqrt(base + slope x) over contexts x from the prompt to its end."""
    if slope <= 0:
        return np.full_like(prompt, np.sqrt(base))
    first, last = base + slope * prompt, base + slope * (prompt + output)
    return np.asarray((last**1.5 - first**1.5) * 2.0 / (3.0 * slope * output))


def memory_s(model: ReplicaModel, prompt: FloatArray, output: FloatArray) -> FloatArray:
    """Return the least replica-seconds of KV memory: the context, for as long as the fastest answer takes."""
    context = prompt + output / 2
    fastest = model.step.base_s + model.step.per_sequence_s + model.step.per_kv_token_s * context
    share = np.maximum(context / model.limits.kv_capacity_tokens, 1.0 / model.limits.max_sequences)
    return np.maximum(output - 1.0, 0.0) * fastest * share


@dataclass(frozen=True, slots=True)
class VariantWork:
    """Least replica-seconds of each request on one variant, shape (requests,)."""

    busy_s: FloatArray
    memory_s: FloatArray


def on_variant(variant: Variant, model: ReplicaModel, trace: Trace, limits: Limits, cached: FloatArray) -> VariantWork:
    """Return what each request asks of a variant, by the variant's role."""
    prompt, output = trace.input_tokens.astype(np.float64), trace.output_tokens.astype(np.float64)
    nothing = np.zeros(len(trace))
    match variant.role:
        case Role.PREFILL:
            return VariantWork(prefill_s(model, prompt, cached), nothing)
        case Role.DECODE:
            return VariantWork(decode_s(model, prompt, output, limits.itl_s), memory_s(model, prompt, output))
        case Role.UNIFIED:  # prompts may share the fixed part of steps with answers: only the marginal part is certain
            marginal = model.step.per_sequence_s + model.step.per_kv_token_s * (prompt + output / 2)
            answers = np.maximum(output - 1.0, 0.0) * marginal
            return VariantWork(prefill_s(model, prompt, cached) + answers, memory_s(model, prompt, output))


def deadlines(role: Role, trace: Trace, limits: Limits) -> FloatArray:
    """Return until when the role's work on each request must be done, for the request to attain."""
    first = trace.arrival_s + limits.ttft_s
    return first if role is Role.PREFILL else first + limits.itl_s * np.maximum(trace.output_tokens - 1.0, 0.0)


def of_fleet(
    policy: SLOPolicy, models: Mapping[str, ReplicaModel], trace: Trace, *, prefix_caching: bool = False
) -> dict[str, VariantWork]:
    """Return each variant's work by its name."""
    limits = Limits.of(policy, trace)
    cached = cached_tokens(trace) if prefix_caching else np.zeros(len(trace))
    return {v.name: on_variant(v, models[v.name], trace, limits, cached) for v in policy.variants}
