"""Laws that every plan keeps, whatever the load and the fleet."""

from collections.abc import Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.domain.demand import ProfileDemand
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.policy import Budget, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant
from autoscaler.plan import planner
from tests import planning

rates = st.floats(0.0, 40.0)
counts = st.integers(0, 20)
quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def demands(rag: float, chat: float) -> dict[str, ProfileDemand]:
    return {
        "rag": planning.demand("rag", rag, prompt=3000, output=64),
        "default": planning.demand("default", chat, prompt=800, output=200),
    }


def planned(chosen: SLOPolicy, rag: float, chat: float, fleet: Mapping[str, int]) -> ModelPlan:
    workloads = {name: planning.workload(name, ready) for name, ready in fleet.items()}
    return planner.plan(planning.situation(chosen, demands(rag, chat), workloads), {})[0]


@quick
@given(less=rates, more=rates, chat=rates)
def test_more_demand_never_wants_fewer_replicas(less: float, more: float, chat: float) -> None:
    chosen, fleet = planning.policy(), {"prefill": 1, "decode": 1}
    low, high = planned(chosen, min(less, more), chat, fleet), planned(chosen, max(less, more), chat, fleet)
    for name in low.variants:
        assert low.variants[name].uncapped <= high.variants[name].uncapped
        assert low.variants[name].target <= high.variants[name].target


@quick
@given(rag=rates, chat=rates, prefill=counts, decode=counts, least=st.integers(0, 4), most=st.integers(4, 12))
def test_plans_stay_within_bounds(rag: float, chat: float, prefill: int, decode: int, least: int, most: int) -> None:
    variants = [planning.variant(role, least=least, most=most) for role in (Role.PREFILL, Role.DECODE)]
    plan = planned(planning.policy(*variants), rag, chat, {"prefill": prefill, "decode": decode})
    for variant in plan.variants.values():
        assert least <= variant.target <= most


@quick
@given(rag=rates, chat=rates, limit=st.integers(2, 30), cost=st.floats(7.6, 100.0))
def test_plans_stay_within_budget(rag: float, chat: float, limit: int, cost: float) -> None:
    budget = Budget((("H200-SXM", limit),), cost)
    plan = planned(planning.policy(budget=budget), rag, chat, {"prefill": 1, "decode": 1})
    total = sum(variant.target for variant in plan.variants.values())
    assert total <= limit
    assert total * 3.8 <= cost + 1e-6


@quick
@given(rag=rates, chat=rates, prefill=counts, decode=counts)
def test_the_same_situation_makes_the_same_plan(rag: float, chat: float, prefill: int, decode: int) -> None:
    fleet = {"prefill": prefill, "decode": decode}
    assert planned(planning.policy(), rag, chat, fleet) == planned(planning.policy(), rag, chat, fleet)


@quick
@given(rag=rates, chat=rates, prefill=counts, decode=counts)
def test_a_plan_that_was_carried_out_asks_for_nothing_more(rag: float, chat: float, prefill: int, decode: int) -> None:
    chosen = planning.policy()
    fleet = {"prefill": planning.workload("prefill", prefill), "decode": planning.workload("decode", decode)}
    first, memories = planner.plan(planning.situation(chosen, demands(rag, chat), fleet), {})
    carried_out = {name: planning.workload(name, variant.target) for name, variant in first.variants.items()}
    again, _ = planner.plan(planning.situation(chosen, demands(rag, chat), carried_out), memories)
    assert again.actions == ()


@quick
@given(rag=rates, chat=rates, prefill=st.integers(1, 20), decode=st.integers(1, 20), data=st.data())
def test_removing_a_signal_never_scales_down(
    rag: float, chat: float, prefill: int, decode: int, data: st.DataObject
) -> None:
    chosen = planning.policy()
    fleet = {"prefill": planning.workload("prefill", prefill), "decode": planning.workload("decode", decode)}
    known: dict[str, ProfileDemand | Missing] = {**demands(rag, chat)}
    for gone in data.draw(st.sets(st.sampled_from(sorted(known)), min_size=1)):
        known[gone] = Missing(GapReason.STALE, Instant(planning.NOW - 90))
    plan, _ = planner.plan(planning.situation(chosen, known, fleet), {})
    assert plan.variants["prefill"].target >= prefill
    assert plan.variants["decode"].target >= decode


@quick
@given(rag=rates, chat=rates, ready=st.integers(1, 20))
def test_an_engine_that_does_not_report_holds_its_pool(rag: float, chat: float, ready: int) -> None:
    chosen = planning.policy()
    fleet = {"prefill": planning.workload("prefill", ready), "decode": planning.workload("decode", 1)}
    engines = {"decode-0": planning.engine("decode-0")} | {
        f"prefill-{n}": planning.engine(f"prefill-{n}") for n in range(ready - 1)
    }
    plan, _ = planner.plan(planning.situation(chosen, demands(rag, chat), fleet, engines=engines), {})
    assert plan.variants["prefill"].target >= ready
