"""What a role needs of each of its variants, alone: present load, load to come, and work that already waits.

The present load counts in full, whatever a forecast makes of the next minute: a forecast may only add to it. While more
misses are seen than promised, it counts for as much more as the margin says: a plan for what is there now is always a
start behind a load that grows. A queue is cleared on top of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain import signal
from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import EngineLoad
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Seconds
from autoscaler.plan import sizing, traffic
from autoscaler.plan.arrivals import arrivals
from autoscaler.plan.capacity import DecodeStage, PrefillStage, Stage
from autoscaler.plan.situation import Knowledge, Situation
from autoscaler.plan.sizing import Requirement, Sizes
from autoscaler.plan.traffic import Levels, TrafficClass
from autoscaler.plan.unified import UnifiedStage

FloatArray = NDArray[np.float64]

PRESENT, COMING, HIGHEST, CLEARING = range(4)
"""Places of the prospects that a need is sized for."""


@dataclass(frozen=True, slots=True)
class Need:
    """Replicas of one variant that its role would need if it served alone."""

    lower: int  # for the load that is there
    wanted: Requirement
    upper: int  # if the highest level came that the forecast holds possible
    spare: bool = True  # where more is there: the wanted ones would have something to spare


def of_role(situation: Situation, role: Role, share: float = 1.0) -> Mapping[str, Need]:
    """Return the need of a role that serves a share of the load, by variant name; empty where no demand is known."""
    questions = _questions(situation, role, share)
    sizing.settle([question.sizes for question in questions])
    return _answers(questions)


def of_all(situations: Sequence[Situation]) -> list[Mapping[Role, Mapping[str, Need]]]:
    """Return the needs of every role that serves all of its load, of several policies: sized together."""
    asked = [{role: _questions(situation, role) for role in Role} for situation in situations]
    sizing.settle([question.sizes for roles in asked for questions in roles.values() for question in questions])
    return [{role: _answers(questions) for role, questions in roles.items()} for roles in asked]


@dataclass(frozen=True, slots=True)
class _Question:
    """What a variant would need alone, as soon as its sizes are settled."""

    variant: Variant
    sizes: Sizes
    queued: bool

    def answer(self) -> Need:
        """Return the need: that of the prospect which asks for most."""
        sizes = self.sizes
        decisive = max((PRESENT, COMING), key=sizes.replicas)  # of equals the first
        clears = self.queued and sizes.replicas(CLEARING) > sizes.replicas(decisive)
        wanted = sizes.requirement(CLEARING if clears else decisive, self.variant.max_replicas)
        wanted = replace(wanted, code=Code.BACKLOG) if clears else wanted
        return Need(
            lower=sizes.replicas(PRESENT),
            wanted=wanted,
            upper=max(wanted.replicas, sizes.replicas(HIGHEST)),
            spare=all(
                sizes.has_spare(place)
                for place in (PRESENT, COMING, *([CLEARING] if self.queued else []))
                if sizes.replicas(place) == wanted.replicas
            ),
        )


def _questions(situation: Situation, role: Role, share: float = 1.0) -> list[_Question]:
    """Return what is to be found out for each variant of a role; nothing where no demand is known."""
    pool, demands = situation.policy.pool(role), situation.demands
    if not pool or not demands:
        return []
    known = classes(situation)
    margin = max(1.0, situation.margins.of(role))
    horizons = {situation.soon, *(situation.knowledge[variant.name].lead for variant in pool)}
    coming = {h: traffic.levels(role, h, demands, margin) for h in horizons}  # variants often share a lead
    present = margin * traffic.present(role, situation.soon, demands)
    soon = coming[situation.soon].at_least(present).part(share)
    coming = {h: levels.part(share) for h, levels in coming.items()}
    return [_question(situation, variant, known, soon, coming, share) for variant in pool]


def _answers(questions: Sequence[_Question]) -> Mapping[str, Need]:
    return {question.variant.name: question.answer() for question in questions}


def classes(situation: Situation) -> list[TrafficClass]:
    """Return the classes of requests of which something is known."""
    return [TrafficClass.of(situation.policy.profile(demand.profile), demand) for demand in situation.demands]


def reachable(situation: Situation, role: Role) -> FloatArray:
    """Return the share of each class's requests that the best idle replica of a role keeps inside its limits."""
    known = classes(situation)
    reach = [stage(situation, variant, known).reachable() for variant in situation.policy.pool(role)]
    return np.asarray(np.max([np.zeros(len(known)), *reach], axis=0))


