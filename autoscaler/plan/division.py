"""Unified beside disaggregated replicas of one model: which share of the load each side carries.

A picker chooses among all replicas that decode and evens out what runs on them, so nobody sets the shares: they follow
from the counts. A replica with a batch of B generates ``B / (time between its tokens)``, and all keep batches alike (or
in the ratio that is measured). Unified replicas serve what they get whole and are slower, the more prompts they
compute; so the batch that they can bear binds the decode replicas beside them, too.

Both sides are sized for steps of the load. Of all pairs of steps those count with whose replicas the picker gives
neither side more than it was sized for; the cheapest is chosen. A side alone is such a pair. No side is given up before
what takes over serves.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.fleet import Workload
from autoscaler.domain.policy import SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.reason import Code, Evidence, Reason
from autoscaler.domain.signal import is_present
from autoscaler.plan import allocation, needs, sizing, traffic
from autoscaler.plan.allocation import Option
from autoscaler.plan.capacity import DecodeStage
from autoscaler.plan.situation import Situation
from autoscaler.plan.traffic import TrafficClass
from autoscaler.plan.unified import UnifiedStage

FloatArray = NDArray[np.float64]
Sized: TypeAlias = Callable[[Role, float], tuple[Option, ...]]
"""What a role may be served by, sized for a share of the load."""

STEPS = 16
"""Of the load: what a side is sized for is a multiple of a step."""

DECODE_STEPS = (*range(STEPS + 1), *range(STEPS + 4, 4 * STEPS + 1, 4))
"""More than all of the load, so that decode replicas are so many that batches suit the unified ones beside them."""

SLACK = 1e-6
"""Of a step: what sums of floats that should be equal differ by."""

ROUGH = 1.25
"""Times its cost that a way counts on which unified replicas are overloaded while they come or leave: a bad minute."""

BATCHES: FloatArray = np.geomspace(0.05, 2048.0, 96)
"""Requests running on a replica for which its pace is looked up."""

ASSUMED = 8.0
"""Requests running on each replica that weigh as much as what is measured: so many times batches are taken as alike."""


@dataclass(frozen=True, slots=True)
class Division:
    """How unified and disaggregated replicas divide the load."""

    sized: Mapping[Role, float]  # the share of the load that each role is sized for
    served: Mapping[Role, float]  # the most that is expected to come to it
    evidence: Evidence  # cost per hour of this way and of each side alone, with starts and what leaves

    def reason(self, role: Role) -> Reason:
        """Return why a role is sized as it is."""
        return Reason(Code.DIVIDED, {"share": self.served[role], "sized_for": self.sized[role], **self.evidence})


def mixes(policy: SLOPolicy) -> bool:
    """Tell whether a policy has unified replicas beside disaggregated ones."""
    return bool(policy.pool(Role.UNIFIED)) and bool(policy.pool(Role.DECODE))


def divided(situation: Situation, sized: Sized) -> Division | None:
    """Return the cheapest division of the load that is enough, or comes nearest to it within bounds.

    None: every role is sized for all of the load, because a policy does not mix, or nothing is known of the load.
    """
    if not mixes(situation.policy) or not situation.demands:
        return None
    sides = _Sides(situation, sized)
    ways = [*sides.ways()]
    best = min(ways, key=lambda way: way.rank)
    steps = sides.kept(best)
    evidence = {"cost": best.cost, "short": best.short, **_alternatives(best, ways)}
    return Division(MappingProxyType({role: step / STEPS for role, step in steps.items()}), best.served, evidence)


@dataclass(frozen=True, slots=True)
class _Way:
    """Steps of the load that each role is sized for, and what becomes of the load with the counts that follow."""

    steps: Mapping[Role, int]
    served: Mapping[Role, float]
    short: float  # share of the load that comes to a side beyond what its counts carry
    able: bool  # whether no side serves that cannot keep a limit which the other can
    cost: float

    @property
    def rank(self) -> tuple[float, bool, float, float]:
        """Return what decides between ways, smallest first; of equals the one with fewer unified replicas."""
        return (round(self.short, 6), not self.able, self.cost, self.served[Role.UNIFIED])


def _alternatives(best: _Way, ways: Sequence[_Way]) -> Evidence:
    """Return what the cheapest way of each side alone costs, where there is one as good but for its cost."""
    found = {}
    for name, idle in (("unified_alone", Role.DECODE), ("disaggregated_alone", Role.UNIFIED)):
        costs = [way.cost for way in ways if way.served[idle] <= 0.0 and way.rank[:2] <= best.rank[:2]]
        if costs:
            found[name] = min(costs)
    return found


@dataclass(frozen=True, slots=True)
class _Size:
    """What a role may come to: the counts for a step of the load, and how many steps they carry."""

    role: Role
    step: int
    serving: tuple[int, ...]  # of each variant, once all that can be counted on has come
    there: tuple[int, ...]  # with those that have yet to leave
    carried: int
    cost: float


class _Sides:
    """Both sides of one policy, sized for any step of the load."""

    def __init__(self, situation: Situation, sized: Sized) -> None:
        self._situation, self._able = situation, able(situation)
        self._options = cache(lambda role, step: sized(role, step / STEPS))
        self._paces = Paces(situation, {role: [o.variant for o in self._options(role, STEPS)] for role in Role})
        self._startup = max(known.startup for known in situation.knowledge.values())
        self._size = cache(self._sized)
        self._carried = cache(self._carry)

    def ways(self) -> Iterator[_Way]:
        """Yield the ways to serve the load."""
        unified = {size.serving: size for size in (self._size(Role.UNIFIED, s) for s in reversed(range(STEPS + 1)))}
        decode = {size.serving: size for size in (self._size(Role.DECODE, s) for s in reversed(DECODE_STEPS))}
        for mine, yours in itertools.product(unified.values(), decode.values()):
            yield self._way(mine, yours)

    def _way(self, unified: _Size, decode: _Size) -> _Way:
        least, most = self._paces.shares(unified.serving, decode.serving)
        computed = 1.0 - self._paces.shares(unified.serving, decode.there)[0]
        served = {Role.UNIFIED: most, Role.DECODE: 1.0 - least, Role.PREFILL: computed}
        prefill = self._size(Role.PREFILL, _up(computed))
        sizes = {Role.UNIFIED: unified, Role.DECODE: decode, Role.PREFILL: prefill}
        lack = {role: max(0.0, served[role] - (size.carried + SLACK) / STEPS) for role, size in sizes.items()}
        return _Way(
            {role: max(size.step, min(STEPS, _up(served[role]))) for role, size in sizes.items()},
            served,
            short=lack[Role.UNIFIED] + max(lack[Role.PREFILL], lack[Role.DECODE]),
            able=all(self._able[role] for role, share in served.items() if share > 0.0),
            cost=sum(size.cost for size in sizes.values()) * (1.0 if self._smooth(unified, decode) else ROUGH),
        )

    def _smooth(self, unified: _Size, decode: _Size) -> bool:
        """Tell whether unified replicas bear what comes to them when they are fewest on the way from what is ready.

        They come one by one to the decode replicas that serve, and leave as many at a time as may drain: the first and
        the last have few of their kind beside them.
        """
        fewest = self._fewest(unified)
        if fewest is None:
            return True
        growing = sum(fewest) > sum(self._ready(Role.UNIFIED))
        _, most = self._paces.shares(fewest, self._ready(Role.DECODE) if growing else decode.there)
        return most * STEPS <= self._carried(Role.UNIFIED, fewest) + SLACK

    def _fewest(self, unified: _Size) -> tuple[int, ...] | None:
        """Return how few unified replicas serve on the way from what is ready; None: no fewer than at its ends."""
        policy, ready = self._situation.policy, self._ready(Role.UNIFIED)
        drains = policy.scale_down.max_concurrent_drains if policy.scheduler.kind is not SchedulerKind.NONE else None
        fewest = tuple(_on_the_way(now, then, drains) for now, then in zip(ready, unified.serving, strict=True))
        alone = sum(fewest) > sum(ready) and not any(self._ready(Role.DECODE))
        return None if alone or not any(fewest) or fewest in {ready, unified.serving} else fewest

    def _sized(self, role: Role, step: int) -> _Size:
        options = self._options(role, step)
        pairs = [*zip(options, allocation.cheapest(options), strict=True)]
        serving = tuple(option.serving(count, option.lead) for option, count in pairs)
        return _Size(
            role=role,
            step=step,
            serving=serving,
            there=tuple(max(count, option.requested) for option, count in pairs),
            carried=self._carried(role, serving),
            cost=sum(option.cost(count, stay=self._startup) for option, count in pairs),
        )

    def _carry(self, role: Role, counts: tuple[int, ...]) -> int:
        """Return the most steps of the load that some replicas carry."""

        def done(step: int) -> float:
            return sum(n / o.alone for n, o in zip(counts, self._options(role, step), strict=True) if o.alone)

        steps = reversed(DECODE_STEPS if role is Role.DECODE else range(STEPS + 1))
        return next((step for step in steps if any(counts) and done(step) >= allocation.ENOUGH), 0)

    def kept(self, way: _Way) -> Mapping[Role, int]:
        """Return the steps of a way; what is there stays until those serve that take over from it."""
        come = {role: self._has_come(self._size(role, step)) for role, step in way.steps.items()}
        wait = dict.fromkeys(Role, not come[Role.UNIFIED])
        wait[Role.UNIFIED] = not (come[Role.PREFILL] and come[Role.DECODE])
        own = {role: self._carried(role, tuple(o.requested for o in self._options(role, STEPS))) for role in Role}
        return {role: max(step, own[role]) if wait[role] else step for role, step in way.steps.items()}

    def _has_come(self, size: _Size) -> bool:
        ready = self._ready(size.role)
        return all(now >= count for now, count in zip(ready, size.serving, strict=True))

    def _ready(self, role: Role) -> tuple[int, ...]:
        workloads = (self._situation.workload(option.variant.name) for option in self._options(role, STEPS))
        return tuple(workload.ready if isinstance(workload, Workload) else 0 for workload in workloads)


def _on_the_way(now: int, then: int, drains: int | None) -> int:
    """Return the first count on the way up, the last one on the way down."""
    if now < then:
        return now + 1
    return then if drains is None or now == then else then + (now - then - 1) % drains + 1


def able(situation: Situation) -> Mapping[Role, bool]:
    """Tell of each role whether its side keeps every limit that either side could keep."""
    reach = {role: needs.reachable(situation, role) for role in Role}
    apart = np.minimum(reach[Role.PREFILL], reach[Role.DECODE])
    best = np.maximum(apart, reach[Role.UNIFIED])
    due = np.minimum(needs.goals(needs.classes(situation)), best) - sizing.OUT_OF_REACH
    alone, together = bool((reach[Role.UNIFIED] >= due).all()), bool((apart >= due).all())
    return {Role.UNIFIED: alone, Role.PREFILL: together, Role.DECODE: together}


def _up(share: float) -> int:
    """Return the fewest steps that make up a share of the load."""
    return math.ceil(share * STEPS - SLACK)


class Paces:
    """How fast a replica of each variant generates while it runs a batch, in the mix of requests that is expected."""

    def __init__(self, situation: Situation, variants: Mapping[Role, Sequence[Variant]]) -> None:
        """Take the variants between which a picker chooses."""
        classes = needs.classes(situation)
        horizon = max(known.lead for known in situation.knowledge.values())
        later = traffic.levels(Role.DECODE, horizon, situation.demands)
        now = traffic.present(Role.DECODE, situation.soon, situation.demands)
        tokens_per_s = np.array([now, later.expected_tokens_per_s, later.tokens_per_s[-1]])
        self._total = tokens_per_s.sum(axis=1)
        uneven = _unevenness(situation)
        self._of = {
            role: [_pace(situation, v, classes, tokens_per_s, BATCHES * batch) for v in variants[role]]
            for role, batch in ((Role.UNIFIED, uneven), (Role.DECODE, 1.0))
        }

    def shares(self, unified: tuple[int, ...], decode: tuple[int, ...]) -> tuple[float, float]:
        """Return the least and the most of the load that goes to unified replicas, over the levels it may have."""
        if not any(unified) or not any(decode):
            alone = 0.0 if any(decode) else 1.0
            return alone, alone
        mine = np.tensordot(unified, self._of[Role.UNIFIED], 1)  # shape (levels, batches)
        all_of_it = mine + np.tensordot(decode, self._of[Role.DECODE], 1)
        found = [np.interp(*each) for each in zip(self._total, all_of_it, mine / all_of_it, strict=True)]
        return float(min(found)), float(max(found))


def _pace(
    situation: Situation, variant: Variant, classes: Sequence[TrafficClass], tokens_per_s: FloatArray, batch: FloatArray
) -> FloatArray:
    """Return the tokens per second of one replica with each batch, shape (levels, batches)."""
    stage = needs.stage(situation, variant, classes)
    if isinstance(stage, UnifiedStage):
        requests_per_s = tokens_per_s / [max(1.0, c.output.mean) for c in classes]
        return stage.pace(requests_per_s * [c.uncached.mean for c in classes], batch)
    model = situation.knowledge[variant.name].model
    decode = DecodeStage(model, classes).under(tokens_per_s)
    return np.asarray(batch / model.step.step_s(batch, batch * decode.context[:, None]))


def _unevenness(situation: Situation) -> float:
    """Return how many requests run on a unified replica for each on a decode replica: 1, corrected by what is seen."""
    means = []
    for role in (Role.UNIFIED, Role.DECODE):
        engines = (situation.observed.engines.get(pod) for pod in situation.ready_pods(role))
        running = [engine.running for engine in engines if engine is not None and is_present(engine.running)]
        if not running:
            return 1.0
        means.append(ASSUMED + sum(running) / len(running))
    return float(means[0] / means[1])
