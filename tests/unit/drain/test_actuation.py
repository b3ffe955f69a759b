"""Who may act, and who carries out which action."""

import asyncio
from collections.abc import Sequence

import pytest

from autoscaler.cli import actuation
from autoscaler.cli.actuation import Actuation, OnlyLeader
from autoscaler.domain.plan import Action, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.record import ActionResult, Outcome, Result
from autoscaler.errors import InputError

REF = VariantRef("llm/model", "decode")
ACTIONS = (Readmit(REF, "a"), Scale(REF, 3, 2), Withdraw(REF, "b"), Scale(REF, 1, 2))


class Notes:
    """An ``Actuator`` that writes down what it is given."""

    def __init__(self) -> None:
        self.runs: list[tuple[Action, ...]] = []

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        self.runs.append(tuple(actions))
        return Outcome(tuple(ActionResult(action, Result.DONE) for action in actions))


def test_every_action_goes_to_its_trade_in_order() -> None:
    scaling, membership = Notes(), Notes()
    outcome = asyncio.run(Actuation(scaling=scaling, membership=membership).apply(ACTIONS))
    assert [result.action for result in outcome.results] == list(ACTIONS)
    assert scaling.runs == [(ACTIONS[1],), (ACTIONS[3],)]
    assert membership.runs == [(ACTIONS[0],), (ACTIONS[2],)]


def test_a_new_leader_acts_only_on_what_it_has_observed_as_leader() -> None:
    inner, leads = Notes(), [False]
    guarded = OnlyLeader(inner, lambda: leads[0], lambda: "other")
    results = []
    for now_leads in (False, True, True, False, True):
        leads[0] = now_leads
        results.append(asyncio.run(guarded.apply(ACTIONS[:1])).results[0].result)
    refused, done = Result.REFUSED, Result.DONE
    assert results == [refused, refused, done, refused, refused]
    assert len(inner.runs) == 1


@pytest.mark.parametrize(("text", "lease"), [("none", None), ("auto", None), ("llm/a", ("llm", "a"))])
def test_the_lease_that_is_asked_for(text: str, lease: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert actuation.lease(text) == lease


def test_in_a_cluster_there_is_a_lease_in_the_own_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("POD_NAMESPACE", "scaling")
    assert actuation.lease("auto") == ("scaling", actuation.LEASE)


def test_a_lease_without_a_name_is_an_error() -> None:
    with pytest.raises(InputError, match="NAMESPACE/NAME"):
        actuation.lease("llm")
