"""Drains on a real API server and controller manager, with emulated pickers and engines through which requests flow."""

import asyncio
import random
import sys
import time
from pathlib import Path

import pytest

from autoscaler.domain.membership import ACTIVE_PORTS, DRAIN_STARTED
from tests.emulator import live
from tests.integration.drain.scene import PATIENCE_S, cluster, noted, pods, requested, until, until_seen, until_ticked
from tests.servers.control_plane import ControlPlane

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kubelet")]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_scale_downs_lose_nothing_and_remove_exactly_the_drained_pods(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, kind: str
) -> None:
    async def play() -> tuple[int, int, int]:
        chance, lowered = random.Random(1), 0  # noqa: S311 - a test that can be repeated
        state = tmp_path / "state.json"
        async with cluster(control_plane, namespace, state, kind=kind) as world:
            for _ in range(8):
                before = requested(control_plane, namespace, kind)
                world.targets = {role.value: chance.randint(1, 4) for role in live.ROLES}
                # a new controller each time: it knows nothing of what the one before it did
                async with live.controller(control_plane.kubeconfig(), namespace, state, world.urls, kind) as running:
                    deadline = time.monotonic() + PATIENCE_S
                    while requested(control_plane, namespace, kind) != world.targets:
                        assert time.monotonic() < deadline, (await running.scene(), world.targets)
                        await running.tick()
                        await asyncio.sleep(live.TICK_S)
                lowered += sum(max(0, before[name] - count) for name, count in world.targets.items())
                wanted = sum(world.targets.values())
                await until(lambda: len(pods(control_plane, namespace)) == wanted, "pods")  # noqa: B023 - awaited here
                await until(lambda: all(len(p.members) == wanted for p in world.pickers), "members")  # noqa: B023
            assert not any(noted(pod) for pod in pods(control_plane, namespace))
            return lowered, world.traffic.finished, len(world.traffic.lost)

    lowered, finished, lost = asyncio.run(play())
    sys.stdout.write(f"{kind}: {lowered} replicas removed, {finished} requests finished, {lost} lost\n")
    assert lost == 0
    assert lowered >= 5
    assert finished > 100


def test_no_replica_is_lowered_while_a_picker_is_blind_and_load_that_returns_readmits(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    async def play() -> None:
        state = tmp_path / "state.json"
        async with cluster(control_plane, namespace, state) as world:
            world.blind_until[1] = time.monotonic() + 600.0
            world.targets = {"prefill": 3, "decode": 2}
            async with live.controller(control_plane.kubeconfig(), namespace, state, world.urls) as running:
                await until_ticked(running, lambda: any(map(noted, pods(control_plane, namespace))))
                for _ in range(15):
                    await running.tick()
                    await asyncio.sleep(live.TICK_S)
                assert requested(control_plane, namespace) == {"prefill": 3, "decode": 3}
                (victim,) = [pod for pod in pods(control_plane, namespace) if noted(pod)]
                assert victim["metadata"]["annotations"][ACTIVE_PORTS] == ""
                assert victim["metadata"]["name"] in world.pickers[1].members
                assert victim["metadata"]["name"] not in world.pickers[0].members
                await until_seen(running, control_plane, namespace)
                world.targets = {"prefill": 3, "decode": 3}
                world.write()
                await running.tick()  # one tick
            assert not any(map(noted, pods(control_plane, namespace)))
            await until(lambda: len(world.pickers[0].members) == 6, "the member")
            assert world.traffic.lost == []

    asyncio.run(play())


def test_a_drain_goes_on_after_the_api_server_was_away_and_nothing_is_lost(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    async def play() -> None:
        state = tmp_path / "state.json"
        async with cluster(control_plane, namespace, state) as world:
            world.targets = {"prefill": 2, "decode": 2}
            async with live.controller(control_plane.kubeconfig(), namespace, state, world.urls) as running:
                await until_ticked(running, lambda: any(map(noted, pods(control_plane, namespace))))
                await asyncio.to_thread(control_plane.stop_api_server)
                world.blind_until = [time.monotonic() + 6.0, time.monotonic() + 12.0]  # back late, each in its time
                for _ in range(5):
                    await running.tick()
                    await asyncio.sleep(live.TICK_S)
                await asyncio.to_thread(control_plane.start_api_server)
                await until_ticked(running, lambda: requested(control_plane, namespace) == world.targets)
            assert world.traffic.lost == []

    asyncio.run(play())


def test_controllers_that_are_killed_in_the_middle_leave_nothing_dark_and_lose_nothing(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kills = 6

    async def play() -> tuple[int, int]:
        chance = random.Random(2)  # noqa: S311 - a test that can be repeated
        state = tmp_path / "state.json"
        async with cluster(control_plane, namespace, state, start=4) as world:
            module = [sys.executable, "-m", "tests.emulator.live"]
            command = [*module, str(control_plane.kubeconfig()), namespace, str(state), *world.urls]
            for number in range(kills + 1):
                last = number == kills
                world.targets = {role.value: 2 if last else chance.randint(1, 4) for role in live.ROLES}
                process = await asyncio.create_subprocess_exec(*command)
                try:
                    if last:
                        await until(lambda: requested(control_plane, namespace) == world.targets, "the counts")
                        await until(lambda: not any(map(noted, pods(control_plane, namespace))), "no notes")
                    else:
                        await until(lambda: acted(control_plane, namespace, world.targets), "an action")
                        await asyncio.sleep(chance.uniform(0.0, 2.0))
                    assert process.returncode is None
                finally:
                    process.kill()
                    await process.wait()
            return world.traffic.finished, len(world.traffic.lost)

    finished, lost = asyncio.run(play())
    sys.stdout.write(f"{kills} kills, {finished} requests finished, {lost} lost\n")
    assert lost == 0


def acted(plane: ControlPlane, namespace: str, targets: dict[str, int]) -> bool:
    """Tell whether a controller has begun, or has nothing to do."""
    counts = requested(plane, namespace)
    withdrawn = any(DRAIN_STARTED in (pod["metadata"].get("annotations") or {}) for pod in pods(plane, namespace))
    return withdrawn or all(counts[name] <= wanted for name, wanted in targets.items())
