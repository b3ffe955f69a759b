"""Requirement of a role by demand: what decides it, what is missed beyond the maximum, how it grows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.plan import capacity, sizing, traffic
from autoscaler.plan.capacity import DecodeStage, PrefillStage, Stage
from autoscaler.plan.sizing import Requirement
from autoscaler.plan.traffic import TrafficClass
from autoscaler.plan.unified import UnifiedStage
from tests import planning

GOALS = np.array([0.995])


def stage(
    role: Role, rate: float, prompt: float, output: float
) -> tuple[Stage, Sequence[TrafficClass], traffic.Levels]:
    demand = planning.demand("rag", rate, prompt=prompt, output=output)
    classes = [TrafficClass.of(planning.RAG, demand)]
    made: Mapping[Role, Stage] = {
        Role.PREFILL: PrefillStage.of(planning.H200, classes, 0.05, planning.WINDOW, hands_over=True),
        Role.DECODE: DecodeStage(planning.H200, classes),
        Role.UNIFIED: UnifiedStage.of(planning.H200, classes, 0.05, planning.WINDOW),
    }
    return made[role], classes, traffic.levels(role, planning.LEAD, [demand])


def required(role: Role, rate: float, prompt: float, output: float, allowed: int | None = None) -> Requirement:
    made, classes, levels = stage(role, rate, prompt, output)
    return sizing.requirement(made, classes, levels, GOALS, 64, allowed=allowed)


@pytest.mark.parametrize("role", list(Role))
def test_no_load_requires_nothing(role: Role) -> None:
    assert required(role, 0.0, 1000, 100) == Requirement(0, Code.NO_LOAD, "", {})


@pytest.mark.parametrize(
    ("role", "prompt", "output", "code"),
    [
        pytest.param(Role.PREFILL, 3000, 64, Code.TTFT_AT_RISK, id="prefill"),
        pytest.param(Role.DECODE, 300, 200, Code.SEQUENCES_FULL, id="short contexts: the engine's sequences"),
        pytest.param(Role.DECODE, 30_000, 200, Code.KV_FULL, id="long contexts: memory"),
        pytest.param(Role.UNIFIED, 3000, 64, Code.TTFT_AT_RISK, id="unified, mostly prompts"),
        pytest.param(Role.UNIFIED, 300, 200, Code.SEQUENCES_FULL, id="unified, mostly answers"),
    ],
)
def test_what_binds(role: Role, prompt: float, output: float, code: Code) -> None:
    assert required(role, 2.0, prompt, output).code is code


@pytest.mark.parametrize("role", list(Role))
def test_one_replica_less_breaks_the_goal(role: Role) -> None:
    need = required(role, 12.0, 3000, 300)
    evidence = need.evidence
    assert need.replicas > 1
    assert float(evidence["attainment_one_less"]) < GOALS[0] <= float(evidence["attainment"])
    assert not need.short


@pytest.mark.parametrize("role", list(Role))
def test_beyond_the_maximum_it_says_whose_limit_is_missed_and_by_how_much(role: Role) -> None:
    need = required(role, 40.0, 3000, 300, allowed=2)
    assert need.short["to"] == 2
    assert need.short["profile"] == "rag"
    assert float(need.short["attainment"]) < float(need.short["goal"]) == GOALS[0]


@pytest.mark.parametrize("role", list(Role))
def test_a_smaller_reserve_requires_less_and_never_less_than_the_busy_ones(role: Role) -> None:
    made, classes, levels = stage(role, 20.0, 3000, 300)
    counts = [sizing.requirement(made, classes, levels, GOALS, 64, reserve=r).replicas for r in (1.0, 0.5, 0.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= made.under(levels.tokens_per_s).busy_replicas[0]


@pytest.mark.parametrize("role", list(Role))
def test_attainment_rises_with_replicas_and_falls_with_load(role: Role) -> None:
    made, _, levels = stage(role, 10.0, 3000, 300)
    loaded = made.under(levels.tokens_per_s)
    table = np.array([loaded.attainment(count)[:, 0] for count in range(1, 30)])
    assert np.all(np.diff(table, axis=0) >= -1e-9)
    assert np.all(np.diff(table, axis=1) <= 1e-9)
    assert 0.0 <= table.min() <= table.max() <= 1.0


def test_a_limit_below_the_unloaded_latency_is_out_of_reach_and_not_bought_for() -> None:
    demand = planning.demand("rag", 2.0, prompt=60_000, output=64)
    classes = [TrafficClass.of(planning.RAG, demand)]
    made = capacity.PrefillStage.of(planning.H200, classes, 0.05, planning.WINDOW, hands_over=True)
    assert made.reachable()[0] < GOALS[0]
    need = sizing.requirement(made, classes, traffic.levels(Role.PREFILL, planning.LEAD, [demand]), GOALS, 512)
    assert need.replicas < 512


def test_where_an_answer_would_be_slowed_unified_engines_are_sized_by_its_limit() -> None:
    """Long prompts stop short answers: the pace of answers decides, long before prompts wait."""
    made, _, levels = stage(Role.UNIFIED, 3.0, 3000, 64)
    loaded = made.under(levels.tokens_per_s[:1])
    served = made.prefill.under(levels.tokens_per_s[:1])  # type: ignore[attr-defined]
    assert loaded.attainment(2)[0, 0] < served.attainment(2)[0, 0]


def test_stages_that_are_settled_together_get_what_each_gets_alone() -> None:
    """Two of every role under loads of 0.1 to 60 requests/s, more than are searched at once."""
    rates = np.geomspace(0.1, 60.0, sizing.TOGETHER)
    asked = [stage(role, rate, prompt, 300) for role in Role for prompt in (800, 3000) for rate in rates]
    together = [sizing.Sizes(made, of, [levels, levels.highest()], GOALS, 64) for made, of, levels in asked]
    sizing.settle(together)
    for sizes, (made, classes, levels) in zip(together, asked, strict=True):
        alone = [sizing.requirement(made, classes, each, GOALS, 64).replicas for each in (levels, levels.highest())]
        assert [sizes.replicas(0), sizes.replicas(1)] == alone
    assert len({sizes.replicas(0) for sizes in together}) > 20
