"""HorizontalPodAutoscaler v2: proposals of its metric types, their combination, and one sync.

Source: Kubernetes 1.33, ``pkg/controller/podautoscaler/{replica_calculator,horizontal}.go``. Windows and step limits
are ``autoscaler.plan.behavior``, which our own planner uses as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.backtest.baselines.verdict import Proposal, Verdict, Written
from autoscaler.domain.policy import Behavior, ScalingRules, StepKind, StepLimit
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import behavior as damping

TOLERANCE = 0.1

DEFAULT_BEHAVIOR = Behavior(
    scale_up=ScalingRules(
        Seconds(0.0),
        (StepLimit(StepKind.PERCENT, 100, Seconds(15.0)), StepLimit(StepKind.PODS, 4, Seconds(15.0))),
        tolerance=TOLERANCE,
    ),
    scale_down=ScalingRules(Seconds(300.0), (StepLimit(StepKind.PERCENT, 100, Seconds(15.0)),), tolerance=TOLERANCE),
)
"""What the API server fills in where ``behavior`` is present but empty."""


def milli(value: float) -> int:
    """Return a quantity in thousandths, the unit in which HPA counts."""
    return round(value * 1000)


def pods_metric(
    current: int, target: float, samples: Sequence[float], *, unready: int = 0, missing: int = 0
) -> Proposal:
    """Propose replicas for a Pods metric (AverageValue).

    Args:
        current: spec.replicas.
        target: value wished per pod.
        samples: of pods that are ready and report.
        unready: pods that are Pending (for CPU: initialising too); their samples do not count.
        missing: Running pods without a sample, e.g. while vLLM loads.
    """
    if not samples:
        return Verdict.INVALID
    usage = _usage(samples, target)
    if not missing and not (unready and usage > 1):
        return current if _tolerated(usage) else math.ceil(usage * len(samples))
    return _rebalanced(current, target, samples, unready=unready if usage > 1 else 0, missing=missing, usage=usage)


def _rebalanced(  # as the two fills of the original read: pessimistic in the direction of the change
    current: int, target: float, samples: Sequence[float], *, unready: int, missing: int, usage: float
) -> int:
    absent = [target] * missing if usage < 1 else [0.0] * missing if usage > 1 else []
    filled = [*samples, *absent, *([0.0] * unready)]
    again = _usage(filled, target)
    if _tolerated(again) or (usage - 1) * (again - 1) < 0:
        return current
    proposal = math.ceil(again * len(filled))
    return current if (proposal - current) * (again - 1) < 0 else proposal


def external_average(status: int, total: float, target: float) -> int:
    """Propose replicas for an External or Object metric of type AverageValue (what KEDA creates)."""
    if status and _tolerated(milli(total) / (milli(target) * status)):
        return status
    return math.ceil(milli(total) / milli(target))


def external_value(current: int, ready: int, total: float, target: float) -> int:
    """Propose replicas for an External or Object metric of type Value: it multiplies the ready pods."""
    usage = milli(total) / milli(target)
    if current == 0:
        return math.ceil(usage)
    return current if _tolerated(usage) else math.ceil(usage * ready)


def combined(current: int, proposals: Sequence[Proposal]) -> Written:
    """Take the largest proposal; an invalid metric forbids the way down, and all invalid forbid any."""
    valid = [proposal for proposal in proposals if proposal is not Verdict.INVALID]
    if not valid or (len(valid) < len(proposals) and max(valid) < current):
        return Verdict.HOLD
    return max(valid)


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """The part of a HorizontalPodAutoscaler object that damps; ``behavior`` None: the object has none."""

    minimum: int
    maximum: int
    behavior: Behavior | None = DEFAULT_BEHAVIOR  # None is how the API says it: other rules apply then

    def sync(
        self, recommendation: Written, current: int, memory: damping.Memory, at: Instant
    ) -> tuple[int, damping.Memory]:
        """Return the replicas after one sync, and what the next one has to remember."""
        if current == 0 and self.minimum:
            return current, memory  # disabled by hand
        if not self.minimum <= current <= self.maximum:
            return min(max(current, self.minimum), self.maximum), memory  # skips metrics and windows
        if recommendation is Verdict.HOLD:
            return current, memory
        windows = self.behavior or Behavior()
        replicas = self._damped(recommendation, current, memory, at)
        remembered = memory.recommended(at, recommendation, windows).changed(at, replicas - current, windows)
        return replicas, remembered

    def _damped(self, recommendation: int, current: int, memory: damping.Memory, at: Instant) -> int:
        bounds = (self.minimum, self.maximum)
        if self.behavior is not None:
            return damping.damped(
                recommendation, current=current, bounds=bounds, behavior=self.behavior, memory=memory, at=at
            ).bounded
        recent = [entry.replicas for entry in memory.recommendations if entry.at > at - 300.0]
        return max(self.minimum, min(max(recommendation, *recent, 0), self.maximum, max(2 * current, 4)))


def _usage(samples: Sequence[float], target: float) -> float:
    return sum(milli(sample) for sample in samples) // len(samples) / milli(target)


def _tolerated(usage: float) -> bool:
    return damping.within_tolerance(usage, DEFAULT_BEHAVIOR)
