"""The core: what was observed goes in, what to do comes out. Pure and deterministic; what it learns is its state."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.plan import ModelPlan, Plan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.room import LoadForecaster
from autoscaler.performance.step import ReplicaModel
from autoscaler.plan import planner
from autoscaler.plan.planner import Memories
from autoscaler.plan.situation import Knowledge, Situation

PLANNING_WINDOW = Seconds(60.0)


@dataclass(slots=True)
class _Model:
    """What is known and remembered of one policy's model."""

    policy: SLOPolicy
    knowledge: Mapping[str, Knowledge]
    forecaster: LoadForecaster = field(default_factory=LoadForecaster)
    memories: Memories = field(default_factory=lambda: MappingProxyType({}))

    def learn(self, at: Instant, observed: ModelObservation) -> None:
        """Take in what was observed."""
        self.forecaster.observe(at, observed.loads)

    def plan(self, at: Instant, observed: ModelObservation, soon: Seconds) -> ModelPlan:
        """Decide for this model, and remember what was decided."""
        horizons = sorted({soon, *(known.lead for known in self.knowledge.values())})
        demand = self.forecaster.demand(at, horizons, PLANNING_WINDOW)
        situation = Situation(at, self.policy, observed, demand, self.knowledge, soon)
        plan, self.memories = planner.plan(situation, self.memories)
        return plan


class Decider:
    """Decides for all policies of one controller."""

    def __init__(
        self, policies: Sequence[SLOPolicy], models: Mapping[str, Mapping[str, ReplicaModel]], *, period: Seconds
    ) -> None:
        """Start without any experience.

        Args:
            policies: whom to decide for.
            models: prior speed of a replica, by ``SLOPolicy.key`` and variant name.
            period: between decisions; the nearest horizon to plan for.
        """
        self._period = period
        self._models = {p.key: _Model(p, _prior_knowledge(p, models[p.key], period)) for p in policies}

    def warm(self, history: Iterable[Observation]) -> None:
        """Learn from the past, oldest first, without deciding anything: what a restart must not forget."""
        for observation in history:
            for key, observed in observation.models.items():
                if key in self._models:
                    self._models[key].learn(observation.at, observed)

    def decide(self, observation: Observation) -> Plan:
        """Return what to do now; a policy that the observation does not mention is left alone."""
        plans = {}
        for key, observed in observation.models.items():
            if key in self._models:
                self._models[key].learn(observation.at, observed)
                plans[key] = self._models[key].plan(observation.at, observed, self._period)
        return Plan(observation.at, MappingProxyType(plans))


STARTUP_PRIOR = Seconds(120.0)
"""Pod creation to first served request, before any start was seen: engines of 8B to 70B models take 90 to 140 s."""


def _prior_knowledge(policy: SLOPolicy, models: Mapping[str, ReplicaModel], period: Seconds) -> Mapping[str, Knowledge]:
    lead = Seconds(STARTUP_PRIOR + period)
    return {variant.name: Knowledge(models[variant.name], STARTUP_PRIOR, lead) for variant in policy.variants}
