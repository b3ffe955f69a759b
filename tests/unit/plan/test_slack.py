"""Who leaves leaves something to spare; a fleet that was found stays for longer: by table and by law."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.units import Instant
from autoscaler.plan import needs, planner, slack
from autoscaler.plan.allocation import Option
from autoscaler.plan.behavior import Entry, Memory
from autoscaler.plan.budgets import Draft
from autoscaler.plan.situation import Situation
from tests import planning

RATES = [0.25 * step for step in range(1, 120)]


def situation(rate: float, replicas: int) -> Situation:
    demands = {"default": planning.demand("default", rate, prompt=3000, output=300)}
    fleet = {name: planning.workload(name, replicas) for name in ("prefill", "decode")}
    policy = planning.policy(profiles=(planning.CHAT,), behavior=planning.AT_ONCE)
    return planning.situation(policy, demands, fleet)


def tight(alone: int, requested: int, name: str, *, losses: int = 0) -> Option:
    """Return an option that alone would have nothing to spare."""
    return replace(planning.option(alone, requested, name=name, losses=losses), spare=False)


def wanted(role: Role, rate: float) -> int:
    return needs.of_role(situation(rate, 0), role)[role.value].wanted.replicas


def edge(role: Role, replicas: int) -> float:
    """Return the highest rate for which so many replicas are enough."""
    return max(rate for rate in RATES if wanted(role, rate) == replicas)


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_just_enough_has_nothing_to_spare_and_what_does_for_a_replica_less_has(role: Role, replicas: int) -> None:
    """Spare is only asked for where more is there than is wanted."""
    highest = edge(role, replicas)
    assert not needs.of_role(situation(highest, replicas + 1), role)[role.value].spare
    assert needs.of_role(situation(highest, replicas), role)[role.value].spare
    if replicas > 1:
        roomy = min(rate for rate in RATES if wanted(role, rate) == replicas)
        assert needs.of_role(situation(roomy, replicas + 1), role)[role.value].spare


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_less_load_never_has_less_to_spare(role: Role) -> None:
    spares = [needs.of_role(situation(rate, 40), role)[role.value] for rate in RATES]
    for count in {need.wanted.replicas for need in spares}:
        alike = [need.spare for need in spares if need.wanted.replicas == count]
        assert alike == sorted(alike, reverse=True)


@pytest.mark.parametrize(
    ("replicas", "part", "target"),
    [
        pytest.param(2, 1.0, 2, id="at the edge the second stays"),
        pytest.param(5, 1.0, 2, id="the third to the fifth leave"),
        pytest.param(2, 0.3, 1, id="far from it the second leaves"),
        pytest.param(1, 1.0, 1, id="none is started for it"),
    ],
)
def test_one_replica_more_stays_at_the_edge(replicas: int, part: float, target: int) -> None:
    rate = part * edge(Role.PREFILL, 1)
    memories = {name: Memory((Entry(Instant(planning.NOW - 9000.0), replicas),)) for name in ("prefill", "decode")}
    plan, _ = planner.plan(situation(rate, replicas), memories)
    prefill = plan.variants["prefill"]
    assert (prefill.target, prefill.uncapped) == (target, 1)
    assert (Code.WITHIN_TOLERANCE in {reason.code for reason in prefill.reasons}) is (target > 1)


def test_what_stays_at_the_edge_was_not_recommended() -> None:
    """Else its window would begin anew with every look."""
    at_the_edge = situation(edge(Role.PREFILL, 1), 2)
    _, memories = planner.plan(at_the_edge, {"prefill": Memory(), "decode": Memory()})
    assert [entry.replicas for entry in memories["prefill"].recommendations] == [1]


@pytest.mark.parametrize(
    ("options", "targets", "kept"),
    [
        pytest.param([planning.option(2, 4, name="a")], [2], [2], id="something to spare"),
        pytest.param([tight(2, 4, "a")], [2], [3], id="nothing to spare"),
        pytest.param([tight(2, 2, "a")], [2], [2], id="none is there to stay"),
        pytest.param([tight(2, 4, "a")], [3], [3], id="more than load asks for"),
        pytest.param([tight(2, 4, "a", losses=1)], [3], [4], id="beside those that may be lost"),
        pytest.param([tight(2, 4, "a"), tight(3, 1, "b")], [2, 0], [3, 0], id="one of two serves alone"),
        pytest.param([tight(2, 4, "a"), tight(3, 4, "b")], [2, 3], [2, 3], id="a mix"),
    ],
)
def test_who_stays(options: Sequence[Option], targets: Sequence[int], kept: Sequence[int]) -> None:
    names = [option.variant.name for option in options]
    proposals = {name: VariantPlan.of(target) for name, target in zip(names, targets, strict=True)}
    draft = Draft(situation(1.0, 1), (tuple(options), ()), proposals)
    assert [slack.kept(draft)[name].target for name in names] == kept
