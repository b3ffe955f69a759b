"""What the controller orders, done to the fleet of the tunnel: at once, and refused where a pod cannot follow."""

from autoscaler.domain.fleet import PodState
from autoscaler.domain.membership import Drain
from autoscaler.domain.plan import Action, Announce, Readmit, Scale, Withdraw
from autoscaler.domain.record import ActionResult, Result
from autoscaler.domain.units import Instant, after
from autoscaler.simulate.fleet import Fleet
from autoscaler.simulate.pods import SimulatedPod


def carried_out(action: Action, fleet: Fleet, now: Instant) -> ActionResult:
    """Carry out an action; return what came of it."""
    match action:
        case Scale(variant, replicas):
            return _scale(action, fleet, variant.variant, replicas)
        case Withdraw(_, name, _, drain):
            return _withdraw(action, fleet, name, drain, now)
        case Readmit(_, name):
            return _readmit(action, fleet, name)
        case Announce(_, name):
            return _announce(action, fleet, name)


def _scale(action: Action, fleet: Fleet, variant: str, replicas: int) -> ActionResult:
    if variant not in fleet.requested:
        return ActionResult(action, Result.REFUSED, f"no variant {variant}")
    if fleet.requested[variant] == replicas:
        return ActionResult(action, Result.UNCHANGED)
    fleet.set_replicas(variant, replicas)
    return ActionResult(action, Result.DONE)


def _withdraw(action: Action, fleet: Fleet, name: str, drain: Drain | None, now: Instant) -> ActionResult:
    """Note a drain on a pod; one that serves leaves the picker at once, one that starts never enters it."""
    pod = fleet.pods.get(name)
    if pod is None or pod.state is PodState.TERMINATING:
        return _refused(action, name, pod)
    noted = drain or pod.drain or Drain(now, after(now, fleet.policy.scale_down.drain_timeout))
    if noted == pod.drain:
        return ActionResult(action, Result.UNCHANGED)
    pod.drain = noted
    if pod.state is PodState.READY:
        fleet.enter(pod, PodState.DRAINING)
    return ActionResult(action, Result.DONE)


def _readmit(action: Action, fleet: Fleet, name: str) -> ActionResult:
    pod = fleet.pods.get(name)
    if pod is None or pod.state is PodState.TERMINATING:
        return _refused(action, name, pod)
    if pod.drain is None:
        return ActionResult(action, Result.UNCHANGED)
    pod.drain = None
    if pod.state is PodState.DRAINING:
        fleet.enter(pod, PodState.READY)
    return ActionResult(action, Result.DONE)


def _announce(action: Action, fleet: Fleet, name: str) -> ActionResult:
    pod = fleet.pods.get(name)
    if pod is None or pod.state is not PodState.READY:
        return _refused(action, name, pod)
    if pod.announced:
        return ActionResult(action, Result.UNCHANGED)
    fleet.announce(pod)
    return ActionResult(action, Result.DONE)


def _refused(action: Action, name: str, pod: SimulatedPod | None) -> ActionResult:
    return ActionResult(action, Result.REFUSED, f"pod {name} is {pod.state if pod else 'gone'}")
