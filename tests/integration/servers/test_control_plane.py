"""The control plane that other tests build on: pods come up, outages pass, the audit log tells who wrote."""

import time
from typing import Any

import pytest

from tests.servers import kubelet as kubelets
from tests.servers.control_plane import CONTROLLER_AUTO, CONTROLLER_RECOMMEND, ApiError, ControlPlane, eventually

pytestmark = pytest.mark.usefixtures("kubelet")

SCALER = [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]}]
READER = [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get"]}]


def deployment(name: str, *, replicas: int, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    labels = {"app": name}
    pod = {
        "metadata": {"labels": labels, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "engine", "image": "engine"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"metadata": {"name": name}, "spec": spec}


def create(plane: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
    plane.request("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", body)


def ready(plane: ControlPlane, namespace: str, name: str) -> int:
    found = plane.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
    return int(found["status"].get("readyReplicas", 0))


def scale(plane: ControlPlane, namespace: str, name: str, *, replicas: int, user: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    plane.request("PATCH", path, {"spec": {"replicas": replicas}}, user=user)


def pods(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plane.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found


def test_pods_of_a_deployment_become_ready_each_at_its_own_address(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, namespace, deployment("decode", replicas=3))
    eventually(lambda: ready(control_plane, namespace, "decode") == 3, what="3 ready pods")
    addresses = {pod["status"]["podIP"] for pod in pods(control_plane, namespace)}
    assert len(addresses) == 3
    assert all(address.startswith("127.0.") for address in addresses)


def test_a_pod_takes_its_startup_time(control_plane: ControlPlane, namespace: str) -> None:
    begin = time.monotonic()
    create(control_plane, namespace, deployment("slow", replicas=1, annotations={kubelets.STARTUP_SECONDS: "1.5"}))
    eventually(lambda: ready(control_plane, namespace, "slow") == 1, what="the slow pod")
    assert time.monotonic() - begin >= 1.5


def test_a_deleted_pod_stays_for_its_stop_delay_but_not_beyond_its_grace(
    control_plane: ControlPlane, namespace: str
) -> None:
    body = deployment("draining", replicas=1, annotations={kubelets.STOP_SECONDS: "60"})
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    create(control_plane, namespace, body)
    eventually(lambda: ready(control_plane, namespace, "draining") == 1, what="the pod")
    begin = time.monotonic()
    scale(control_plane, namespace, "draining", replicas=0, user="admin")
    eventually(lambda: not pods(control_plane, namespace), what="no pod")
    assert 0.9 <= time.monotonic() - begin <= 10


def test_the_audit_log_tells_who_wrote_and_who_was_denied(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, namespace, deployment("prefill", replicas=1))
    control_plane.grant(CONTROLLER_AUTO, SCALER, namespace=namespace)
    control_plane.grant(CONTROLLER_RECOMMEND, READER, namespace=namespace)
    scale(control_plane, namespace, "prefill", replicas=2, user=CONTROLLER_AUTO)
    with pytest.raises(ApiError) as refusal:
        scale(control_plane, namespace, "prefill", replicas=3, user=CONTROLLER_RECOMMEND)
    assert refusal.value.code == 403

    def written(user: str) -> list[tuple[str, str, int]]:
        events = [event for event in control_plane.writes(user) if event.namespace == namespace]
        return [(event.verb, event.resource, event.code) for event in events]

    eventually(lambda: bool(written(CONTROLLER_RECOMMEND)), what="the audit event")
    assert written(CONTROLLER_AUTO) == [("patch", "deployments/scale", 200)]
    assert written(CONTROLLER_RECOMMEND) == [("patch", "deployments/scale", 403)]


def test_all_goes_on_after_an_outage_of_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, namespace, deployment("steady", replicas=1))
    eventually(lambda: ready(control_plane, namespace, "steady") == 1, what="the pod")
    control_plane.kill_api_server()
    with pytest.raises(OSError, match="refused"):
        pods(control_plane, namespace)
    control_plane.start_api_server()
    assert len(pods(control_plane, namespace)) == 1
    scale(control_plane, namespace, "steady", replicas=2, user="admin")
    eventually(lambda: ready(control_plane, namespace, "steady") == 2, within_s=60, what="the second pod")
