"""The state of a pod, by table; its times; its owner."""

from typing import Any

import pytest

from autoscaler.domain import membership
from autoscaler.domain.fleet import PodState
from autoscaler.domain.membership import ACTIVE_PORTS, ACTIVE_PORTS_LEGACY, DRAIN_DEADLINE, DRAIN_STARTED
from autoscaler.observe import pods
from autoscaler.observe.pods import Owner

CREATED, LATER = "2026-11-23T10:00:00Z", "2026-11-23T10:02:30Z"
DRAINED = {ACTIVE_PORTS: "", ACTIVE_PORTS_LEGACY: "", DRAIN_STARTED: LATER}


def condition(kind: str, status: str = "True", **more: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": LATER, **more}


SCHEDULED, READY, UNREADY = condition("PodScheduled"), condition("Ready"), condition("Ready", "False")


def pod(
    *conditions: dict[str, Any],
    node: str = "node",
    phase: str = "Running",
    annotations: dict[str, str] | None = None,
    deleted: bool = False,
    **status: object,
) -> dict[str, Any]:
    metadata = {"name": "p", "uid": "u", "creationTimestamp": CREATED, "annotations": annotations or {}}
    return {
        "metadata": metadata | ({"deletionTimestamp": LATER} if deleted else {}),
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": list(conditions), **status},
    }


def waiting(reason: str) -> list[dict[str, Any]]:
    return [{"name": "engine", "restartCount": 3, "state": {"waiting": {"reason": reason, "message": "oh"}}}]


@pytest.mark.parametrize(
    ("found", "state"),
    [
        pytest.param(pod(node="", phase="Pending"), PodState.PENDING, id="no node"),
        pytest.param(pod(SCHEDULED, phase="Pending"), PodState.STARTING, id="pulls its image"),
        pytest.param(pod(SCHEDULED, UNREADY), PodState.STARTING, id="loads its weights"),
        pytest.param(pod(SCHEDULED, READY), PodState.READY, id="serves"),
        pytest.param(pod(SCHEDULED, condition("Ready", "Unknown")), PodState.STARTING, id="its node is lost"),
        pytest.param(pod(SCHEDULED, READY, annotations=DRAINED), PodState.DRAINING, id="withdrawn by us"),
        pytest.param(pod(SCHEDULED, UNREADY, annotations=DRAINED), PodState.DRAINING, id="withdrawn, then unready"),
        pytest.param(pod(SCHEDULED, READY, annotations={ACTIVE_PORTS: ""}), PodState.DRAINING, id="by somebody else"),
        pytest.param(pod(SCHEDULED, UNREADY, annotations={ACTIVE_PORTS: ""}), PodState.STARTING, id="warms up unseen"),
        pytest.param(pod(SCHEDULED, READY, annotations={DRAIN_STARTED: LATER}), PodState.READY, id="a note alone"),
        pytest.param(pod(SCHEDULED, READY, annotations=DRAINED, deleted=True), PodState.TERMINATING, id="deleted"),
        pytest.param(pod(phase="Failed", deleted=True), PodState.TERMINATING, id="failed and deleted"),
        pytest.param(pod(phase="Failed"), PodState.FAILED, id="evicted"),
        pytest.param(pod(phase="Succeeded"), PodState.FAILED, id="an engine that ended"),
        pytest.param(pod(containerStatuses=waiting("CrashLoopBackOff")), PodState.FAILED, id="crashes"),
        pytest.param(pod(containerStatuses=waiting("ContainerCreating")), PodState.STARTING, id="is created"),
        pytest.param(pod(initContainerStatuses=waiting("ImagePullBackOff")), PodState.FAILED, id="no such image"),
    ],
)
def test_states(found: dict[str, Any], state: PodState) -> None:
    assert pods.seen(found).pod.state is state


@pytest.mark.parametrize(
    ("annotations", "withdrawn"),
    [
        pytest.param({}, False, id="no key: every port"),
        pytest.param({ACTIVE_PORTS: ""}, True, id="empty"),
        pytest.param({ACTIVE_PORTS_LEGACY: ""}, True, id="empty legacy"),
        pytest.param({ACTIVE_PORTS: "8000", ACTIVE_PORTS_LEGACY: ""}, False, id="the new key shadows the legacy one"),
        pytest.param({ACTIVE_PORTS: "", ACTIVE_PORTS_LEGACY: "8000"}, True, id="also when it withdraws"),
        pytest.param({ACTIVE_PORTS: "garbage"}, True, id="garbage"),
        pytest.param({ACTIVE_PORTS: " 8000 , 8001"}, False, id="blanks"),
        pytest.param({ACTIVE_PORTS: "8000x"}, False, id="a leading number counts"),
        pytest.param({ACTIVE_PORTS: ",8001"}, False, id="one of several"),
    ],
)
def test_withdrawal_by_the_rules_of_the_picker(annotations: dict[str, str], *, withdrawn: bool) -> None:
    assert membership.withdrawn(annotations) is withdrawn


def test_times_and_places() -> None:
    marks = DRAINED | {DRAIN_DEADLINE: "2026-11-23T10:12:30+00:00"}
    containers = [{"name": "a", "restartCount": 2}, {"name": "b"}]
    found = pods.seen(pod(SCHEDULED, READY, annotations=marks, podIP="10.0.0.1", containerStatuses=containers)).pod
    assert found.created == pods.instant(CREATED) == 1795428000.0
    assert found.scheduled == found.ready_since == found.draining_since == found.created + 150
    assert found.drain_deadline == found.created + 750
    assert (found.restarts, found.ip, found.node, found.uid) == (2, "10.0.0.1", "node", "u")


def test_times_that_are_not_there() -> None:
    pending = pods.seen(pod(node="")).pod
    assert (pending.scheduled, pending.ready_since, pending.draining_since) == (None, None, None)
    born_on_a_node = pods.seen(pod({"type": "Ready", "status": "True"})).pod
    assert (born_on_a_node.scheduled, born_on_a_node.ready_since) == (born_on_a_node.created, born_on_a_node.created)
    garbled = pods.seen(pod(READY, annotations=DRAINED | {DRAIN_DEADLINE: "soon"})).pod
    assert (garbled.state, garbled.drain_deadline) == (PodState.DRAINING, None)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (pod(condition("PodScheduled", "False", message="0/4 nodes"), node=""), "0/4 nodes"),
        (pod(node=""), ""),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), "Evicted: low on memory"),
        (pod(containerStatuses=waiting("CrashLoopBackOff")), "engine: CrashLoopBackOff: oh"),
        (pod(SCHEDULED, READY), ""),
    ],
)
def test_what_blocks_a_pod_is_told(found: dict[str, Any], words: str) -> None:
    assert pods.seen(found).pod.blocked_by == words


def test_the_owner_is_the_one_that_controls() -> None:
    other = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"}
    controls = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2", "controller": True}
    assert pods.owner_of({"ownerReferences": [other, controls]}) == Owner("apps/v1", "ReplicaSet", "r", "2")
    assert pods.owner_of({"ownerReferences": [other]}) is None
    assert pods.owner_of({}) is None


@pytest.mark.parametrize(("index", "counts"), [(None, True), ("0", True), ("1", False), ("12", False)])
def test_only_the_leader_of_a_group_counts(index: str | None, *, counts: bool) -> None:
    found = pod(READY)
    found["metadata"]["labels"] = {} if index is None else {pods.GROUP_MEMBER: index}
    assert pods.seen(found).counts is counts
