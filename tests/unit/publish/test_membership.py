"""What is written on a pod, by table: withdrawal, notes, an operator's own values, readmission, the gate."""

import json
from typing import Any

import pytest

from autoscaler.domain.membership import (
    ACTIVE_PORTS,
    ACTIVE_PORTS_LEGACY,
    DELETION_COST,
    DRAIN_DEADLINE,
    DRAIN_EMPTY,
    DRAIN_STARTED,
    DRAIN_UNROUTED,
    SAVED,
    WARM_UP,
    Drain,
)
from autoscaler.domain.units import Instant
from autoscaler.publish import membership
from autoscaler.publish.membership import Edit, Form, Refusal

ME = "disagg-autoscaler"
START, END = Instant(1_800_000_000.5), Instant(1_800_000_600.5)
DRAIN = Drain(START, END)


def pod(annotations: dict[str, str], *owners: tuple[str, str, str]) -> dict[str, Any]:
    """Return metadata; ``owners``: manager, operation and key."""
    fields = [
        {"manager": m, "operation": o, "fieldsV1": {"f:metadata": {"f:annotations": {f"f:{key}": {}}}}}
        for m, o, key in owners
    ]
    return {"annotations": annotations, "managedFields": fields}


def written(edit: Edit | Refusal | None) -> dict[str, str | None]:
    assert isinstance(edit, Edit)
    return dict(edit.annotations)


def test_both_keys_cost_and_times_are_applied_together() -> None:
    edit = membership.withdrawal(pod({"theirs": "1"}), DRAIN, ME)
    assert edit == Edit(
        Form.APPLY,
        {
            ACTIVE_PORTS: "",
            ACTIVE_PORTS_LEGACY: "",
            DELETION_COST: "-1000",
            DRAIN_STARTED: "2027-01-15T08:00:00.500000+00:00",
            DRAIN_DEADLINE: "2027-01-15T08:10:00.500000+00:00",
        },
    )


def test_an_empty_pod_goes_before_one_that_still_drains() -> None:
    empty = written(membership.withdrawal(pod({}), Drain(START, END, START, START), ME))
    draining = written(membership.withdrawal(pod({}), Drain(START, END, START), ME))
    assert int(str(empty[DELETION_COST])) < int(str(draining[DELETION_COST])) < 0
    assert {DRAIN_UNROUTED, DRAIN_EMPTY} <= empty.keys()
    assert DRAIN_EMPTY not in draining


def test_the_same_notes_again_write_nothing() -> None:
    first = {key: str(value) for key, value in written(membership.withdrawal(pod({}), DRAIN, ME)).items()}
    assert membership.withdrawal(pod(first), DRAIN, ME) is None


@pytest.mark.parametrize(
    "theirs",
    [
        {ACTIVE_PORTS: "8000"},
        {ACTIVE_PORTS_LEGACY: "8000,8001"},
        {DELETION_COST: "7"},
        {ACTIVE_PORTS: "8001", ACTIVE_PORTS_LEGACY: "8000", DELETION_COST: "3"},
    ],
)
def test_values_of_an_operator_are_saved_and_come_back(theirs: dict[str, str]) -> None:
    edit = membership.withdrawal(pod(theirs), DRAIN, ME)
    assert isinstance(edit, Edit)
    assert edit.force
    drained = {key: str(value) for key, value in edit.annotations.items()}
    assert json.loads(drained[SAVED]) == theirs
    later = written(membership.withdrawal(pod(drained), Drain(START, END, START), ME))
    assert later[SAVED] == drained[SAVED], "a later note must not save our own values"
    back = membership.readmission(pod(drained), ME)
    assert isinstance(back, Edit)
    assert back.form is Form.MERGE
    after = {key: value for key, value in {**drained, **back.annotations}.items() if value is not None}
    assert after == theirs


def test_a_key_that_somebody_applies_is_left_alone() -> None:
    refused = membership.withdrawal(pod({ACTIVE_PORTS: "8000"}, ("argocd", "Apply", ACTIVE_PORTS)), DRAIN, ME)
    assert isinstance(refused, Refusal)
    assert "argocd" in refused.why


def test_readmission_applies_nothing_so_that_only_our_keys_go() -> None:
    drained = {key: str(value) for key, value in written(membership.withdrawal(pod({}), DRAIN, ME)).items()}
    assert membership.readmission(pod(drained), ME) == Edit(Form.APPLY, {})
    assert membership.readmission(pod({ACTIVE_PORTS: ""}), ME) is None, "somebody else's withdrawal is not ours to end"
    left = pod({ACTIVE_PORTS: ""}, (ME, "Apply", ACTIVE_PORTS))
    assert membership.readmission(left, ME) == Edit(Form.APPLY, {}), "our key without our notes is cleaned up"


def test_the_gate_of_a_template_is_opened_for_good_but_not_during_a_drain() -> None:
    gate = {ACTIVE_PORTS: "", ACTIVE_PORTS_LEGACY: "", WARM_UP: "30s"}
    assert membership.announcement(pod(gate)) == Edit(Form.MERGE, {ACTIVE_PORTS: None, ACTIVE_PORTS_LEGACY: None})
    assert membership.announcement(pod({WARM_UP: "30s"})) is None
    assert membership.announcement(pod({**gate, DRAIN_STARTED: "x"})) is None
