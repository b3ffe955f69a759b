"""The fewest replicas of one variant that keep every class inside its SLO, given how much load may come."""

import itertools
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
    return Sizes(stage, classes, [levels], goals, most, reserve=reserve).requirement(0, allowed)


class Sizes:
    """Several prospects of one stage, sized together: what a count of replicas does under all of them is found once."""

    def __init__(
        self,
        stage: Stage,
        classes: Sequence[TrafficClass],
        prospects: Sequence[Levels],
        goals: FloatArray,
        most: int,
        *,
        reserve: float = 1.0,
    ) -> None:
        """Take what ``requirement`` takes, with several ``levels``."""
        self._stage, self._classes, self._prospects = stage, classes, prospects
        self._goals, self._most, self._reserve = goals, most, reserve
        ends = [0, *itertools.accumulate(len(levels.weights) for levels in prospects)]
        self._rows = [slice(*pair) for pair in itertools.pairwise(ends)]
        self._loaded = stage.under(np.concatenate([levels.tokens_per_s for levels in prospects]))
        self._busy = self._loaded.busy_replicas
        self._within = np.minimum(goals, stage.reachable() - OUT_OF_REACH)
        self._attained: dict[int, FloatArray] = {}
        self._replicas: dict[int, int] = {}
        self._near = 0  # prospects need about the same: what was enough for the one before

    def replicas(self, place: int) -> int:
        """Return the fewest replicas for the prospect at a place."""
        if place not in self._replicas:
            self._replicas[place] = self._fewest(place)
        return self._replicas[place]

    def _fewest(self, place: int) -> int:
        if not self._prospects[place].tokens_per_s.any():
            return 0
        busy = float(self._busy[self._rows[place]][0])
        least = min(self._most, max(1, math.floor(busy)))

        def keeps(count: int) -> bool:
            return bool((self._expected(place, count) >= self._within).all())

        self._near = enough = _smallest(keeps, least, self._most, self._near)
        return max(1, math.ceil(busy + self._reserve * (enough - busy) - 1e-9))

    def _expected(self, place: int, count: int) -> FloatArray:
        """Return the share of each class's requests inside the limit, on average over a prospect's levels."""
        if count not in self._attained:
            self._attained[count] = self._loaded.attainment(count)
        return np.asarray(self._prospects[place].weights @ self._attained[count][self._rows[place]])

    def requirement(self, place: int, allowed: int | None = None) -> Requirement:
        """Return the same with what decides it."""
        replicas, levels = self.replicas(place), self._prospects[place]
        if replicas == 0:
            return Requirement(0, Code.NO_LOAD, "", {})
        load = levels.expected_tokens_per_s
        one_less = self._expected(place, max(1, replicas - 1))
        tightest = int(np.argmin(one_less - self._within))  # whom one less would hurt first
        code, profile = self._stage.binding(load), self._classes[tightest].profile.name
        evidence: Evidence = {
            "profile": profile,
            "limit_s": _limit_s(code, self._classes[tightest]),
            "horizon_s": float(levels.horizon),
            "tokens_per_s": float(load.sum()),
            "tokens_per_s_high": float(levels.tokens_per_s[-1].sum()),
            "busy_replicas": float(levels.weights @ self._busy[self._rows[place]]),
            "attainment": float(self._expected(place, replicas)[tightest]),
            "attainment_one_less": float(one_less[tightest]) if replicas > 1 else 0.0,
            "goal": float(self._goals[tightest]),
            "replicas_alone": replicas,
            "reserve": self._reserve,
        }
        short: Evidence = {}
        if allowed and replicas > allowed:
            excess = self._expected(place, allowed) - self._within
            short = _missed(code, self._classes, self._within, allowed, excess)
        return Requirement(replicas, code, profile, evidence, short)


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


def _smallest(enough: Callable[[int], bool], least: int, most: int, near: int) -> int:
    """Return the smallest count in [least, most] that is enough (``most`` where none is): strides, then halving.

    Args:
        enough: never so with fewer where it is not with more.
        least: where to begin, unless ``near`` is more.
        most: is not asked.
        near: a guess.
    """
    low, high, count, stride = least, most, near, 1
    while low < high:
        between = low > least and high < most
        count = (low + high) // 2 if between else min(max(count, low), high - 1)
        if enough(count):
            high, count = count, count - stride
        else:
            low, count = count + 1, count + stride
        stride *= 2
    return low
