"""Dynamo planner 1.6: the load loop of SLA mode and the easy modes; one replica up or down per role and tick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autoscaler.backtest.baselines.dynamo_capacity import Engine, Shape


class Kind(StrEnum):
    """Which side of the model an engine serves."""

    PREFILL = "prefill"
    DECODE = "decode"


class Target(StrEnum):
    """The easy modes; throughput is the product's default."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class DecodeState:
    """What one decode engine has: scheduled and queued together."""

    requests: float
    kv_tokens: float


def prefill(
    engine: Engine, shape: Shape, queued_tokens: Sequence[float], *, ttft_s: float, ready: int, sensitivity: float = 0.8
) -> int:
    """Return prefill replicas: up if every engine would miss the TTFT target, down if every survivor keeps it."""
    uncached = shape.computed_tokens / shape.input_tokens

    def seconds(queued: float) -> float:
        return engine.chunked_s(math.ceil((queued + shape.input_tokens) * uncached))

    own = seconds(0.0)
    budget = (ttft_s - own) * sensitivity
    if queued_tokens and all(seconds(queued) > ttft_s for queued in queued_tokens):
        return ready + 1
    if ready > 1 and budget > 0:
        share = ready / (ready - 1)
        if all(seconds(queued * share) - own < budget for queued in queued_tokens):
            return ready - 1
    return ready


def decode(
    engine: Engine,
    context_tokens: float,
    states: Sequence[DecodeState],
    *,
    itl_s: float,
    ready: int,
    sensitivity: float = 0.8,
    accept_length: float = 1.0,
) -> int:
    """Return decode replicas: up if every engine misses the ITL target, down if every survivor keeps it."""

    def seconds(state: DecodeState, share: float) -> float:
        sequences = math.ceil(state.requests * share + 1)
        kv_tokens = math.ceil(state.kv_tokens * share + context_tokens)
        return engine.decode_s(sequences, kv_tokens) / accept_length

    if states and all(seconds(state, 1.0) > itl_s for state in states):
        return ready + 1
    if ready > 1:
        share = ready / (ready - 1)
        fits = all(math.trunc(state.kv_tokens * share) < engine.max_kv_tokens for state in states)
        if fits and all(seconds(state, share) < sensitivity * itl_s for state in states):
            return ready - 1
    return ready


@dataclass(frozen=True, slots=True)
class _Band:
    """Thresholds of an easy mode; ``inclusive``: the upper one itself calls for more, the lower one for less."""

    up: float
    down: float
    up_inclusive: bool = False
    down_inclusive: bool = False


_BANDS = {
    (Kind.PREFILL, Target.THROUGHPUT): _Band(1.0, 0.1, up_inclusive=True),
    (Kind.PREFILL, Target.LATENCY): _Band(0.1, 0.0, up_inclusive=True, down_inclusive=True),
    (Kind.DECODE, Target.THROUGHPUT): _Band(1.0, 0.6),
    (Kind.DECODE, Target.LATENCY): _Band(0.4, 0.1),
}


def easy(kind: Kind, target: Target, values: Sequence[float], ready: int) -> int:
    """Return replicas after an easy mode.

    Args:
        kind: prefill values are queued tokens over context length, decode values (scheduled + queued KV) over capacity.
        target: throughput or latency.
        values: one per engine.
        ready: replicas.
    """
    band = _BANDS[kind, target]
    if any(value >= band.up if band.up_inclusive else value > band.up for value in values):
        return ready + 1
    idle = all(value <= band.down if band.down_inclusive else value < band.down for value in values)
    if idle and values and ready > 1 and max(values) * ready / (ready - 1) < band.up:
        return ready - 1
    return ready
