"""Who else wrote the count, as managedFields tell it."""

from typing import Any

import pytest

from autoscaler.kube import FIELD_MANAGER
from autoscaler.observe.writers import newest_foreign_write, scaled_by

CREATED, LATER, LATEST = "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"


def target(*writes: tuple[str, str], field: str = "f:replicas") -> dict[str, Any]:
    entries = [{"manager": m, "time": at, "fieldsV1": {"f:spec": {field: {}}}} for m, at in writes]
    return {"creationTimestamp": CREATED, "managedFields": entries}


@pytest.mark.parametrize(
    ("seen", "who"),
    [
        pytest.param(target(), None, id="nobody"),
        pytest.param(target(("kubectl-create", CREATED)), None, id="only at its creation"),
        pytest.param(target((FIELD_MANAGER, LATER)), None, id="only we"),
        pytest.param(target((FIELD_MANAGER, LATEST), ("kubectl", LATER)), None, id="we after them"),
        pytest.param(target((FIELD_MANAGER, LATER), ("argocd", LATEST)), "argocd", id="they after us"),
        pytest.param(target(("kubectl", LATEST), field="f:template"), None, id="another field"),
    ],
)
def test_the_newest_write_that_is_not_ours(seen: dict[str, Any], who: str | None) -> None:
    write = newest_foreign_write(seen)
    assert (None if write is None else write.manager) == who


def test_a_scaled_object_scales_a_deployment_unless_it_says_otherwise() -> None:
    assert scaled_by({"spec": {"scaleTargetRef": {"name": "decode"}}}) == ("Deployment", "decode")
    assert scaled_by({"spec": {"scaleTargetRef": {"kind": "StatefulSet", "name": "d"}}}) == ("StatefulSet", "d")
