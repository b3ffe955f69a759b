"""Dynamo planner 1.6: how many requests per second one engine serves inside the SLA, and replicas for a rate.

Source: ``components/src/dynamo/planner`` of ai-dynamo 1.6.1. Means only: no queueing, no percentile, no headroom.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

PrefillTime = Callable[[float], float]
"""Seconds of a forward pass over so many prompt tokens."""
DecodeTime = Callable[[float, float], float]
"""Seconds of a decode step over (sequences, KV tokens)."""

MAX_HIT_RATE = 0.95
MAX_CANDIDATES = 128
MAX_CHANGE = 8


@dataclass(frozen=True, slots=True)
class Engine:
    """Limits of one engine and its modelled times."""

    prefill_s: PrefillTime
    decode_s: DecodeTime
    max_batched_tokens: int = 8192
    max_sequences: int = 256
    max_kv_tokens: float = math.inf

    def chunked_s(self, tokens: float) -> float:
        """Return the seconds to compute prompt tokens in full steps and a rest."""
        full, rest = divmod(tokens, self.max_batched_tokens)
        return full * self.prefill_s(self.max_batched_tokens) + (self.prefill_s(rest) if rest else 0.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """Mean request of the interval."""

    input_tokens: int
    output_tokens: int
    hit_rate: float = 0.0
    accept_length: float = 1.0

    @property
    def computed_tokens(self) -> int:
        """Return the prompt tokens that prefill has to compute."""
        return max(1, math.ceil(self.input_tokens * (1 - min(max(self.hit_rate, 0.0), MAX_HIT_RATE))))


@dataclass(frozen=True, slots=True)
class Capacity:
    """The operating point chosen. ``eligible``: it keeps the SLA."""

    rps: float
    eligible: bool
    batch: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class _Points:
    """Operating points by batch size, and the limit they are held to."""

    limit_s: float
    points: list[tuple[float, int, float]] = field(default_factory=list)  # rps, batch, latency

    def best(self) -> Capacity:
        inside = [point for point in self.points if point[2] <= self.limit_s]
        rps, batch, latency = max(inside or self.points, key=lambda point: point[0])
        return Capacity(rps, bool(inside), batch, latency)


def prefill_capacity(engine: Engine, shape: Shape, ttft_s: float) -> Capacity:
    """Return the fastest batch whose time keeps the TTFT target, else the fastest of all."""
    tokens = shape.computed_tokens
    largest = max(1, min(engine.max_sequences, engine.max_batched_tokens // tokens))
    found = _Points(ttft_s)
    for batch in _spread(largest):
        seconds = engine.chunked_s(batch * tokens)
        found.points.append((batch / seconds, batch, seconds))
    return found.best()


def decode_capacity(engine: Engine, shape: Shape, itl_s: float) -> Capacity:
    """Return the fastest batch whose step keeps the ITL target, else the fastest of all.

    Raises:
        ValueError: not one request of this shape fits into the KV cache.
    """
    context = shape.input_tokens + shape.output_tokens // 2
    largest = int(min(engine.max_sequences, engine.max_kv_tokens // context))
    if largest < 1:
        msg = f"a context of {context} tokens does not fit into {engine.max_kv_tokens} KV tokens"
        raise ValueError(msg)
    found = _Points(itl_s)
    for batch in range(1, largest + 1):
        seconds = engine.decode_s(batch, batch * context) / max(1.0, shape.accept_length)
        found.points.append((batch / (shape.output_tokens * seconds), batch, seconds))
    return found.best()


def replicas(rate: float, engine_rps: float, current: int) -> int:
    """Return replicas for a rate: fully used, at least one, at most eight away from the present size."""
    wanted = max(math.ceil(rate / engine_rps), 1)
    return min(max(wanted, current - MAX_CHANGE), current + MAX_CHANGE)


def _spread(largest: int) -> list[int]:
    """Return batch sizes from 1 to the largest, at most 128 of them, spread evenly."""
    if largest <= MAX_CANDIDATES:
        return list(range(1, largest + 1))
    step = (largest - 1) / (MAX_CANDIDATES - 1)
    return sorted({round(1 + step * index) for index in range(MAX_CANDIDATES)})


def legacy_replicas(  # the formula of papers and blogs has this many terms per role
    requests: float,
    tokens: float,
    interval_s: float,
    *,
    correction: float,
    tokens_per_s_per_gpu: float,
    gpus: int,
) -> int:
    """Return replicas after the formula of Dynamo up to 0.9; ``correction`` above 1 (queueing) is cut off."""
    rate = requests * tokens / interval_s * min(1.0, correction)
    return math.ceil(rate / tokens_per_s_per_gpu / gpus)
