"""Requests that the picker holds are work that waits, as if they waited in the engines."""

from dataclasses import replace

from autoscaler.domain.pool import Role
from autoscaler.plan import needs
from autoscaler.plan.situation import Situation
from tests import planning
from tests.scenario.planner.stories import Kind


def holding(count: float, waiting: float = 0.0) -> Situation:
    demands = {"rag": planning.demand("rag", 4.0, prompt=3000, output=64)}
    fleet = {name: planning.workload(name, 3) for name in ("prefill", "decode")}
    engines = {f"{name}-{n}": planning.engine(f"{name}-{n}", waiting=waiting / 3) for name in fleet for n in range(3)}
    found = planning.situation(planning.policy(), demands, fleet, engines=engines)
    loads = {"rag": replace(Kind(4.0, 3000, 64).load("rag"), queued_requests=count)}
    return replace(found, observed=replace(found.observed, loads=loads))


def test_held_requests_count_like_waiting_ones() -> None:
    for role in (Role.PREFILL, Role.DECODE):
        assert needs.of_role(holding(600.0), role) == needs.of_role(holding(0.0, waiting=600.0), role)


def test_many_held_requests_need_more_replicas_than_none() -> None:
    few, many = (needs.of_role(holding(count), Role.PREFILL)["prefill"].wanted.replicas for count in (0.0, 900.0))
    assert few < many
