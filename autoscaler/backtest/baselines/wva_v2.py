"""WVA V2 (token capacity, the default of 0.9): what an engine can hold, and what it is asked to hold.

Source: llm-d workload-variant-autoscaler 0.9, ``internal/engines/analyzers/saturation_v2``. The roles' allocation is
``wva_allocation``. Its defects are kept: see ``tests/scenario/wva``.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoscaler.backtest.baselines import wva_allocation
from autoscaler.backtest.baselines.wva_allocation import Supply

HISTORY = 10
USABLE_KV = 0.80
SATURATED_QUEUE = 5
SCALE_UP, SCALE_DOWN = 0.85, 0.70
DEFAULT_ROLE = "both"


@dataclass(frozen=True, slots=True)
class Variant:
    """One scale target. ``batched_tokens`` 0: the engine's arguments are unknown; ``maximum`` None: unbounded."""

    name: str
    role: str
    current: int
    minimum: int = 0
    maximum: int | None = None
    accelerator: str = ""
    accelerators: int = 1
    pending: int = 0
    batched_tokens: int = 0
    max_sequences: int = 256


@dataclass(frozen=True, slots=True)
class Instance:
    """One engine instance as its metrics show it: one-minute maxima, five-minute means."""

    variant: str
    kv: float
    queue: float
    total_tokens: float
    input_tokens: float
    output_tokens: float
    cost: float
    hit_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class RouterQueue:
    """What waits in front of all replicas of the model."""

    requests: float = 0.0
    size_bytes: float = 0.0


HistoryKey = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Live:
    """The last capacity seen of a variant, and on what."""

    tokens: float
    accelerator: str
    accelerators: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Learned capacities. The history's key has no role: prefill and decode share it (as shipped)."""

    history: Mapping[HistoryKey, tuple[float, ...]] = field(default_factory=dict)
    live: Mapping[str, Live] = field(default_factory=dict)


def cycle(
    variants: Sequence[Variant], instances: Sequence[Instance], queue: RouterQueue, memory: Memory
) -> tuple[dict[str, int], Memory]:
    """Return the target of every variant after one cycle, and what the next one remembers."""
    if not instances:
        return {variant.name: variant.current for variant in variants}, memory
    by_name = {variant.name: variant for variant in variants}
    demand = dict.fromkeys((_role(variant) for variant in variants), 0.0)
    capacities: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for instance in instances:
        variant = by_name[instance.variant]
        memory, capacity = _observed(variant, instance, memory)
        capacities[variant.name].append(capacity)
        demand[_role(variant)] += _demand(variant, instance)
    _add_queue(demand, queue, instances)
    supplies = [_supply(variant, capacities[variant.name], instances, memory) for variant in variants]
    return wva_allocation.targets(supplies, demand, scale_up=SCALE_UP, scale_down=SCALE_DOWN), memory


def _role(variant: Variant) -> str:
    return variant.role or DEFAULT_ROLE


def _bucket(output_tokens: float) -> str:
    return "short" if output_tokens < 100 else "medium" if output_tokens < 500 else "long"


def _used(instance: Instance) -> float:
    return round(instance.kv * instance.total_tokens)


def _demand(variant: Variant, instance: Instance) -> float:
    per_request = instance.input_tokens + (0.0 if variant.role == "prefill" else instance.output_tokens)
    return _used(instance) + math.trunc(instance.queue * per_request)


def _observed(variant: Variant, instance: Instance, memory: Memory) -> tuple[Memory, float]:
    """Return the instance's capacity: usable KV, or less where its compute was seen (or is derived) to saturate."""
    by_memory = float(math.trunc(instance.total_tokens * USABLE_KV))
    key = (variant.accelerator, variant.accelerators, _bucket(instance.output_tokens))
    past = memory.history.get(key, ())
    used = _used(instance)
    if instance.queue >= SATURATED_QUEUE and used > 0:
        by_compute = float(used)
        memory = replace(memory, history={**memory.history, key: (*past, by_compute)[-HISTORY:]})
    elif past:
        by_compute = statistics.fmean(past)
    else:
        by_compute = _derived(variant, instance.input_tokens, instance.output_tokens) or by_memory
    capacity = min(by_memory, by_compute)
    seen = Live(capacity, variant.accelerator, variant.accelerators)
    return replace(memory, live={**memory.live, variant.name: seen}), capacity


def _derived(variant: Variant, input_tokens: float, output_tokens: float) -> float:
    """Return the tokens of one full batch after the engine's arguments; 0 where they are unknown."""
    if not variant.batched_tokens or output_tokens <= 0:
        return 0.0
    share = output_tokens / (input_tokens + output_tokens)
    sequences = min(variant.batched_tokens * share, variant.max_sequences)
    return float(math.trunc(sequences * (input_tokens + output_tokens / 2)))


def _add_queue(demand: dict[str, float], queue: RouterQueue, instances: Sequence[Instance]) -> None:
    mean_input = statistics.fmean(instance.input_tokens for instance in instances)
    mean_output = statistics.fmean(instance.output_tokens for instance in instances)
    uncached = 1.0 - statistics.fmean(instance.hit_rate for instance in instances)
    tokens_in = max(queue.size_bytes / 4, queue.requests * mean_input) * uncached
    tokens_out = queue.requests * mean_output
    for role in demand:
        demand[role] += tokens_in if role == "prefill" else tokens_in + tokens_out


def _supply(variant: Variant, capacities: Sequence[float], instances: Sequence[Instance], memory: Memory) -> Supply:
    ready = max(0, variant.current - variant.pending)
    count = len(capacities) or ready
    per_pod = count // ready if ready else 1
    live = [instance.cost for instance in instances if instance.variant == variant.name]
    return Supply(
        name=variant.name,
        role=_role(variant),
        current=variant.current,
        minimum=variant.minimum,
        maximum=variant.maximum,
        per_replica=_median(capacities) if capacities else _unseen(variant, instances, memory),
        count=count,
        pending=variant.pending * max(1, per_pod),
        cost=live[0] if live else 0.0,  # read from live pods: a variant at zero looks free (as shipped)
    )


def _unseen(variant: Variant, instances: Sequence[Instance], memory: Memory) -> float:
    """Return the capacity assumed of a variant without instances."""
    if variant.name in memory.live:
        return memory.live[variant.name].tokens
    mean_input = statistics.fmean(instance.input_tokens for instance in instances)
    mean_output = statistics.fmean(instance.output_tokens for instance in instances)
    derived = _derived(variant, mean_input, mean_output) or float(variant.batched_tokens)
    alike = [
        seen.tokens
        for seen in memory.live.values()
        if (seen.accelerator, seen.accelerators) == (variant.accelerator, variant.accelerators)
    ]
    return min([derived, *alike])


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else float((ordered[middle - 1] + ordered[middle]) // 2)
