"""llm-d's KEDA guides: queue with overshoot guard, token-aware prefill and decode, SLO-aware.

Formulas of the guides of September to November 2026; each becomes a metric of a HorizontalPodAutoscaler.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.backtest.baselines import hpa
from autoscaler.domain.policy import Behavior, ScalingRules, StepKind, StepLimit
from autoscaler.domain.units import Seconds


def _steps(window: float, *limits: tuple[StepKind, int, float]) -> ScalingRules:
    steps = tuple(StepLimit(kind, value, Seconds(period)) for kind, value, period in limits)
    return ScalingRules(Seconds(window), steps, tolerance=hpa.TOLERANCE)


QUEUE_BEHAVIOR = Behavior(_steps(300.0, (StepKind.PERCENT, 100, 15.0)), _steps(300.0, (StepKind.PERCENT, 100, 15.0)))
GUARD_BEHAVIOR = Behavior(_steps(0.0, (StepKind.PERCENT, 100, 15.0)), _steps(300.0, (StepKind.PERCENT, 100, 15.0)))
TOKEN_BEHAVIOR = Behavior(_steps(0.0, (StepKind.PODS, 1, 180.0)), _steps(300.0, (StepKind.PODS, 1, 300.0)))
SLO_BEHAVIOR = Behavior(
    _steps(30.0, (StepKind.PERCENT, 100, 60.0), (StepKind.PODS, 4, 60.0)), _steps(180.0, (StepKind.PODS, 1, 120.0))
)


def prefill_backlog_s(inflight_tokens: float, peak_tokens_per_s: float) -> float:
    """Return the seconds of prefill work in flight; the divisor is measured by hand on an idle stack."""
    return inflight_tokens / peak_tokens_per_s


def token_prefill(inflight_tokens: float, peak_tokens_per_s: float, threshold_s: float, status: int) -> int:
    """Propose prefill replicas from uncached tokens in flight."""
    return hpa.external_average(status, prefill_backlog_s(inflight_tokens, peak_tokens_per_s), threshold_s)


def token_decode(kv_use_ratios: Sequence[float], threshold: float, status: int) -> int:
    """Propose decode replicas from the sum of KV use; absent series add nothing (``or vector(0)``)."""
    return hpa.external_average(status, sum(kv_use_ratios), threshold)


def queue_demand(queue: float, running: float) -> float:
    """Return replicas asked for by flow control's queue (1 each) or by running requests (16 each)."""
    return max(queue / 1.0, running / 16.0)


def queue_guard(queue: float, running: float, *, pending: int, replicas: int) -> float:
    """Return the guide's composite against overshoot: what is already starting is taken off."""
    demand = queue_demand(queue, running)
    return demand if demand <= replicas else max(demand - pending, float(replicas))


@dataclass(frozen=True, slots=True)
class SloAware:
    """Limits and band of the SLO-aware guide."""

    ttft_s: float = 3.0
    tpot_s: float = 0.1
    clamp: float = 2.0
    upper: float = 0.55
    lower: float = 0.40
    minimum: int = 3
    maximum: int = 8

    def signal(self, samples: Sequence[tuple[float, float]]) -> float:
        """Return the mean over samples (p90 TTFT, p90 TPOT) of the worse share of its limit, each clamped."""
        shares = [min(max(ttft / self.ttft_s, tpot / self.tpot_s), self.clamp) for ttft, tpot in samples]
        return sum(shares) / len(shares)

    def demand(self, signal: float, provisioned: int, ready: int) -> int:
        """Return replicas asked for; the credit for warming replicas may turn an overload into fewer (as shipped)."""
        if signal > self.upper:
            credit = ready / provisioned if 0 < ready < provisioned else 1.0
            return provisioned + math.ceil(provisioned * (signal * credit / self.upper - 1.0))
        if signal < self.lower:
            return provisioned - math.floor(provisioned * (1.0 - signal / self.lower))
        return provisioned

    def replicas(self, signal: float, provisioned: int, ready: int) -> int:
        """Return the demand within the bounds."""
        return min(max(self.demand(signal, provisioned, ready), self.minimum), self.maximum)
