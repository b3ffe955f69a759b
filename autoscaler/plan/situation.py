"""All that a plan for one policy is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.demand import Demand, ProfileDemand
from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.step import ReplicaModel
from autoscaler.plan.guardrails import Floor
from autoscaler.plan.parts import ALL, Parts
from autoscaler.plan.risk import Margins


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of one variant besides its policy."""

    model: ReplicaModel
    startup: Seconds  # typical: what a start costs without serving
    lead: Seconds  # cautious: by then a replica ordered now serves
    usual: Seconds | None = (
        None  # the same from finished starts alone: a start under way is judged by these; None: lead
    )


@dataclass(frozen=True, slots=True)
class Situation:
    """One policy's part of a tick, with everything learned so far."""

    at: Instant
    policy: SLOPolicy
    observed: ModelObservation
    demand: Demand
    knowledge: Mapping[str, Knowledge]  # by variant name
    soon: Seconds  # the nearest horizon of the demand: served by what is there
    window: Seconds  # how long a decision's capacity has to do, from each horizon on
    margins: Margins = field(default_factory=Margins)
    floors: Mapping[str, Floor] = field(default_factory=lambda: MappingProxyType({}))  # of schedules, by variant name
    quiet: Seconds = Seconds(0.0)  # how long no request has come, run or waited
    parts: Parts = ALL

    @property
    def demands(self) -> tuple[ProfileDemand, ...]:
        """Return the demand of the profiles of which something is known, in the policy's order."""
        known = (self.demand.get(profile.name) for profile in self.policy.profiles)
        return tuple(demand for demand in known if isinstance(demand, ProfileDemand))

    def workload(self, variant: str) -> Workload | Missing | None:
        """Return a variant's workload; None: the observation does not mention it."""
        return self.observed.fleet.get(variant)

    def requested(self, variant: str) -> int | None:
        """Return a variant's ``spec.replicas``; None: not known now."""
        workload = self.workload(variant)
        return workload.requested if isinstance(workload, Workload) else None

    def ready_pods(self, role: Role) -> set[str]:
        """Return the names of the pods of a role that serve."""
        workloads = (self.workload(variant.name) for variant in self.policy.pool(role))
        return {
            pod.name
            for workload in workloads
            if isinstance(workload, Workload)
            for pod in workload.in_state(PodState.READY)
        }
