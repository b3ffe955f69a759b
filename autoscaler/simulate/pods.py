"""The pods of the tunnel, and what they cost."""

from dataclasses import dataclass, field

from autoscaler.domain.fleet import Pod, PodState
from autoscaler.domain.membership import Drain
from autoscaler.domain.pool import Variant
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.step import ReplicaModel
from autoscaler.simulate.engine import Engine
from autoscaler.simulate.request import Request
from autoscaler.simulate.startup import StartUp


@dataclass(frozen=True, slots=True)
class Supply:
    """What stands behind a variant in the tunnel."""

    replica: ReplicaModel
    startup: StartUp
    initial: int
    inventory: int | None = None  # replicas for which there are nodes; None: enough


@dataclass(slots=True)
class Bill:
    """Replica-seconds of one variant by state; all of them are paid. Pending pods have no node and cost nothing."""

    booting_s: float = 0.0
    ready_s: float = 0.0
    draining_s: float = 0.0  # withdrawn or terminating

    @property
    def total_s(self) -> float:
        """Return the replica-seconds that are paid."""
        return self.booting_s + self.ready_s + self.draining_s


@dataclass(slots=True, eq=False)
class SimulatedPod:
    """One replica from its creation to its end."""

    name: str
    variant: Variant
    created: float
    engine: Engine
    state: PodState = PodState.PENDING
    scheduled: float | None = None
    ready_since: float | None = None
    drain: Drain | None = None  # noted on it: the picker leaves it out as soon as it would be ready
    restarts: int = 0
    node: str = ""
    announced: bool = True
    assigned: set[Request] = field(default_factory=set)
    since: float = 0.0  # of the present state, for the bill
    life: int = 0  # rises with every (re)start, so that events of an earlier one are told apart
    gone: bool = False  # with all it had

    def charge(self, bill: Bill, now: float) -> None:
        """Add the time in the present state to the bill."""
        seconds, self.since = now - self.since, now
        match self.state:
            case PodState.STARTING | PodState.FAILED:  # a pod that crashed keeps its node while it waits
                bill.booting_s += seconds
            case PodState.READY:
                bill.ready_s += seconds
            case PodState.DRAINING | PodState.TERMINATING:
                bill.draining_s += seconds
            case PodState.PENDING:
                pass

    def seen(self) -> Pod:
        """Return the pod as the cluster's API tells it."""
        drain, state = self.drain, self.state
        if state is PodState.STARTING and drain:
            state = PodState.DRAINING
        gate = Seconds(0.0) if not self.announced else None
        return Pod(
            name=self.name,
            variant=self.variant.name,
            state=PodState.STARTING if gate is not None and state is PodState.READY else state,
            created=Instant(self.created),
            uid=self.name,
            scheduled=_instant(self.scheduled),
            ready_since=_instant(self.ready_since),
            draining_since=drain.started if drain else None,
            drain_deadline=drain.deadline if drain else None,
            unrouted_since=drain.unrouted if drain else None,
            empty_since=drain.empty if drain else None,
            restarts=self.restarts,
            ip="",
            node=self.node,
            blocked_by="Insufficient nvidia.com/gpu" if self.state is PodState.PENDING else "",
            warm_up=gate,
        )


def _instant(time: float | None) -> Instant | None:
    return None if time is None else Instant(time)


def victims(pods: list[SimulatedPod], count: int) -> list[SimulatedPod]:
    """Return the pods that a ReplicaSet deletes first: Pending, NotReady, lowest deletion cost, youngest."""
    ranks = {PodState.PENDING: 0, PodState.FAILED: 1, PodState.STARTING: 1}

    def rank(pod: SimulatedPod) -> tuple[float | str, ...]:
        cost = 0 if pod.drain is None else -1 if pod.drain.empty is None else -2  # as a withdrawal notes it
        return (ranks.get(pod.state, 2), cost, -pod.created, pod.name)

    return sorted(pods, key=rank)[:count]


@dataclass(frozen=True, slots=True)
class FleetSample:
    """One variant's replicas at one moment."""

    at: Seconds
    variant: str
    requested: int
    pending: int
    starting: int
    ready: int
    draining: int  # withdrawn or terminating
