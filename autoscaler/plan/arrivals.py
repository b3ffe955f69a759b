"""When the replicas that a variant was asked for serve: what is there, what starts, and what should have come."""

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan.allocation import OVERDUE

STUCK_AFTER = 2.0
"""Times the cautious start-up time after which a start that found a node is not counted on either."""


def arrivals(workload: Workload, lead: Seconds, at: Instant) -> tuple[float, ...]:
    """Return the seconds until each requested replica serves: 0 where it does, ``OVERDUE`` where nobody knows.

    A replica that waits for a node for longer than a whole start cautiously takes is overdue. Replicas without a pod
    yet take a whole start; of more pods than are requested, the last to come are left out.
    """
    coming = workload.in_state(PodState.READY, PodState.STARTING, PodState.PENDING)
    times = sorted(_until_ready(pod, lead, at) for pod in coming)
    return tuple((times + [lead] * max(0, workload.requested - len(times)))[: workload.requested])


def _until_ready(pod: Pod, lead: Seconds, at: Instant) -> float:
    if pod.state is PodState.READY:
        return 0.0
    age = at - pod.created if pod.created > 0 else 0.0
    patience = lead if pod.state is PodState.PENDING else STUCK_AFTER * lead
    return OVERDUE if age > patience else max(0.0, lead - age)
