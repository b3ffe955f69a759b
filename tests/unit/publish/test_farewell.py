"""No pod stays withdrawn because its policy went away."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from autoscaler.domain.fleet import PodState
from autoscaler.domain.plan import Action, Readmit, VariantRef
from autoscaler.domain.policy import Mode, SLOPolicy
from autoscaler.domain.record import ActionResult, Outcome, Result, TickRecord
from autoscaler.errors import ActuationError
from autoscaler.publish.farewell import Farewell
from tests import planning, ticks

AUTO = replace(planning.policy(), mode=Mode.AUTO)
OWED = Readmit(VariantRef(AUTO.key, "decode"), "decode-1", "uid-1")


class Picker:
    """Carries out actions, or fails first so many times."""

    def __init__(self, failures: int = 0) -> None:
        self.asked: list[Action] = []
        self._failures = failures

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        self.asked += actions
        self._failures -= 1
        result = Result.FAILED if self._failures >= 0 else Result.DONE
        return Outcome(tuple(ActionResult(action, result, "no answer") for action in actions))


def draining(policy: SLOPolicy = AUTO) -> TickRecord:
    """Return a tick that sees one decode pod withdrawn."""
    stays, goes = planning.workload("decode", 2).pods
    withdrawn = replace(goes, state=PodState.DRAINING, uid="uid-1")
    fleet = dict(ticks.observed(policy).fleet) | {
        "decode": replace(planning.workload("decode", 2), pods=(stays, withdrawn))
    }
    return ticks.tick(policy, model=ticks.observed(policy, fleet=fleet))


def lived(picker: Picker, *days: Sequence[SLOPolicy]) -> None:
    """Let the policies be these, one tick after the other."""
    farewell = Farewell(picker.apply)

    async def live() -> None:
        for policies in days:
            farewell.follow(policies)
            await farewell.publish(draining())

    asyncio.run(live())


@pytest.mark.parametrize(
    "then",
    [
        pytest.param((), id="deleted or refused"),
        pytest.param((replace(AUTO, mode=Mode.RECOMMEND),), id="set to Recommend"),
        pytest.param((replace(AUTO, name="other"),), id="another in its place"),
    ],
)
def test_the_pods_of_a_policy_that_leaves_are_readmitted_once(then: Sequence[SLOPolicy]) -> None:
    picker = Picker()
    lived(picker, [AUTO], then, then)
    assert picker.asked == [OWED]


@pytest.mark.parametrize("then", [(AUTO,), (replace(AUTO, model="renamed"), replace(AUTO, name="other"))], ids=len)
def test_a_policy_that_stays_keeps_its_drains(then: Sequence[SLOPolicy]) -> None:
    picker = Picker()
    lived(picker, [AUTO], then, then)
    assert picker.asked == []


def test_a_policy_in_mode_recommend_has_withdrawn_nobody() -> None:
    picker = Picker()
    lived(picker, [replace(AUTO, mode=Mode.RECOMMEND)], [], [])
    assert picker.asked == []


def test_a_failure_is_told_and_tried_again() -> None:
    picker = Picker(failures=1)
    farewell = Farewell(picker.apply)

    async def live() -> None:
        farewell.follow([AUTO])
        await farewell.publish(draining())
        farewell.follow([])
        with pytest.raises(ActuationError, match="llm/model/decode: no answer"):
            await farewell.publish(draining())
        await farewell.publish(draining())
        await farewell.publish(draining())

    asyncio.run(live())
    assert picker.asked == [OWED, OWED]


def test_a_policy_that_comes_back_takes_its_drains_over() -> None:
    picker = Picker(failures=9)
    farewell = Farewell(picker.apply)

    async def live() -> None:
        farewell.follow([AUTO])
        await farewell.publish(draining())
        farewell.follow([])
        with pytest.raises(ActuationError):
            await farewell.publish(draining())
        farewell.follow([AUTO])
        await farewell.publish(draining())

    asyncio.run(live())
    assert picker.asked == [OWED]
