"""What the drain tests put on stage: two pools on a real API server, emulated pickers and engines beside it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from autoscaler.domain.fleet import Workload
from autoscaler.domain.membership import NOTES
from tests.emulator import live
from tests.emulator.live import Cluster, Outside
from tests.integration.kube import stage
from tests.servers.control_plane import ControlPlane

PATIENCE_S = 180.0  # the machine may be busy


def pods(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plane.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def collection(namespace: str, kind: str = "Deployment") -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/{kind.lower()}s"


def requested(plane: ControlPlane, namespace: str, kind: str = "Deployment") -> dict[str, int]:
    items = plane.request("GET", collection(namespace, kind))["items"]
    return {item["metadata"]["name"]: item["spec"]["replicas"] for item in items}


def noted(pod: dict[str, Any]) -> bool:
    return bool(set(NOTES) & (pod["metadata"].get("annotations") or {}).keys())


async def until(holds: Callable[[], bool], what: str, *, within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come within {within_s:g} s"
        await asyncio.sleep(0.1)


async def until_ticked(running: live.Controller, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        await running.tick()
        await asyncio.sleep(live.TICK_S)


async def until_seen(running: live.Controller, plane: ControlPlane, namespace: str) -> None:
    """Wait until the controller's own copy shows which pods are withdrawn."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            fleet = (await running.scene()).observed.fleet.values()
            pods_seen = [pod for workload in fleet if isinstance(workload, Workload) for pod in workload.pods]
            seen = {pod.name for pod in pods_seen if pod.draining_since is not None}
            if seen == {pod["metadata"]["name"] for pod in pods(plane, namespace) if noted(pod)}:
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def cluster(  # noqa: PLR0913 - what a scene is made of
    plane: ControlPlane,
    namespace: str,
    state: Path,
    *,
    start: int = 3,
    kind: str = "Deployment",
    startup_s: float = 0.0,
    over_http: bool = False,
    asked: bool | Outside = False,
) -> AsyncIterator[Cluster]:
    for role in live.ROLES:
        plane.request("POST", collection(namespace, kind), live.workload(role.value, start, startup_s))
    async with stage.session(plane.kubeconfig()) as session:
        made = Cluster(session, namespace, state, seed=1, over_http=over_http, asked=asked)
        made.targets = {role.value: start for role in live.ROLES}
        async with made.running():
            await until(lambda: all(len(p.members) == 2 * start for p in made.pickers), "the pickers' members")
            made.flowing = True
            await until(state.exists, "the state")
            yield made
