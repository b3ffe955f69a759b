"""Budgets that are too small for the cheapest mix: another mix first, then the same share of both roles."""

from dataclasses import replace

from autoscaler.domain.policy import Budget
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.plan import planner
from tests import planning
from tests.scenario.planner.stories import codes

DEMANDS = {
    "rag": planning.demand("rag", 6.0, prompt=3000, output=200),
    "default": planning.demand("default", 6.0, prompt=300, output=1500),
}
H200 = planning.variant(Role.DECODE, name="h200", least=0, price=3.0)
H100 = replace(planning.variant(Role.DECODE, name="h100", least=0, price=4.0), accelerator="H100-SXM")
PREFILL = planning.variant(Role.PREFILL, least=1, price=3.0)
EMPTY = {name: planning.workload(name, 1) for name in ("prefill", "h200", "h100")}


def counts(budget: Budget) -> tuple[dict[str, int], set[Code]]:
    chosen = planning.policy(PREFILL, H200, H100, budget=budget, behavior=planning.AT_ONCE)
    fleet = EMPTY | {name: planning.workload(name, 0) for name in ("h200", "h100")}
    plan, _ = planner.plan(planning.situation(chosen, DEMANDS, fleet), {})
    found = {name: variant.target for name, variant in plan.variants.items()}
    return found, {code for name in found for code in codes(plan, name)}


def test_without_a_limit_the_cheapest_variant_serves_alone() -> None:
    free, said = counts(Budget())
    assert free["h100"] == 0
    assert Code.OVER_BUDGET not in said


def test_a_full_accelerator_sends_load_to_the_dearer_one_and_cuts_nobody() -> None:
    free, _ = counts(Budget())
    tight, said = counts(Budget((("H200-SXM", free["prefill"] + free["h200"] - 1),)))
    assert tight["prefill"] == free["prefill"]
    assert tight["h200"] + tight["h100"] >= free["h200"]
    assert tight["h100"] >= 1
    assert Code.OVER_BUDGET in said


def test_too_little_of_everything_serves_the_same_share_of_both_roles() -> None:
    free, _ = counts(Budget())
    whole = 3.0 * sum(free.values())
    half, said = counts(Budget(cost_per_hour=whole / 2))
    assert 3.0 * (half["prefill"] + half["h200"]) + 4.0 * half["h100"] <= whole / 2
    shares = half["prefill"] / free["prefill"], (half["h200"] + half["h100"]) / free["h200"]
    assert abs(shares[0] - shares[1]) < 0.35
    assert Code.OVER_BUDGET in said
