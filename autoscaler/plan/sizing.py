"""The fewest replicas of one variant that keep every class inside its SLO, given how much load may come."""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.reason import Code, Evidence
from autoscaler.plan import rows
from autoscaler.plan.capacity import Stage
from autoscaler.plan.traffic import Levels, TrafficClass

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

OUT_OF_REACH = (
    0.002  # a class that no number of replicas can serve in full is served to within this share of what can be
)


SPARE = 0.5
"""Part of a replica that those that stay have to spare before one leaves (``slack``)."""

TOGETHER = 32
"""Stages whose prospects are searched at once: more would leave the processor's caches, and take memory."""


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
        reserve: share, in (0, 1], of the distance from what the median load keeps busy that experience has shown to
            be needed (``risk``).
    """
    sizes = Sizes(stage, classes, [levels], goals, most, reserve=reserve)
    settle([sizes])
    return sizes.requirement(0, allowed)


class Sizes:
    """Several prospects of one stage: how many replicas each needs, once that is settled, and why."""

    def __init__(
        self,
        stage: Stage,
        classes: Sequence[TrafficClass],
        prospects: Sequence[Levels],
        goals: FloatArray,
        most: int,
        *,
        reserve: float = 1.0,
        there: int = 0,
    ) -> None:
        """Take what ``requirement`` takes, with several ``levels``; ``there``: replicas that run or were ordered."""
        self._stage, self._classes, self._goals = stage, classes, goals
        self.reserve, self.there = reserve, there
        self.prospects, self.most = prospects, most
        ends = [0, *itertools.accumulate(len(levels.weights) for levels in prospects)]
        self._rows = [slice(*pair) for pair in itertools.pairwise(ends)]
        self.loaded = stage.under(np.concatenate([levels.tokens_per_s for levels in prospects]))
        self.within = np.minimum(goals, stage.reachable() - OUT_OF_REACH)
        self.attained: list[dict[int, FloatArray]] = [{} for _ in prospects]  # by count, as far as it was asked
        self._replicas: Sequence[int] = ()
        self._spare: Sequence[bool] = ()

    def settled(self, replicas: Sequence[int], spare: Sequence[bool]) -> None:
        """Take what each prospect needs, and whether that has something to spare."""
        self._replicas, self._spare = replicas, spare

    def replicas(self, place: int) -> int:
        """Return the fewest replicas for the prospect at a place."""
        return self._replicas[place]

    def has_spare(self, place: int) -> bool:
        """Tell whether ``SPARE`` less than these would do; asked where more are there, else it is so."""
        return self._spare[place]

    def _expected(self, place: int, count: int) -> FloatArray:
        """Return the share of each class's requests inside the limit, on average over a prospect's levels."""
        known = self.attained[place]
        if count not in known:
            loaded = rows.taken(self.loaded, self._rows[place])
            known[count] = self.prospects[place].weights @ loaded.attainment(count)
        return known[count]

    def requirement(self, place: int, allowed: int | None = None) -> Requirement:
        """Return the same with what decides it."""
        replicas, levels = self.replicas(place), self.prospects[place]
        if replicas == 0:
            return Requirement(0, Code.NO_LOAD, "", {})
        load = levels.expected_tokens_per_s
        one_less = self._expected(place, max(1, replicas - 1))
        tightest = int(np.argmin(one_less - self.within))  # whom one less would hurt first
        code, profile = self._stage.binding(load), self._classes[tightest].profile.name
        evidence: Evidence = {
            "profile": profile,
            "limit_s": _limit_s(code, self._classes[tightest]),
            "horizon_s": float(levels.horizon),
            "tokens_per_s": float(load.sum()),
            "tokens_per_s_high": float(levels.tokens_per_s[-1].sum()),
            "busy_replicas": float(levels.weights @ self.loaded.busy_replicas[self._rows[place]]),
            "attainment": float(self._expected(place, replicas)[tightest]),
            "attainment_one_less": float(one_less[tightest]) if replicas > 1 else 0.0,
            "goal": float(self._goals[tightest]),
            "replicas_alone": replicas,
            "reserve": self.reserve,
        }
        short: Evidence = {}
        if allowed and replicas > allowed:
            excess = self._expected(place, allowed) - self.within
            short = _missed(code, self._classes, self.within, allowed, excess)
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


def settle(several: Sequence[Sizes]) -> None:
    """Find what is enough for all prospects of several stages: arrays over many cost little more than over one."""
    alike: dict[Hashable, list[Sizes]] = {}
    for sizes in several:
        alike.setdefault(rows.kind(sizes.loaded), []).append(sizes)
    for group in alike.values():
        for begin in range(0, len(group), TOGETHER):
            _Search(group[begin : begin + TOGETHER]).settle()


class _Search:
    """The smallest counts that are enough for all prospects of some stages of a kind: arrays of shape (prospects,)."""

    def __init__(self, several: Sequence[Sizes]) -> None:
        self._several = several
        prospects = [levels for sizes in several for levels in sizes.prospects]
        each = [len(sizes.prospects) for sizes in several]
        self._attained = [known for sizes in several for known in sizes.attained]
        self._loaded = rows.joined([sizes.loaded for sizes in several])
        self._weights = np.concatenate([levels.weights for levels in prospects])
        self._levels = np.array([len(levels.weights) for levels in prospects])
        self._within = np.repeat([sizes.within for sizes in several], each, axis=0)
        self._most = np.repeat([sizes.most for sizes in several], each)
        busy = self._loaded.busy_replicas[_begins(self._levels)]
        self._least = np.minimum(self._most, np.maximum(1.0, np.floor(busy))).astype(np.int64)
        self._busy, self._reserve = busy, np.repeat([sizes.reserve for sizes in several], each)
        self._there = np.repeat([sizes.there for sizes in several], each)
        self._loads = np.array([levels.tokens_per_s.any() for levels in prospects])

    def settle(self) -> None:
        """Tell all stages what they need."""
        needed = self._needed()
        told = iter(zip(needed.tolist(), self._spares(needed).tolist(), strict=True))
        for sizes in self._several:
            sizes.settled(*zip(*itertools.islice(told, len(sizes.prospects)), strict=True))

    def _needed(self) -> IntArray:
        """Return what experience has left of the smallest counts that are enough; none where there is no load."""
        kept = np.ceil(self._busy + self._reserve * (self._smallest() - self._busy) - 1e-9)
        return np.where(self._loads, np.maximum(1, kept), 0).astype(np.int64)

    def _spares(self, needed: IntArray) -> BoolArray:
        """Tell which of these counts would do with ``SPARE`` less, where more are there; the others are not asked."""
        asked = (needed > 0) & (needed < self._there)
        spares = ~asked
        if asked.any():
            busy = self._busy[asked]
            least = (
                busy + (needed[asked] - SPARE - busy) / self._reserve[asked]
            )  # to require; experience leaves so much
            attained = self._attained_by(asked, np.maximum(busy, least))
            spares[asked] = (least > busy) & (attained >= self._within[asked]).all(axis=1)
        return np.asarray(spares)

    def _smallest(self) -> IntArray:
        """Return the smallest counts that are enough, the most where no less is: strides, then halving.

        With fewer than what is not enough it is taken never to be enough. The most is not asked.
        """
        low, high, beyond, stride = self._least, self._most, self._least, 1
        while (left := low < high).any():
            asked = np.where(high < self._most, (low + high) // 2, np.clip(beyond, low, high - 1))
            enough = np.zeros_like(left)
            enough[left] = (self._expected(left, asked[left]) >= self._within[left]).all(axis=1)
            low, high = np.where(left & ~enough, asked + 1, low), np.where(enough, asked, high)
            beyond, stride = beyond + stride, 2 * stride
        return np.asarray(low)

    def _expected(self, left: BoolArray, asked: IntArray) -> FloatArray:
        """Return what some prospects attain on average with the counts that each is asked, and note it."""
        expected = self._attained_by(left, asked.astype(np.float64))
        known = itertools.compress(self._attained, left.tolist())
        for of_prospect, count, average in zip(known, asked.tolist(), expected, strict=True):
            of_prospect[count] = average
        return expected

    def _attained_by(self, some: BoolArray, replicas: FloatArray) -> FloatArray:
        """Return what some prospects attain on average with so many replicas each, not all of them whole."""
        levels, chosen = self._levels[some], np.repeat(some, self._levels)
        attained = rows.taken(self._loaded, chosen).attainment(np.repeat(replicas, levels))
        return np.asarray(np.add.reduceat(self._weights[chosen, None] * attained, _begins(levels)))


def _begins(lengths: IntArray) -> IntArray:
    """Return where each of some stretches begins that follow each other."""
    return np.asarray(np.cumsum(lengths) - lengths)
