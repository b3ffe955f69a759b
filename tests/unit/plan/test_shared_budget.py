"""Several policies on one budget: planned together, the important first, shrinking before growing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.policy import Budget, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.plan import planner
from tests import planning

PAIR = tuple(planning.variant(role, price=3.0) for role in (Role.PREFILL, Role.DECODE))


def named(name: str, budget: Budget, importance: int = 0) -> SLOPolicy:
    profiles = [replace(profile, importance=importance) for profile in (planning.RAG, planning.CHAT)]
    chosen = planning.policy(*PAIR, budget=budget, behavior=planning.AT_ONCE, profiles=profiles)
    return replace(chosen, name=name)


def demands(rate: float) -> Mapping[str, object]:
    return {
        "rag": planning.demand("rag", rate, prompt=3000, output=200),
        "default": planning.demand("default", rate, prompt=300, output=1500),
    }


def planned(policies: Sequence[SLOPolicy], rates: Sequence[float], ready: Sequence[int]) -> list[ModelPlan]:
    situations = [
        planning.situation(
            chosen,
            demands(rate),  # type: ignore[arg-type]
            {role: planning.workload(role, count) for role in ("prefill", "decode")},
        )
        for chosen, rate, count in zip(policies, rates, ready, strict=True)
    ]
    return [plan for plan, _ in planner.plans(situations, [{} for _ in situations])]


def targets(plan: ModelPlan) -> dict[str, int]:
    return {name: variant.target for name, variant in plan.variants.items()}


def size(plan: ModelPlan) -> int:
    return sum(targets(plan).values())


def codes(plan: ModelPlan) -> set[Code]:
    return {reason.code for variant in plan.variants.values() for reason in variant.reasons}


def limited(count: int) -> Budget:
    return Budget((("H200-SXM", count),), shared_as="cluster")


ALONE = [size(plan) for plan in planned([named("a", Budget()), named("b", Budget())], [6.0, 4.0], [1, 1])]


def test_where_both_fit_each_gets_what_it_would_alone() -> None:
    together = planned([named("a", limited(sum(ALONE))), named("b", limited(sum(ALONE)))], [6.0, 4.0], [1, 1])
    assert [size(plan) for plan in together] == ALONE
    assert not any(Code.OVER_BUDGET in codes(plan) for plan in together)


@pytest.mark.parametrize("important", [0, 1])
def test_the_important_policy_is_served_first_and_the_other_says_what_is_short(important: int) -> None:
    budget = limited(sum(ALONE) - 3)
    policies = [named("a", budget, 5 * (important == 0)), named("b", budget, 5 * (important == 1))]
    plans = planned(policies, [6.0, 4.0], [1, 1])
    assert size(plans[important]) == ALONE[important]
    assert sum(size(plan) for plan in plans) <= sum(ALONE) - 3
    short = [r for v in plans[1 - important].variants.values() for r in v.reasons if r.code is Code.OVER_BUDGET]
    assert short
    assert short[0].evidence["budget"] == "cluster"
    assert 0.0 < float(short[0].evidence["served"]) < 1.0


def test_the_important_policy_grows_only_into_what_the_other_has_left() -> None:
    """The less important one holds all of the budget: it shrinks at once, and only then the other grows."""
    budget = limited(12)
    plans = planned([named("a", budget, 5), named("b", budget)], [6.0, 4.0], [1, 5])
    assert size(plans[0]) == 2
    assert Code.AWAITS_RELEASE in codes(plans[0])
    assert size(plans[1]) < 10
    freed = planned([named("a", budget, 5), named("b", budget)], [6.0, 4.0], [1, 1])
    assert size(freed[0]) == min(ALONE[0], 10)


def test_a_policy_of_which_nothing_is_known_keeps_its_size_and_others_fit_beside_it() -> None:
    policies = [named("a", limited(10), 5), named("b", limited(10))]
    unknown = {name: Missing(GapReason.STALE, planning.NOW) for name in ("rag", "default")}
    fleet = {role: planning.workload(role, 3) for role in ("prefill", "decode")}
    known = planning.situation(policies[0], demands(6.0), {r: planning.workload(r, 1) for r in ("prefill", "decode")})  # type: ignore[arg-type]
    plans = [p for p, _ in planner.plans([known, planning.situation(policies[1], unknown, fleet)], [{}, {}])]
    assert targets(plans[1]) == {"prefill": 3, "decode": 3}
    assert size(plans[0]) <= 4


def test_policies_on_budgets_of_their_own_do_not_meet() -> None:
    own = Budget((("H200-SXM", ALONE[0]),))
    plans = planned([named("a", own), named("b", Budget((("H200-SXM", ALONE[1]),)))], [6.0, 4.0], [1, 1])
    assert [size(plan) for plan in plans] == ALONE


def test_of_limits_that_differ_the_tightest_counts() -> None:
    plans = planned([named("a", limited(30)), named("b", limited(8))], [6.0, 4.0], [1, 1])
    assert sum(size(plan) for plan in plans) <= 8


@settings(deadline=None, max_examples=25)
@given(
    rates=st.lists(st.floats(0.0, 20.0), min_size=2, max_size=4),
    importances=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    limit=st.integers(8, 40),
)
def test_together_they_never_pass_the_budget(rates: list[float], importances: list[int], limit: int) -> None:
    policies = [named(f"p{n}", limited(limit), importances[n]) for n in range(len(rates))]
    plans = planned(policies, rates, [1] * len(rates))
    assert sum(size(plan) for plan in plans) <= limit


@settings(deadline=None, max_examples=10)
@given(rates=st.lists(st.floats(0.0, 20.0), min_size=3, max_size=3), limit=st.integers(6, 30))
def test_the_most_important_gets_no_less_than_among_equals(rates: list[float], limit: int) -> None:
    equals = planned([named(f"p{n}", limited(limit)) for n in range(3)], rates, [1, 1, 1])
    first = planned([named(f"p{n}", limited(limit), int(n == 0)) for n in range(3)], rates, [1, 1, 1])
    assert min(targets(first[0]).values()) >= min(targets(equals[0]).values())
