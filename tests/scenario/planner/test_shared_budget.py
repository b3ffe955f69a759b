"""Two models on one budget through a Decider, tick after tick: who is more important keeps its promise."""

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.decider import Decider
from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.plan import Plan, Scale
from autoscaler.domain.policy import Budget, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.units import Instant
from autoscaler.performance.prior import MEASURED, Prior
from tests import planning
from tests.scenario.planner.stories import H200, PERIOD, Kind

LIMIT = 12
BUDGET = Budget((("H200-SXM", LIMIT),), shared_as="cluster")


def policy(name: str, importance: int) -> SLOPolicy:
    chosen = planning.policy(
        *(planning.variant(role) for role in (Role.PREFILL, Role.DECODE)),
        profiles=[replace(planning.RAG, importance=importance)],
        budget=BUDGET,
        behavior=planning.AT_ONCE,
    )
    return replace(chosen, name=name)


class Cluster:
    """Two fleets that do at once what they are told."""

    def __init__(self) -> None:
        self.policies = [policy("batch", 0), policy("chat", 10)]
        priors = {p.key: {v.name: Prior(H200.for_role(v.role), MEASURED) for v in p.variants} for p in self.policies}
        self.decider = Decider(self.policies, priors, period=PERIOD)
        self.sizes = {p.key: {"prefill": 1, "decode": 1} for p in self.policies}
        self.at = float(planning.NOW)

    def tick(self, rates: Mapping[str, float]) -> Plan:
        self.at += PERIOD
        models = {p.key: self._seen(p, rates[p.name]) for p in self.policies}
        plan = self.decider.decide(Observation(Instant(self.at), models))
        for action in plan.actions:
            if isinstance(action, Scale):
                self.sizes[action.variant.policy][action.variant.variant] = action.replicas
        return plan

    def _seen(self, chosen: SLOPolicy, rate: float) -> ModelObservation:
        fleet = {name: planning.workload(name, count) for name, count in self.sizes[chosen.key].items()}
        pods = [pod.name for each in fleet.values() for pod in each.pods]
        engines = {pod: replace(planning.engine(pod), newest_sample=Instant(self.at)) for pod in pods}
        return ModelObservation(chosen.key, {"rag": Kind(rate, 3000, 200).load("rag")}, fleet, engines, 0.0)

    @property
    def used(self) -> int:
        return sum(sum(sizes.values()) for sizes in self.sizes.values())


def test_the_important_model_takes_over_what_the_other_leaves_and_the_budget_holds_at_every_tick() -> None:
    cluster = Cluster()
    for _ in range(40):
        cluster.tick({"batch": 24.0, "chat": 0.5})
        assert cluster.used <= LIMIT
    before = dict(cluster.sizes["llm/chat"])
    plans = []
    for _ in range(40):
        plans.append(cluster.tick({"batch": 24.0, "chat": 6.0}))
        assert cluster.used <= LIMIT
    after = cluster.sizes["llm/chat"]
    assert sum(after.values()) > sum(before.values())
    short = {r.code for v in plans[-1].models["llm/batch"].variants.values() for r in v.reasons}
    served = {r.code for v in plans[-1].models["llm/chat"].variants.values() for r in v.reasons}
    assert Code.OVER_BUDGET in short
    assert Code.OVER_BUDGET not in served
