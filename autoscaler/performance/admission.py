"""What a pool asks of its replicas: server time of prompts, and the share of KV memory that is planned with."""

import math

import numpy as np

from autoscaler.domain.observation import Moments
from autoscaler.performance.step import ReplicaModel

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
SHARES = WEIGHTS / WEIGHTS.sum()

KV_MARGIN = 0.9
"""Share of the KV cache to plan with: blocks are reserved while requests wait for their KV, and preemption is dear."""


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
