"""To zero after a quiet time and from zero on the first request, roles together.

Who wakes is the cheapest variant of each role that keeps the limits on an idle replica; how many more are needed is
sized as ever, once there is something to size by. Not knowing is never quiet: a request that runs or waits, or a signal
that is missing, begins the quiet time anew.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.observation import EngineLoad, ModelObservation, ProfileLoad
from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.signal import GapReason, Missing, is_present, known
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan.guardrails import Proposals
from autoscaler.plan.situation import Situation

LONGEST_GAP = Seconds(300.0)
"""Between two looks: after a longer one nobody knows what came meanwhile."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Since when no request has come, run or waited, as far as one has looked; None: one has, or that is not known."""

    since: Instant | None = None
    seen: Instant | None = None

    def updated(self, at: Instant, observed: ModelObservation) -> "Quiet":
        """Return the same after another look."""
        if not _told(observed) or not all(map(_idle, observed.loads.values())):
            return Quiet(None, at)
        if not all(map(_empty, observed.engines.values())):
            return Quiet(None, at)
        followed = self.seen is not None and at - self.seen <= LONGEST_GAP
        return Quiet(self.since if followed and self.since is not None else at, at)

    def lasted(self, at: Instant) -> Seconds:
        """Return how long it has been quiet."""
        return Seconds(0.0 if self.since is None else at - self.since)


def _told(observed: ModelObservation) -> bool:
    """Tell whether something is known of the load, and of the engine of every pod that serves.

    A replayed past has no fleet; where the fleet is missing now, counts are held anyway.
    """
    workloads = (each for each in observed.fleet.values() if isinstance(each, Workload))
    serving = (pod.name for each in workloads for pod in each.in_state(PodState.READY))
    return bool(observed.loads) and all(pod in observed.engines for pod in serving)


def _idle(load: ProfileLoad) -> bool:
    rate, queued = load.requests_per_second, load.queued_requests
    if isinstance(queued, Missing):
        queued = 0.0 if queued.reason is GapReason.ABSENT else math.inf  # absent: this picker holds no requests
    return is_present(rate) and rate <= 0.0 and queued <= 0.0


def _empty(engine: EngineLoad) -> bool:
    """Tell whether an engine holds no request; ``deferred`` is a share of ``waiting`` that not every engine tells."""
    gauges = (engine.running, engine.waiting, known(engine.deferred, 0.0))
    return all(is_present(gauge) and gauge <= 0.0 for gauge in gauges)


def awake(situation: Situation, proposals: Proposals) -> Proposals:
    """Return proposals under which an idle model sleeps, if its policy allows that, and one that is asked for serves.

    Where ``minReplicas`` does not keep it, the last replica of a role stays until the quiet time is over. Prefill may
    be at zero while decode would serve alone, until a request comes.
    """
    policy, asked = situation.policy, _asked(situation.observed)
    sleeps = policy.scale_to_zero.enabled
    idle = sleeps and situation.quiet >= policy.scale_to_zero.idle_after
    amended = dict(proposals)
    for pool in _optional(policy, amended):
        there = [variant for variant in pool if situation.requested(variant.name)]
        if idle or (asked is None and not there):
            amended |= {variant.name: _asleep(situation, amended[variant.name]) for variant in pool}
            continue
        wakes = [asked] if asked is not None and not there else []
        if not any(amended[variant.name].target for variant in pool) and (sleeps or wakes):
            chosen = _cheapest(situation, there or pool)
            amended[chosen.name] = amended[chosen.name].amended(1, *(wakes or [_lately(policy)]))
        elif wakes:
            amended |= {v.name: amended[v.name].because(*wakes) for v in pool if amended[v.name].target}
    return amended


