"""Ten minutes of a cluster: what is published is what the pickers list, and no count is lowered on trust.

Engines and all our own intervals run ten times as fast as in life: ten minutes are one.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autoscaler.domain.membership import withdrawn
from autoscaler.domain.units import Seconds
from autoscaler.kube import PODS, KubeError, KubeSession, Resource
from tests.emulator import live
from tests.emulator.live import Cluster
from tests.integration.drain.scene import PATIENCE_S, cluster, noted, pods, requested, until, until_seen, until_ticked
from tests.integration.kube import stage
from tests.servers.control_plane import ControlPlane

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kubelet")]

DEPLOYMENTS = Resource("apps/v1", "Deployment", "deployments")
TEN_MINUTES_S = 600.0 / live.SPEED
BLIND_S = 45.0 / live.SPEED
STARTUP_S = 1.0


@dataclass
class Audit:
    """Two sets that should be one, and what was listed whenever a count was lowered."""

    looks: int = 0
    differed: int = 0  # looks at a picker that sees
    differed_blind: int = 0
    lowered: int = 0
    grown: int = 0
    unconfirmed: list[str] = field(default_factory=list)
    longest_s: float = 0.0  # for which a picker that sees differed from what is published
    _since: dict[int, float] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def of(self, world: Cluster, session: KubeSession) -> AsyncIterator[None]:
        """Look all the time."""
        tasks = [asyncio.create_task(self._compare(world, session)), asyncio.create_task(self._follow(world, session))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _compare(self, world: Cluster, session: KubeSession) -> None:
        while True:
            with contextlib.suppress(KubeError):
                found = await session.page(PODS.at(world.namespace), limit=500)
                published = {pod["metadata"]["name"] for pod in found["items"] if published_member(pod)}
                for number, picker in enumerate(world.pickers):
                    self._compared(number, agrees=published == picker.members.keys(), blind=world.blind(number))
                self.looks += 1
            await asyncio.sleep(0.02)

    def _compared(self, number: int, *, agrees: bool, blind: bool) -> None:
        now = time.monotonic()
        self.differed += not agrees and not blind
        self.differed_blind += not agrees and blind
        if agrees or blind:
            self._since.pop(number, None)
        else:
            self.longest_s = max(self.longest_s, now - self._since.setdefault(number, now))

    async def _follow(self, world: Cluster, session: KubeSession) -> None:
        """See every count; when one is lowered, so many pods of the pool must be on no picker's list."""
        place = DEPLOYMENTS.at(world.namespace)
        while True:
            with contextlib.suppress(KubeError):
                listed = await session.page(place, limit=10)
                for item in listed["items"]:
                    self._counted(world, item)
                async with session.watch(place, listed["metadata"]["resourceVersion"], Seconds(5.0)) as events:
                    async for event in events:
                        if event["type"] != "BOOKMARK":
                            self._counted(world, event["object"])
            await asyncio.sleep(0.1)

    def _counted(self, world: Cluster, deployment: dict[str, Any]) -> None:
        name, count = deployment["metadata"]["name"], deployment["spec"].get("replicas", 0)
        before = self._counts.get(name, count)
        self._counts[name] = count
        self.grown += count > before
        if count < before:
            self.lowered += 1
            for picker in world.pickers:
                listed = sum(member.startswith(f"{name}-") for member in picker.members)
                if listed > count:
                    self.unconfirmed.append(f"{name}: {before} -> {count} while {picker.name} lists {listed}")


def published_member(pod: dict[str, Any]) -> bool:
    """Tell whether a pod should be a member, by what is written on it."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
    dark = withdrawn(pod["metadata"].get("annotations") or {})
    return ready and not dark and not pod["metadata"].get("deletionTimestamp")


def test_what_is_published_is_what_the_pickers_list_throughout(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    audit, state, plane = Audit(), tmp_path / "state.json", control_plane

    async def play() -> int:
        async with (
            stage.session(plane.kubeconfig()) as session,
            cluster(plane, namespace, state, startup_s=STARTUP_S) as world,
            audit.of(world, session),
            live.controller(plane.kubeconfig(), namespace, state, world.urls, recovery_s=live.RECOVERY_S) as running,
        ):

            async def reach(prefill: int, decode: int) -> None:
                world.targets = {"prefill": prefill, "decode": decode}
                await until_ticked(running, lambda: requested(plane, namespace) == world.targets)
                await until(lambda: len(pods(plane, namespace)) == prefill + decode, "the pods")

            ends = time.monotonic() + TEN_MINUTES_S
            await reach(4, 4)
            await reach(2, 3)
            await cancelled_scale_down(plane, world, running)
            await outage_and_blindness(plane, world, running)
            up = False
            while time.monotonic() < ends:
                up = not up
                await reach(*((3, 4) if up else (1, 2)))
            await until(lambda: all(len(p.members) == len(pods(plane, namespace)) for p in world.pickers), "agreement")
            assert not any(map(noted, pods(plane, namespace)))
            assert world.traffic.lost == []
            assert world.wrong == []
            return world.traffic.finished

    finished = asyncio.run(play())
    sys.stdout.write(
        f"{audit.looks} looks, {audit.lowered} times lowered, {audit.grown} times grown, {finished} requests; "
        f"a picker that saw differed at {audit.differed} looks, for {audit.longest_s:.2f} s at most; "
        f"a blind one at {audit.differed_blind}\n"
    )
    assert audit.unconfirmed == []
    assert audit.lowered >= 4
    assert audit.differed_blind > 0, "the audit sees a difference where there is one"
    assert audit.longest_s < PATIENCE_S / 10, "it differed for good, not for the moment of a watch"


async def cancelled_scale_down(plane: ControlPlane, world: Cluster, running: live.Controller) -> None:
    """Let load return while pods drain: all are members again within one tick of the news."""
    before = requested(plane, world.namespace)
    world.targets = dict.fromkeys(world.targets, 1)
    await until_ticked(running, lambda: any(map(noted, pods(plane, world.namespace))))
    await until_seen(running, plane, world.namespace)
    world.targets = before
    world.write()
    await running.tick()
    assert not any(map(noted, pods(plane, world.namespace))), "one tick, no cold start"
    assert requested(plane, world.namespace) == before


async def outage_and_blindness(plane: ControlPlane, world: Cluster, running: live.Controller) -> None:
    """Withdraw while a picker is blind after an outage: nothing is lowered until it sees."""
    await asyncio.to_thread(plane.kill_api_server)
    for _ in range(3):
        await running.tick()
        await asyncio.sleep(live.TICK_S)
    await asyncio.to_thread(plane.start_api_server)
    before = requested(plane, world.namespace)
    world.blind_until[1] = float("inf")
    world.targets = {"prefill": before["prefill"], "decode": before["decode"] - 1}
    await until_ticked(running, lambda: any(map(noted, pods(plane, world.namespace))))
    blind_for = time.monotonic() + BLIND_S
    while time.monotonic() < blind_for:
        await running.tick()
        await asyncio.sleep(live.TICK_S)
        assert requested(plane, world.namespace) == before, "lowered on an unconfirmed drain"
    world.blind_until[1] = 0.0
    await until_ticked(running, lambda: requested(plane, world.namespace) == world.targets)
