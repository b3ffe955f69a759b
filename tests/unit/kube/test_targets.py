"""What a scale target says of itself."""

from typing import Any

import pytest

from autoscaler.observe import targets


def target(status: dict[str, Any], *, generation: int = 2, **annotations: str) -> dict[str, Any]:
    keyed = {f"disagg-autoscaler.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    metadata = {"name": "d", "uid": "u", "resourceVersion": "7", "generation": generation, "annotations": keyed}
    return {"metadata": metadata, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}}, "status": status}


@pytest.mark.parametrize(
    ("status", "built_in", "rolling"),
    [
        pytest.param({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3}, True, False, id="settled"),
        pytest.param({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3}, True, True, id="not looked at"),
        pytest.param({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1}, True, True, id="two revisions"),
        pytest.param({"observedGeneration": 2, "replicas": 3}, True, True, id="no pod is up to date"),
        pytest.param({"observedGeneration": 2}, True, False, id="no pod at all"),
        pytest.param({}, True, True, id="just created"),
        pytest.param({}, False, False, id="a kind that reports nothing"),
        pytest.param({"replicas": 3}, False, False, id="a kind that reports no revisions"),
        pytest.param({"replicas": 3, "updatedReplicas": 2}, False, True, id="a kind that reports revisions"),
    ],
)
def test_rollouts(status: dict[str, Any], *, built_in: bool, rolling: bool) -> None:
    assert targets.seen(target(status), built_in=built_in).rolling_out is rolling


@pytest.mark.parametrize(
    ("value", "paused"),
    [("true", True), ("", True), ("until monday", True), ("false", False), (" No ", False), ("0", False)],
)
def test_a_pause_is_any_value_that_is_not_a_plain_no(value: str, *, paused: bool) -> None:
    seen = targets.seen(target({}, paused=value), built_in=True)
    assert (seen.paused, seen.paused_scale_down) == (paused, False)
    assert targets.seen(target({}, paused_scale_down=value), built_in=True).paused_scale_down is paused


def test_sizes_of_built_in_kinds_stand_in_the_object_and_others_under_scale() -> None:
    built_in = targets.seen(target({}), built_in=True).size
    assert built_in is not None
    assert (built_in.requested, built_in.selector.selects({"a": "b"})) == (3, True)
    assert targets.seen(target({}), built_in=False).size is None
    scaled = targets.of_scale({"spec": {"replicas": 4}, "status": {"selector": "a=b"}})
    assert (scaled.requested, scaled.selector.selects({"a": "b"})) == (4, True)


def test_a_scale_leaves_zero_out_and_may_have_no_usable_selector() -> None:
    empty = targets.of_scale({"spec": {}, "status": {"selector": "(("}})
    assert (empty.requested, empty.selector.selects({"a": "b"})) == (0, False)