def answering(situation: Situation, proposals: Proposals) -> Proposals:
    """Return proposals under which some replica would answer a request, where minimums do not see to that.

    Unified and disaggregated replicas may each be at zero while the others serve; without load, who is there stays.
    """
    policy = situation.policy
    able = [variant for variant in policy.variants if variant.role.decodes]
    if policy.scale_to_zero.enabled or any(proposals[variant.name].target for variant in able):
        return proposals
    there = [variant for variant in able if situation.requested(variant.name)]
    stays = _cheapest(situation, there or policy.pool(Role.UNIFIED) or able)
    reason = Reason(Code.NO_LOAD, {"from": 0, "to": 1})
    return {**proposals, stays.name: proposals[stays.name].amended(1, reason)}


def together(situation: Situation, proposals: Proposals) -> Proposals:
    """Return proposals in which no role of a model that may sleep gives up its last replica before the others do."""
    policy = situation.policy
    pools = [
        pool for pool in _optional(policy, proposals) if any(situation.requested(variant.name) for variant in pool)
    ]
    left = [any(proposals[variant.name].target for variant in pool) for pool in pools]
    if not policy.scale_to_zero.enabled or all(left) or not any(left):
        return proposals
    amended = dict(proposals)
    for pool, stays in zip(pools, left, strict=True):
        if not stays:
            chosen = _cheapest(situation, [variant for variant in pool if situation.requested(variant.name)])
            amended[chosen.name] = amended[chosen.name].amended(1, _lately(policy))
    return amended


def _optional(policy: SLOPolicy, proposals: Proposals) -> list[tuple[Variant, ...]]:
    """Return the pools that may be at zero: of a model that may sleep all, else prefill, where no minimum keeps it.

    Beside unified replicas prefill serves nobody while no decode replica is wanted.
    """
    if not policy.scale_to_zero.enabled and policy.pool(Role.UNIFIED):
        decode = policy.pool(Role.DECODE)
        pools = [policy.pool(Role.PREFILL)] if any(proposals[variant.name].target for variant in decode) else []
    else:
        pools = [policy.pool(role) for role in (Role if policy.scale_to_zero.enabled else (Role.PREFILL,))]
    return [pool for pool in pools if pool and not any(variant.min_replicas for variant in pool)]


def _lately(policy: SLOPolicy) -> Reason:
    return Reason(Code.KEPT_AWAKE, {"after_s": policy.scale_to_zero.idle_after, "from": 0, "to": 1})


def _asleep(situation: Situation, proposal: VariantPlan) -> VariantPlan:
    reason = Reason(Code.IDLE, {"quiet_s": situation.quiet, "from": proposal.target, "to": 0})
    return proposal.amended(0, reason) if proposal.target else proposal


def _asked(observed: ModelObservation) -> Reason | None:
    """Return what asks for the model now: requests that arrive or that the picker holds; None: nothing known does."""
    queued = sum(known(load.queued_requests, 0.0) for load in observed.loads.values())
    rate = sum(known(load.requests_per_second, 0.0) for load in observed.loads.values())
    if queued <= 0.0 and rate <= 0.0:
        return None
    return Reason(Code.WOKEN, {"queued": queued, "requests_per_s": rate, "from": 0, "to": 1})


def _cheapest(situation: Situation, pool: Sequence[Variant]) -> Variant:
    """Return the cheapest variant whose idle replica keeps every limit, or of all where none does."""
    fit = [variant for variant in pool if _keeps(situation, variant)]
    return min(fit or pool, key=lambda variant: (variant.cost_per_replica_hour, variant.name))


def _keeps(situation: Situation, variant: Variant) -> bool:
    model = situation.knowledge[variant.name].model
    prompts = {demand.profile: demand.prompt_tokens.mean for demand in situation.demands}
    for profile in situation.policy.profiles:
        prompt = max(1.0, prompts.get(profile.name, 1.0))
        late = variant.role.prefills and float(model.prefill.latency_s(prompt)) > profile.slo.ttft
        slow = variant.role.decodes and float(model.step.step_s(1.0, prompt)) > profile.slo.itl
        if late or slow:
            return False
    return True
