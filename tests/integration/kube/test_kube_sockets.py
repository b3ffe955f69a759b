"""No connection outlives its session, however its last call ended, and however long the server takes to say goodbye."""

import asyncio
import gc
from pathlib import Path

import pytest

from autoscaler.domain.units import Seconds
from autoscaler.kube import PODS, KubeSession
from tests.integration.kube import stage
from tests.servers.control_plane import ControlPlane
from tests.servers.kubelet import kubelet_in_thread


def sockets() -> int:
    """Count the open sockets of this process; what is garbage does not count."""
    gc.collect()
    return sum(_is_socket(number) for number in Path("/proc/self/fd").iterdir())


def _is_socket(number: Path) -> bool:
    try:
        return str(number.readlink()).startswith("socket:")
    except OSError:
        return False


async def _watching(session: KubeSession, version: str) -> None:
    async with session.watch(PODS.at(""), version, Seconds(60.0)) as events:
        async for _ in events:
            pass


@pytest.mark.parametrize("ends", ["in calls", "in watches", "idle"])
def test_a_session_that_ends_leaves_no_socket(control_plane: ControlPlane, ends: str) -> None:
    """The server stands still: it answers no farewell of TLS, which would else close connections behind us."""

    async def play() -> int:
        async with stage.session(control_plane.kubeconfig()) as session:
            listed = await session.page(PODS.at(""), limit=1)
            version = listed["metadata"]["resourceVersion"]
            watches = [asyncio.create_task(_watching(session, version)) for _ in range(3 * (ends == "in watches"))]
            await asyncio.gather(*(session.page(PODS.at(""), limit=1) for _ in range(3)))
            with control_plane.frozen_api_server():
                calls = [
                    asyncio.create_task(session.page(PODS.at(""), limit=1)) for _ in range(3 * (ends == "in calls"))
                ]
                await asyncio.sleep(0.2)
                for task in (*watches, *calls):
                    task.cancel()
                await asyncio.gather(*watches, *calls, return_exceptions=True)
                open_before_the_end = sockets()
                await session.close()
                return open_before_the_end

    before = sockets()
    assert asyncio.run(play()) > before, "there were connections to close"
    assert sockets() == before


def test_a_kubelet_that_ends_leaves_no_socket(control_plane: ControlPlane) -> None:
    before = sockets()
    with kubelet_in_thread(control_plane.kubeconfig()):
        assert sockets() > before
    assert sockets() == before
