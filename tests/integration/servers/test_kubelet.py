"""The fake kubelet in a test's own loop."""

import asyncio
from typing import Any

import pytest

from tests.servers.control_plane import ControlPlane
from tests.servers.kubelet import STARTUP_SECONDS, FakeKubelet

OWN_NODE = "node-of-this-test"


def pod(startup_seconds: str) -> dict[str, Any]:
    spec = {"nodeName": OWN_NODE, "containers": [{"name": "engine", "image": "engine"}]}
    return {"metadata": {"name": "engine", "annotations": {STARTUP_SECONDS: startup_seconds}}, "spec": spec}


def ready(plane: ControlPlane, pods: str) -> bool:
    status = plane.request("GET", f"{pods}/engine")["status"]
    return any(condition["type"] == "Ready" for condition in status.get("conditions", []))


async def look_after(plane: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
    """Create a pod beside a kubelet of its own and return once it is Ready."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    async with FakeKubelet(plane.kubeconfig(), node=OWN_NODE), asyncio.timeout(10):
        await asyncio.to_thread(plane.request, "POST", pods, body)
        while not await asyncio.to_thread(ready, plane, pods):  # noqa: ASYNC110 - the state is the server's, not ours
            await asyncio.sleep(0.05)


def test_a_pod_becomes_ready_beside_the_test(control_plane: ControlPlane, namespace: str) -> None:
    asyncio.run(look_after(control_plane, namespace, pod("0.1")))


def test_a_failure_of_the_kubelet_ends_the_test(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(ExceptionGroup) as failure:
        asyncio.run(look_after(control_plane, namespace, pod("soon")))
    assert failure.group_contains(ValueError, match="soon")
