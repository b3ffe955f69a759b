"""What a pool asks of its replicas: server time of prompts, and how many sequences a decode replica may hold."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from autoscaler.domain.observation import Moments
from autoscaler.performance.step import ReplicaModel

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
SHARES = WEIGHTS / WEIGHTS.sum()

KV_MARGIN = 0.9
"""Share of the KV cache to plan with: blocks are reserved while requests wait for their KV, and preemption is dear."""


class Limit(StrEnum):
    """What keeps a decode replica from holding more sequences."""

    ITL = "ITL"
    KV = "KV"
    SEQUENCES = "SEQUENCES"


@dataclass(frozen=True, slots=True)
class DecodeCapacity:
    """The most that one decode replica serves inside its limits."""

    batch: float  # sequences, real; 0: not even one fits
    tokens_per_second: float
    limit: Limit
    step_s: float


def decode_capacity(
    model: ReplicaModel, itl_s: float, context_tokens: float, *, kv_margin: float = KV_MARGIN
) -> DecodeCapacity:
    """Return the largest batch whose step stays within ``itl_s`` and whose KV fits.

    Args:
        model: of the replica.
        itl_s: mean time between tokens that is allowed.
        context_tokens: mean tokens held by a running sequence; see ``running_context``.
        kv_margin: share of the KV cache to use.
    """
    limits = {
        Limit.ITL: model.step.largest_batch(itl_s, context_tokens),
        Limit.KV: kv_margin * model.limits.kv_capacity_tokens / context_tokens if context_tokens > 0 else math.inf,
        Limit.SEQUENCES: float(model.limits.max_sequences),
    }
    limit = min(limits, key=lambda each: limits[each])
    batch = limits[limit] if limits[limit] >= 1.0 else 0.0
    step_s = float(model.step.step_s(batch, batch * context_tokens))
    return DecodeCapacity(batch, batch / step_s, limit, step_s)


@dataclass(frozen=True, slots=True)
class DecodeShare:
    """One profile's part of a decode pool's load."""

    output_tokens_per_second: float
    prompt_tokens: float  # mean, cached prefix included
    output_tokens: Moments


def running_context(shares: Iterable[DecodeShare]) -> float:
    """Return the mean context in tokens of running sequences: E[osl (isl + osl/2)] / E[osl], mixed by output rate.

    A sequence is seen as often as it makes tokens, so long outputs weigh more. 0 where nothing is generated.
    """
    weighted, total = 0.0, 0.0
    for share in shares:
        if share.output_tokens.mean > 0:
            own = share.prompt_tokens + share.output_tokens.second / (2.0 * share.output_tokens.mean)
            weighted += share.output_tokens_per_second * own
            total += share.output_tokens_per_second
    return weighted / total if total > 0 else 0.0


def lognormal_nodes(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return values and probabilities, shape (15,), of a log-normal quantity with these moments."""
    variance = math.log1p(moments.squared_variation)
    return moments.mean * np.exp(math.sqrt(variance) * NODES - variance / 2.0), SHARES


def prompt_time(model: ReplicaModel, uncached_tokens: Moments, cached_tokens: float = 0.0) -> Moments:
    """Return moments of the seconds of a busy engine that a prompt of log-normal length takes.

    A busy engine fills its steps, so each prompt bears its share of a step's fixed time.

    Args:
        model: of the replica.
        uncached_tokens: tokens to compute, of one request.
        cached_tokens: mean prefix that is attended to but not computed.
    """
    if uncached_tokens.mean <= 0:
        return Moments(0.0, 0.0)
    tokens, shares = lognormal_nodes(uncached_tokens)
    prefill, attended = model.prefill, tokens * (tokens + 2.0 * cached_tokens)
    fixed = prefill.base_s / model.limits.max_batched_tokens
    seconds = (prefill.per_token_s + fixed) * tokens + prefill.per_token_squared_s * attended
    return Moments(float(seconds @ shares), float(seconds**2 @ shares))
