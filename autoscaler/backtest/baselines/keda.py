"""KEDA 2.20: the operator's own writes, the Prometheus scaler, and fallback. HPA does the rest.

Source: ``pkg/scaling/executor/scale_scaledobjects.go``, ``pkg/scalers/prometheus_scaler.go``, ``pkg/fallback``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autoscaler.backtest.baselines.verdict import Verdict, Written
from autoscaler.domain.units import Instant, Seconds


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """The fields that the operator acts on. ``idle`` and ``fallback_replicas``: None where the object has none."""

    minimum: int = 0
    idle: int | None = None
    fallback_replicas: int | None = None
    cooldown: Seconds = Seconds(300.0)
    initial_cooldown: Seconds = Seconds(0.0)
    created: Instant = Instant(0.0)


def operator(
    scaled: ScaledObject, current: int, *, active: bool, error: bool, last_active: Instant | None, now: Instant
) -> Written:
    """Return what the operator writes to /scale: from and to zero (or idle), and up to the minimum.

    Args:
        scaled: the object.
        current: spec.replicas.
        active: whether any trigger's value exceeds its activation threshold (a failing one does not).
        error: whether a trigger failed.
        last_active: when a trigger was active last; None: never.
        now: the present moment.
    """
    if active:
        wakes = current == 0 or (scaled.idle is not None and current < scaled.minimum)
        return max(scaled.minimum, 1) if wakes else Verdict.HOLD
    if error:
        return Verdict.HOLD
    may_rest = (scaled.idle is not None and current > scaled.idle) or (current > 0 and scaled.minimum == 0)
    if may_rest:
        return _rested(scaled, last_active, now)
    return scaled.minimum if scaled.idle is None and current < scaled.minimum else Verdict.HOLD


def _rested(scaled: ScaledObject, last_active: Instant | None, now: Instant) -> Written:
    since, wait = (scaled.created, scaled.initial_cooldown) if last_active is None else (last_active, scaled.cooldown)
    if not since + wait < now:
        return Verdict.HOLD
    return scaled.minimum if scaled.idle is None else scaled.idle


def prometheus_value(series: Sequence[float], *, ignore_null_values: bool = True) -> float | Verdict:
    """Return the trigger's value: nothing reads as 0 unless told otherwise, and more than one series is an error."""
    if not series:
        return 0.0 if ignore_null_values else Verdict.INVALID
    return series[0] if len(series) == 1 else Verdict.INVALID


class Fallback(StrEnum):
    """Which size a failing trigger asks for."""

    STATIC = "static"
    CURRENT = "currentReplicas"
    CURRENT_IF_HIGHER = "currentReplicasIfHigher"
    CURRENT_IF_LOWER = "currentReplicasIfLower"


def fallback_replicas(behavior: Fallback, replicas: int, current: int) -> int:
    """Return the size asked for after too many failures in a row."""
    return {
        Fallback.STATIC: replicas,
        Fallback.CURRENT: current,
        Fallback.CURRENT_IF_HIGHER: max(current, replicas),
        Fallback.CURRENT_IF_LOWER: min(current, replicas),
    }[behavior]


def fallback_value(wanted: int, target: float, *, ready: int, average: bool) -> float:
    """Return the value that makes HPA want ``wanted`` replicas."""
    return target * wanted if average else target * wanted / ready
