"""SLOs that no variant can keep are told before anybody waits for them."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.domain.policy import SLOPolicy
from autoscaler.performance.step import EngineLimits, Handover, PrefillModel, ReplicaModel, StepModel
from autoscaler.plan.feasibility import slo_feasible
from autoscaler.policy import load_policies

ROOT = Path(__file__).resolve().parents[3]
FAST = ReplicaModel(
    step=StepModel(base_s=0.012, per_sequence_s=1e-4, per_kv_token_s=1e-8),
    prefill=PrefillModel(floor_s=0.02, base_s=0.01, per_token_s=5e-5, per_token_squared_s=1e-10),
    handover=Handover(base_s=0.01, per_token_s=1e-7),
    limits=EngineLimits(kv_capacity_tokens=500_000.0),
)
SLOW = replace(FAST, step=replace(FAST.step, base_s=0.2), prefill=replace(FAST.prefill, floor_s=1.5))


@pytest.fixture
def policy() -> SLOPolicy:
    """Profiles interactive (500ms, 40ms) and default (5s, 100ms); two variants a role."""
    (loaded,) = load_policies([ROOT / "policies" / "mixed-accelerators.yaml"]).policies
    return loaded


def models(policy: SLOPolicy, model: ReplicaModel) -> dict[str, ReplicaModel]:
    return {variant.name: model for variant in policy.variants}


def test_limits_above_the_unloaded_latency_are_no_problem(policy: SLOPolicy) -> None:
    assert slo_feasible(policy, models(policy, FAST)) == ()


def test_limits_below_every_variant_are_told_each_with_the_fastest(policy: SLOPolicy) -> None:
    assert [str(problem) for problem in slo_feasible(policy, models(policy, SLOW))] == [
        (
            "spec.profiles[0].slo.ttft: 500ms is below the 1.5s that the fastest variant, prefill-h200,"
            " needs without load;"
            " raise it or add a faster variant"
        ),
        (
            "spec.profiles[0].slo.itl: 40ms is below the 200ms that the fastest variant, decode-a100, needs"
            " without load;"
            " raise it or add a faster variant"
        ),
        (
            "spec.profiles[1].slo.itl: 100ms is below the 200ms that the fastest variant, decode-a100,"
            " needs without load;"
            " raise it or add a faster variant"
        ),
    ]


def test_one_fast_variant_a_role_is_enough(policy: SLOPolicy) -> None:
    mixed = models(policy, SLOW) | {"prefill-l40s": FAST, "decode-h200": FAST}
    assert slo_feasible(policy, mixed) == ()


def test_a_role_with_an_unknown_variant_is_not_judged(policy: SLOPolicy) -> None:
    known = models(policy, SLOW)
    del known["prefill-l40s"], known["decode-h200"]
    assert slo_feasible(policy, known) == ()


def test_a_longer_prompt_makes_the_limit_harder(policy: SLOPolicy) -> None:
    (problem,) = slo_feasible(policy, models(policy, FAST), prompt_tokens=20_000)
    assert problem.field == "spec.profiles[0].slo.ttft"
