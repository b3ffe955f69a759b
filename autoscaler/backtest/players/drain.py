"""Shrinks pools without losing requests: for schedules that know the future, and for peers that are lent a drain."""

import itertools
from collections.abc import Mapping
from types import MappingProxyType

from autoscaler.controller import Decides
from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import EngineLoad, ModelObservation, Observation
from autoscaler.domain.plan import Action, ModelPlan, Plan, Readmit, Scale, VariantPlan, VariantRef, Withdraw
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.signal import is_present
from autoscaler.domain.units import Seconds

EMPTY_FOR = Seconds(5.0)
"""A withdrawn pod may still get what was picked for it a moment before."""


class Drained:
    """Turns the counts that a decider wants into withdraw, wait until empty, delete."""

    def __init__(self, decider: Decides, policy: SLOPolicy) -> None:
        """Drain for a decider of one policy; it is shown only the replicas that are not withdrawn."""
        self._decider = decider
        self._policy = policy

    def decide(self, observation: Observation) -> Plan:
        """Return the inner plan's counts with the actions that reach them gently."""
        observed = observation.models.get(self._policy.key)
        if observed is None:
            return Plan(observation.at)
        inner = self._decider.decide(_without_withdrawn(observation, observed, self._policy.key))
        plans = inner.models[self._policy.key].variants if self._policy.key in inner.models else {}
        actions: list[Action] = []
        for name, plan in plans.items():
            workload = observed.fleet[name]
            if is_present(workload):
                actions.extend(_actions(VariantRef(self._policy.key, name), plan, workload, observed, observation))
        model = ModelPlan(self._policy.key, plans, tuple(actions))
        return Plan(observation.at, MappingProxyType({self._policy.key: model}))


def _without_withdrawn(observation: Observation, observed: ModelObservation, key: str) -> Observation:
    """Return what the decider would see if withdrawn pods were already gone."""
    fleet = {}
    for name, workload in observed.fleet.items():
        if not is_present(workload):
            fleet[name] = workload
            continue
        kept = tuple(pod for pod in workload.pods if pod.state is not PodState.DRAINING)
        fleet[name] = Workload(name, workload.requested - workload.draining, kept)
    model = ModelObservation(
        observed.policy, observed.loads, MappingProxyType(fleet), observed.engines, observed.unmatched_share
    )
    return Observation(observation.at, MappingProxyType({**observation.models, key: model}), observation.gaps)


def _actions(
    ref: VariantRef, plan: VariantPlan, workload: Workload, observed: ModelObservation, observation: Observation
) -> list[Action]:
    draining = list(workload.in_state(PodState.DRAINING))
    coming = workload.in_state(PodState.PENDING, PodState.STARTING, PodState.FAILED)
    serving = workload.requested - len(draining)
    if plan.target >= serving:
        back = draining[: plan.target - serving]
        readmitted: list[Action] = [Readmit(ref, pod.name) for pod in back]
        wanted = plan.target + len(draining) - len(back)
        gone = [] if coming or wanted > workload.requested else _gone(draining[len(back) :], observed, observation)
        return [*readmitted, *_scaled(ref, workload, wanted - len(gone))]
    cancelled = min(serving - plan.target, len(coming))  # a pod that does not serve yet has nothing to finish
    leaving = _emptiest(workload.in_state(PodState.READY), observed.engines)[: serving - plan.target - cancelled]
    withdrawn: list[Action] = [Withdraw(ref, pod.name) for pod in leaving]
    gone = [] if cancelled < len(coming) else _gone(draining, observed, observation)
    return [*withdrawn, *_scaled(ref, workload, workload.requested - cancelled - len(gone))]


def _gone(draining: list[Pod], observed: ModelObservation, observation: Observation) -> list[Pod]:
    """Return the pods that a smaller count would delete (the youngest first) as far as they are empty."""
    youngest = sorted(draining, key=lambda pod: (-pod.created, pod.name))
    return list(itertools.takewhile(lambda pod: _empty(pod, observed.engines, observation), youngest))


def _scaled(ref: VariantRef, workload: Workload, wanted: int) -> list[Action]:
    return [] if wanted == workload.requested else [Scale(ref, wanted, workload.requested)]


def _emptiest(pods: tuple[Pod, ...], engines: Mapping[str, EngineLoad]) -> list[Pod]:
    return sorted(pods, key=lambda pod: (_load(engines.get(pod.name)), -pod.created, pod.name))


def _load(engine: EngineLoad | None) -> float:
    if engine is None:
        return 0.0
    return sum(gauge for gauge in (engine.running, engine.waiting, engine.deferred) if is_present(gauge))


def _empty(pod: Pod, engines: Mapping[str, EngineLoad], observation: Observation) -> bool:
    """Tell whether a withdrawn pod has finished, as a scrape after its withdrawal tells; or its time is over."""
    if pod.drain_deadline is not None and observation.at >= pod.drain_deadline:
        return True
    engine = engines.get(pod.name)
    if engine is None or pod.draining_since is None or not is_present(engine.newest_sample):
        return False
    fresh = engine.newest_sample >= pod.draining_since + EMPTY_FOR
    held = engine.kv_use_ratio if is_present(engine.kv_use_ratio) else 1.0
    return fresh and _load(engine) == 0 and held <= 0
