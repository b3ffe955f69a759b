"""The fewest replicas of one variant that keep every class inside its SLO, given how much load may come."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.reason import Code, Evidence
from autoscaler.plan.capacity import Stage
from autoscaler.plan.traffic import Levels, TrafficClass

FloatArray = NDArray[np.float64]

OUT_OF_REACH = (
    0.002  # a class that no number of replicas can serve in full is served to within this share of what can be
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Replicas of one variant alone that a role needs, and what decides it."""

    replicas: int
    code: Code
    profile: str  # the tightest binding one; empty without load
    evidence: Evidence
    short: Evidence = field(default_factory=lambda: MappingProxyType({}))  # what is missed with all that is allowed


def requirement(
    stage: Stage,
    classes: Sequence[TrafficClass],
    levels: Levels,
    goals: FloatArray,
    most: int,
    *,
    allowed: int | None = None,
    reserve: float = 1.0,
) -> Requirement:
    """Return the fewest replicas, at most ``most``, with which every class reaches its goal on average over levels.

    Args:
        stage: the role on this variant.
        classes: the classes of requests, in the order of all arrays.
        levels: what may come.
        goals: share of each class's requests that this role must keep inside the limit, shape (classes,).
        most: give up beyond; the requirement is then ``most``.
        allowed: replicas that may run at most; where more are required, ``short`` says what is missed.
        reserve: share, in [0, 1], of the distance from what the median load keeps busy that experience has shown to
            be needed (``risk``).
    """
    load = levels.expected_tokens_per_s
    if not load.any():
        return Requirement(0, Code.NO_LOAD, "", {})
    loaded = stage.under(levels.tokens_per_s)

    @functools.cache
    def expected(count: int) -> FloatArray:
        return np.asarray(levels.weights @ loaded.attainment(count))

    within = np.minimum(goals, stage.reachable() - OUT_OF_REACH)
    least = min(most, max(1, math.floor(loaded.busy_replicas[0])))
    replicas = _smallest(lambda count: bool(np.all(expected(count) >= within)), least, most)
    busy = float(loaded.busy_replicas[0])
    replicas = max(1, math.ceil(busy + reserve * (replicas - busy) - 1e-9))
    one_less = expected(max(1, replicas - 1))
    tightest = int(np.argmin(one_less - within))  # whom one less would hurt first
    code = stage.binding(load)
    evidence: Evidence = {
        "profile": classes[tightest].profile.name,
        "limit_s": _limit_s(code, classes[tightest]),
        "horizon_s": float(levels.horizon),
        "tokens_per_s": float(load.sum()),
        "tokens_per_s_high": float(levels.tokens_per_s[-1].sum()),
        "busy_replicas": float(levels.weights @ loaded.busy_replicas),
        "attainment": float(expected(replicas)[tightest]),
        "attainment_one_less": float(one_less[tightest]) if replicas > 1 else 0.0,
        "goal": float(goals[tightest]),
        "replicas_alone": replicas,
        "reserve": reserve,
    }
    short: Evidence = {}
    if allowed and replicas > allowed:
        short = _missed(code, classes, within, allowed, expected(allowed) - within)
    return Requirement(replicas, code, classes[tightest].profile.name, evidence, short)


def _missed(
    code: Code, classes: Sequence[TrafficClass], goals: FloatArray, allowed: int, excess: FloatArray
) -> Evidence:
    """Return whose limit is missed, and by how much, with all that may run; ``excess``: served beyond what is due."""
    worst = int(np.argmin(excess))
    due = float(goals[worst])
    return {
        "to": allowed,
        "profile": classes[worst].profile.name,
        "limit_s": _limit_s(code, classes[worst]),
        "attainment": max(0.0, due + float(excess[worst])),
        "goal": due,
    }


def _limit_s(code: Code, traffic: TrafficClass) -> float:
    slo = traffic.profile.slo
    return float(slo.ttft if code is Code.TTFT_AT_RISK else slo.itl)


def _smallest(enough: Callable[[int], bool], least: int, most: int) -> int:
    """Return the smallest count in [least, most] that is enough (``most`` where none is): strides, then halving."""
    low, bound, stride = least, least, 1
    while bound < most and not enough(bound):
        low, bound, stride = bound + 1, min(most, bound + stride), 2 * stride
    while low < bound:
        middle = (low + bound) // 2
        low, bound = (low, middle) if enough(middle) else (middle + 1, bound)
    return low