def _question(
    situation: Situation,
    variant: Variant,
    classes: Sequence[TrafficClass],
    soon: Levels,
    coming: Mapping[Seconds, Levels],
    share: float,
) -> _Question:
    known = situation.knowledge[variant.name]
    served, due, later = stage(situation, variant, classes), goals(classes), coming[known.lead]
    queued = _backlog(situation, variant.role, served, classes, soon, known, share)
    clearing = [later.at_least(soon.tokens_per_s[0]).with_flow(queued)] if queued > 0 else []
    prospects = [soon, later, later.highest(), *clearing]
    most = 2 * max(1, sum(other.max_replicas for other in situation.policy.pool(variant.role)))
    reserve, there = min(1.0, situation.margins.of(variant.role)), situation.requested(variant.name) or 0
    return _Question(variant, Sizes(served, classes, prospects, due, most, reserve=reserve, there=there), queued > 0)


def stage(situation: Situation, variant: Variant, classes: Sequence[TrafficClass]) -> Stage:
    """Return what a variant's replicas do with requests."""
    model = situation.knowledge[variant.name].model
    if variant.role is Role.DECODE:
        return DecodeStage(model, classes)
    first_step_s = min(c.profile.slo.itl for c in classes)  # decode is sized to keep it
    if variant.role is Role.UNIFIED:
        return UnifiedStage.of(model, classes, first_step_s, situation.window)
    prefill = PrefillStage.of(model, classes, first_step_s, situation.window, hands_over=True)
    return prefill if situation.parts.queue_tail else replace(prefill, queues=False)


def goals(classes: Sequence[TrafficClass]) -> FloatArray:
    """Return what one of two stages must keep: a request that misses either limit misses, so each may miss half."""
    return np.array([1.0 - (1.0 - c.profile.slo.attainment) / 2.0 for c in classes])


def _backlog(
    situation: Situation,
    role: Role,
    stage: Stage,
    classes: Sequence[TrafficClass],
    soon: Levels,
    known: Knowledge,
    share: float,
) -> float:
    """Return the flow, as a share of the expected load, that clears in a start's time what will still wait by then.

    A queue that already takes longer than the tightest limit allows counts in full: the rates that say it will be
    gone by then lag behind what made it.
    """
    load = soon.expected_tokens_per_s
    total = float(load.sum())
    if total <= 0:
        return 0.0
    pods = situation.ready_pods(role)
    held = sum(
        signal.known(load.queued_requests, 0.0) for load in situation.observed.loads.values()
    )  # most pickers hold none
    waiting = _waiting(situation.observed.engines, pods) + share * held
    queued = waiting * _tokens_per_request(role, classes, load) if waiting > 0 else 0.0
    if queued <= 0:
        return 0.0
    each_per_s = total / max(1e-9, float(stage.under(load[None, :]).busy_replicas[0]))
    served_per_s = len(pods) * each_per_s
    helped = each_per_s * _to_come_s(situation, role, known.lead)
    left = queued + (total - served_per_s) * known.lead - helped
    if queued > served_per_s * min(c.profile.slo.ttft for c in classes):
        left = max(left, queued - helped)
    return max(0.0, left) / known.startup / total


def _to_come_s(situation: Situation, role: Role, horizon: Seconds) -> float:
    """Return the replica-seconds until a horizon of the replicas that are starting now."""
    seconds = 0.0
    for variant in situation.policy.pool(role):
        known, workload = situation.knowledge[variant.name], situation.workload(variant.name)
        if isinstance(workload, Workload):
            coming = arrivals(workload, known.lead if known.usual is None else known.usual, situation.at)
            seconds += sum(max(0.0, horizon - arrival) for arrival in coming if arrival > 0)
    return seconds


def _waiting(engines: Mapping[str, EngineLoad], pods: set[str]) -> float:
    """Count the requests that wait for capacity on some pods; engines that do not say are left out."""
    waiting = (engines[pod].waiting for pod in pods if pod in engines)
    return sum(count for count in waiting if not isinstance(count, Missing))


def _tokens_per_request(role: Role, classes: Sequence[TrafficClass], tokens_per_s: FloatArray) -> float:
    means = np.array([(c.output if role is Role.DECODE else c.uncached).mean for c in classes], dtype=np.float64)
    requests = np.divide(tokens_per_s, means, out=np.zeros_like(means), where=means > 0)
    return float(tokens_per_s.sum() / requests.sum()) if requests.sum() > 0 else 0.0
