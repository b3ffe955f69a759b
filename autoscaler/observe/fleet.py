"""What runs, as the observer asks for it: one view of the fleet per policy, from whichever source knows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from autoscaler.domain.fleet import Workload
from autoscaler.domain.signal import Signal
from autoscaler.domain.units import Instant


@dataclass(frozen=True, slots=True)
class FleetView:
    """The scale targets of one policy, and what an operator's annotations say of it."""

    workloads: Mapping[str, Signal[Workload]]  # by variant name; one entry for every variant of the policy
    paused: bool = False
    paused_scale_down: bool = False
    names_pods: bool = True  # false: only counts are known, so pods in the metrics are told by their role label


class FleetSource(Protocol):
    """Tells which replicas are asked for and which exist (Kubernetes, or a file where there is no cluster)."""

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:
        """Return the view of every policy at ``now``, by ``SLOPolicy.key``.

        A workload that cannot be read is Missing; one that is older than can be trusted is Missing(STALE).

        Raises:
            ObservationError: the source cannot answer at all.
        """
        ...
