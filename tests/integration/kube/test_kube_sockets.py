"""No connection outlives its session, however its last call ended, and however long the server takes to say goodbye."""

import asyncio

import pytest

from autoscaler.domain.units import Seconds
from autoscaler.kube import PODS, KubeSession
from tests.integration.kube import stage
from tests.servers.control_plane import ControlPlane
from tests.servers.kubelet import FakeKubelet


async def _watching(session: KubeSession, version: str) -> None:
    async with session.watch(PODS.at(""), version, Seconds(60.0)) as events:
        async for _ in events:
            pass


@pytest.mark.parametrize("ends", ["in calls", "in watches", "idle"])
def test_a_session_that_ends_leaves_no_socket(control_plane: ControlPlane, ends: str) -> None:
    """The server stands still: it answers no farewell of TLS, which would else close connections behind us."""

    async def play() -> tuple[int, int]:
        async with stage.session(control_plane.kubeconfig()) as session:
            client = session._client  # noqa: SLF001 - what must not be left behind
            listed = await session.page(PODS.at(""), limit=1)
            version = listed["metadata"]["resourceVersion"]
            watches = [asyncio.create_task(_watching(session, version)) for _ in range(3 * (ends == "in watches"))]
            await asyncio.gather(*(session.page(PODS.at(""), limit=1) for _ in range(3)))
            with control_plane.frozen_api_server():
                calls = [
                    asyncio.create_task(session.page(PODS.at(""), limit=1)) for _ in range(3 * (ends == "in calls"))
                ]
                await asyncio.sleep(0.2)
                before = len(client.open_sockets())
                for task in (*watches, *calls):
                    task.cancel()
                await asyncio.gather(*watches, *calls, return_exceptions=True)
                await session.close()
                return before, len(client.open_sockets())

    before, after = asyncio.run(play())
    assert before > 0, "there were connections to close"
    assert after == 0


def test_a_kubelet_that_ends_leaves_no_socket(control_plane: ControlPlane) -> None:
    async def play() -> tuple[int, int]:
        async with FakeKubelet(control_plane.kubeconfig()) as kubelet:
            client = kubelet._api  # noqa: SLF001 - what must not be left behind
            before = len(client.open_sockets())
        return before, len(client.open_sockets())

    before, after = asyncio.run(play())
    assert before > 0
    assert after == 0
