"""WVA V1 (percentage based): one replica up or down per group, by spare KV and spare queue.

Source: llm-d workload-variant-autoscaler 0.9, ``internal/engines/saturation`` (deprecated there; the one of the
published benchmark).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Defaults of the saturation ConfigMap."""

    kv: float = 0.80
    queue: float = 5.0
    kv_spare: float = 0.10
    queue_spare: float = 3.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of the group. ``desired`` 0: never decided; ``maximum`` None: unbounded, as its CRD allows."""

    name: str
    current: int
    pending: int = 0
    desired: int = 0
    minimum: int = 0
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One engine as its metrics show it (one-minute maxima)."""

    variant: str
    kv: float
    queue: float
    cost: float


def targets(
    variants: Sequence[Variant], replicas: Sequence[Replica], thresholds: Thresholds = Thresholds()
) -> dict[str, int]:
    """Return the target of each variant of one role group."""
    wanted = {variant.name: variant.current for variant in variants}
    if any(variant.pending or variant.desired not in {0, variant.current} for variant in variants):
        return wanted
    calm = [r for r in replicas if r.kv < thresholds.kv and r.queue < thresholds.queue]
    spare_kv = fmean(thresholds.kv - r.kv for r in calm) if calm else 0.0
    spare_queue = fmean(thresholds.queue - r.queue for r in calm) if calm else 0.0
    cost = _costs(replicas)
    if spare_kv < thresholds.kv_spare or spare_queue < thresholds.queue_spare:
        chosen = min(variants, key=lambda v: (cost.get(v.name, 0.0), v.name))
        wanted[chosen.name] += 1
    elif len(calm) >= 2 and _survivors_fit(thresholds, len(calm), spare_kv, spare_queue):
        shrinkable = [v for v in variants if v.current > 1]
        if shrinkable:
            wanted[max(shrinkable, key=lambda v: (cost.get(v.name, 0.0), v.name)).name] -= 1
    return {variant.name: _bounded(wanted[variant.name], variant) for variant in variants}


def _survivors_fit(thresholds: Thresholds, count: int, spare_kv: float, spare_queue: float) -> bool:
    share = count / (count - 1)
    left_kv = thresholds.kv - (thresholds.kv - spare_kv) * share
    left_queue = thresholds.queue - (thresholds.queue - spare_queue) * share
    return left_kv >= thresholds.kv_spare and left_queue >= thresholds.queue_spare


def _costs(replicas: Sequence[Replica]) -> Mapping[str, float]:
    """Return each variant's cost as its live pods tell it: nothing is known of a variant without pods."""
    return {replica.variant: replica.cost for replica in replicas}


def _bounded(replicas: int, variant: Variant) -> int:
    capped = replicas if variant.maximum is None else min(replicas, variant.maximum)
    return max(capped, variant.minimum)
