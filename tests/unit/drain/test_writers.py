"""Who else wrote the count, as managedFields tell it."""

from typing import Any

import pytest

from autoscaler.kube import FIELD_MANAGER
from autoscaler.observe.writers import foreign_write, scaled_by

CREATED, LATER, LATEST = "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"


def target(*writes: tuple[str, str], field: str = "f:replicas") -> dict[str, Any]:
    entries: list[dict[str, Any]] = [
        {"manager": m, "time": at or None, "fieldsV1": {"f:spec": {field: {}}}} for m, at in writes
    ]
    return {"creationTimestamp": CREATED, "managedFields": entries}


@pytest.mark.parametrize(
    ("seen", "who"),
    [
        pytest.param(target(), None, id="nobody"),
        pytest.param(target(("kubectl-create", CREATED)), None, id="only at its creation"),
        pytest.param(target((FIELD_MANAGER, LATER)), None, id="only we"),
        pytest.param(target((FIELD_MANAGER, ""), ("argocd", LATER)), None, id="we and another, the same count"),
        pytest.param(target(("argocd", LATEST)), "argocd", id="another, later"),
        pytest.param(target(("kubectl", "")), "kubectl", id="by /scale, which is not dated"),
        pytest.param(target(("kubectl", LATEST), field="f:template"), None, id="another field"),
    ],
)
def test_the_write_that_holds_and_is_not_ours(seen: dict[str, Any], who: str | None) -> None:
    write = foreign_write(seen)
    assert (None if write is None else write.manager) == who


def test_a_scaled_object_scales_a_deployment_unless_it_says_otherwise() -> None:
    assert scaled_by({"spec": {"scaleTargetRef": {"name": "decode"}}}) == ("Deployment", "decode")
    assert scaled_by({"spec": {"scaleTargetRef": {"kind": "StatefulSet", "name": "d"}}}) == ("StatefulSet", "d")
