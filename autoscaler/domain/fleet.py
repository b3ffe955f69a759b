"""What runs: scale targets and their pods, as the cluster tells it."""

from dataclasses import dataclass
from enum import StrEnum

from autoscaler.domain.units import Instant, Seconds


class PodState(StrEnum):
    """Where a replica stands between its creation and its end."""

    PENDING = "pending"  # no node yet
    STARTING = "starting"  # on a node, not Ready yet (pull, load, warm-up)
    READY = "ready"  # serves, and the picker may send requests
    DRAINING = "draining"  # withdrawn from the picker, finishing its requests
    TERMINATING = "terminating"  # deleted, inside its grace period
    FAILED = "failed"  # ended, or crashed and not coming back by itself


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica (for a group such as a LeaderWorkerSet: its leader)."""

    name: str
    variant: str
    state: PodState
    created: Instant  # 0: not known
    uid: str = ""
    scheduled: Instant | None = None  # None: not on a node yet
    ready_since: Instant | None = None  # None: never Ready so far
    draining_since: Instant | None = None
    drain_deadline: Instant | None = None
    restarts: int = 0
    ip: str = ""
    node: str = ""
    blocked_by: str = ""  # what keeps a Pending pod waiting, in the scheduler's words
    unrouted_since: Instant | None = None  # noted: every picker had dropped it by then
    empty_since: Instant | None = None  # noted: it held no work by then
    ordinal: int | None = None  # of a StatefulSet: the highest goes first; None: deletion cost decides
    others: tuple[str, ...] = ()  # of a group: its other pods, which go when it goes
    others_withdrawn: tuple[str, ...] = ()  # of these: withdrawn by us, since they were members of their own
    warm_up: Seconds | None = None  # gated by its template: to be announced so long after Ready


@dataclass(frozen=True, slots=True)
class Workload:
    """One variant's scale target: what its spec asks for, and the pods that exist."""

    variant: str
    requested: int  # spec.replicas
    pods: tuple[Pod, ...] = ()
    rolling_out: bool = False  # pods of two revisions exist, or the spec is newer than what its controller has seen
    disturbed: bool = False  # the API server was out of reach a moment ago: others may not know yet what we know

    def in_state(self, *states: PodState) -> tuple[Pod, ...]:
        """Return the pods in any of the given states."""
        return tuple(pod for pod in self.pods if pod.state in states)

    @property
    def ready(self) -> int:
        """Count the replicas that serve and are not being drained."""
        return len(self.in_state(PodState.READY))

    @property
    def draining(self) -> int:
        """Count the replicas withdrawn from the picker."""
        return len(self.in_state(PodState.DRAINING))

    @property
    def coming(self) -> int:
        """Count the replicas asked for that do not serve yet, whether their pods exist or not."""
        return max(0, self.requested - self.ready - self.draining)
