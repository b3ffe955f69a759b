"""What a role needs of each variant alone: by table."""

import math
from dataclasses import replace

import pytest

from autoscaler.domain.demand import Quantiles, changed, unchanging
from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import EngineLoad
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant
from autoscaler.plan import needs
from autoscaler.plan.risk import Margins
from autoscaler.plan.situation import Situation
from tests import planning

CHAT = planning.demand("default", 2.0, prompt=800, output=200)


def situation(rag: float, *, waiting: float = 0.0, prefill: int = 2) -> Situation:
    demands = {"rag": planning.demand("rag", rag, prompt=3000, output=600), "default": CHAT}
    fleet = {"prefill": planning.workload("prefill", prefill), "decode": planning.workload("decode", 2)}
    engines: dict[str, EngineLoad] = {}
    for name, workload in fleet.items():
        for pod in workload.pods:
            engines[pod.name] = planning.engine(pod.name, waiting=waiting if name == "prefill" else 0.0)
    return planning.situation(planning.policy(), demands, fleet, engines=engines)


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_present_load_expected_load_and_its_highest_level_are_in_order(role: Role) -> None:
    need = needs.of_role(situation(8.0), role)[role.value]
    assert 1 <= need.lower <= need.wanted.replicas <= need.upper


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_a_forecast_of_nothing_takes_nothing_from_the_present_load(role: Role) -> None:
    busy = situation(20.0)
    nothing = Quantiles((0.5,), (0.0,))
    misled = replace(busy, demand=changed(busy.demand, lambda rate: replace(rate, mean=nothing)))
    steady = replace(busy, demand=unchanging(busy.demand))
    for name, need in needs.of_role(misled, role).items():
        assert need.wanted.replicas == needs.of_role(steady, role)[name].wanted.replicas > 1


def test_a_role_without_a_pool_needs_nothing_of_nobody() -> None:
    assert needs.of_role(situation(8.0), Role.UNIFIED) == {}


def test_nothing_known_is_no_need_rather_than_none() -> None:
    gone = Missing(GapReason.STALE, planning.NOW)
    blind = replace(situation(8.0), demand={"rag": gone, "default": gone})
    assert needs.of_role(blind, Role.PREFILL) == {}


@pytest.mark.parametrize(
    ("rag", "waiting", "ready", "backlog"),
    [
        pytest.param(4.0, 0.0, 2, False, id="nothing waits"),
        pytest.param(0.5, 4.0, 4, False, id="what is there clears it before a start would help"),
        pytest.param(8.0, 200.0, 1, True, id="a queue that grows"),
    ],
)
def test_waiting_work_counts_as_far_as_it_will_still_wait(
    rag: float, waiting: float, ready: int, *, backlog: bool
) -> None:
    need = needs.of_role(situation(rag, waiting=waiting, prefill=ready), Role.PREFILL)["prefill"]
    plain = needs.of_role(situation(rag, prefill=ready), Role.PREFILL)["prefill"]
    assert (need.wanted.code is Code.BACKLOG) is backlog
    assert (need.wanted.replicas > plain.wanted.replicas) is backlog


def test_a_queue_is_not_answered_twice_while_what_was_ordered_for_it_starts() -> None:
    waiting = situation(8.0, waiting=120.0, prefill=1)
    half_way = Instant(planning.NOW - planning.LEAD / 2.0)
    served = planning.workload("prefill", 1)
    starting = tuple(Pod(f"new-{n}", "prefill", PodState.STARTING, half_way, scheduled=half_way) for n in range(3))
    fleet = {**waiting.observed.fleet, "prefill": Workload("prefill", 4, (*served.pods, *starting))}
    ordered = replace(waiting, observed=replace(waiting.observed, fleet=fleet))
    before, after = (needs.of_role(known, Role.PREFILL)["prefill"].wanted for known in (waiting, ordered))
    assert before.code is Code.BACKLOG
    assert after.replicas < before.replicas


@pytest.mark.parametrize("role", [Role.PREFILL, Role.DECODE])
def test_margins_move_the_need_of_their_own_role_only(role: Role) -> None:
    other = Role.DECODE if role is Role.PREFILL else Role.PREFILL
    usual = situation(16.0)

    def wanted(margin: float, of: Role) -> int:
        learned = replace(usual, margins=Margins({(role, "rag"): math.log(margin)}))
        return needs.of_role(learned, of)[of.value].wanted.replicas

    assert wanted(0.2, role) <= wanted(1.0, role) <= wanted(1.6, role)
    assert wanted(0.2, role) < wanted(1.6, role)
    assert wanted(0.2, other) == wanted(1.6, other)


def test_beyond_the_maximum_the_need_says_what_is_missed() -> None:
    tight = planning.variant(Role.PREFILL, most=1), planning.variant(Role.DECODE)
    crowded = replace(situation(16.0), policy=planning.policy(*tight))
    assert needs.of_role(crowded, Role.PREFILL)["prefill"].wanted.short["to"] == 1


def test_few_allowed_replicas_of_one_variant_do_not_make_each_of_them_more() -> None:
    busy = situation(40.0)
    roomy, tight = (
        replace(
            busy,
            policy=planning.policy(
                planning.variant(Role.PREFILL),
                planning.variant(Role.PREFILL, name="spare", most=most),
                planning.variant(Role.DECODE),
            ),
            knowledge={**busy.knowledge, "spare": busy.knowledge["prefill"]},
        )
        for most in (20, 1)
    )
    alone = [needs.of_role(allowed, Role.PREFILL)["spare"].wanted.replicas for allowed in (roomy, tight)]
    assert alone[0] == alone[1] > 2


@pytest.mark.parametrize(("margin", "more"), [(0.5, False), (1.0, False), (1.6, True)])
def test_what_is_missed_counts_on_top_of_the_present_load_whatever_is_foretold(margin: float, *, more: bool) -> None:
    flat = situation(20.0)
    flat = replace(flat, demand=unchanging(flat.demand))
    missed = replace(flat, margins=Margins({(Role.DECODE, "rag"): math.log(margin)}))
    usual, wary = (needs.of_role(one, Role.DECODE)["decode"] for one in (flat, missed))
    assert (wary.lower > usual.lower) is more
