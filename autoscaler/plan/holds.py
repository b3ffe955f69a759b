"""When nothing, or nothing downwards, may change: pauses, and data that is missing, stale or contradictory."""

from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.fleet import Workload
from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.policy import Mode
from autoscaler.domain.reason import Code, Evidence, Reason
from autoscaler.domain.signal import Missing
from autoscaler.plan.situation import Situation

HOLDS = frozenset({Code.PAUSED, Code.HELD_ON_GAP, Code.HELD_SCALE_DOWN, Code.FOREIGN_WRITER})


def held(situation: Situation, variant: str, proposal: VariantPlan) -> VariantPlan:
    """Return the proposal as far as what is known allows it.

    Up is allowed on what is known, down only when everything is known, and a count that is not known is not changed.
    """
    workload = situation.workload(variant)
    if not isinstance(workload, Workload):
        return proposal.because(Reason(Code.HELD_ON_GAP, _gap("replicas", workload)))
    veto = _veto(situation, variant, woken=any(reason.code is Code.WOKEN for reason in proposal.reasons))
    if veto is None and proposal.target < workload.requested:
        veto = _veto_down(situation, variant)
    return proposal if veto is None else proposal.amended(workload.requested, veto)


def is_held(proposal: VariantPlan) -> bool:
    """Tell whether a proposal was cut to what is there: what has begun may then stay, nothing may begin."""
    return any(reason.code in HOLDS for reason in proposal.reasons)


def _veto(situation: Situation, variant: str, *, woken: bool) -> Reason | None:
    """Return what forbids any change; at zero nothing measures what a request needs, so waking does not wait for it."""
    if situation.observed.paused:
        return Reason(Code.PAUSED)
    foreign = situation.observed.foreign.get(variant)
    if foreign is not None and situation.policy.mode is Mode.AUTO:
        return Reason(Code.FOREIGN_WRITER, {"who": foreign})
    if not situation.demands and not woken:
        return Reason(Code.HELD_ON_GAP, _first_gap(situation))
    return None


def _veto_down(situation: Situation, variant: str) -> Reason | None:
    """Return what forbids a removal."""
    if situation.observed.paused_scale_down:
        return Reason(Code.HELD_SCALE_DOWN, {"why": "paused by annotation"})
    unknown = _blind_spot(situation, variant)
    return None if unknown is None else Reason(Code.HELD_ON_GAP, unknown)


def _blind_spot(situation: Situation, variant: str) -> Evidence | None:
    """Return what is not known that a removal would have to know; None: all is known."""
    if len(situation.demands) < len(situation.policy.profiles):
        return _first_gap(situation)
    for load in situation.observed.loads.values():  # demand outlives its signal: it is not what is seen now
        for seen in (load.requests_per_second, load.uncached_prompt_tokens_per_second, load.output_tokens_per_second):
            if isinstance(seen, Missing):
                return _gap(f"load of profile {load.profile}", seen)
    role = situation.policy.variant(variant).role
    for pod in sorted(situation.ready_pods(role)):
        engine = situation.observed.engines.get(pod)
        if engine is None:
            return _gap(f"load of {pod}", None)
        if isinstance(engine.running, Missing):
            return _gap(f"load of {pod}", engine.running)
    return None


def _first_gap(situation: Situation) -> Evidence:
    for profile in situation.policy.profiles:
        demand = situation.demand.get(profile.name)
        if not isinstance(demand, ProfileDemand):
            return _gap(f"load of profile {profile.name}", demand)
    return _gap("load", None)


def _gap(signal: str, missing: Missing | None) -> Evidence:
    if missing is None:
        return {"signal": signal, "gap": "absent"}
    return {"signal": signal, "gap": missing.reason.value, "since": missing.since}
