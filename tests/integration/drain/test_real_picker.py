"""Pickers asked in their own protocol, requests over HTTP: the emulated picker, and a real one if EPP_BIN names it.

Whatever holds of the one must hold of the other: so the emulator is held to the picker that it stands for.
"""

import asyncio
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from autoscaler.domain.membership import ACTIVE_PORTS, ACTIVE_PORTS_LEGACY
from autoscaler.observe import picker as reading
from tests.emulator import live
from tests.emulator.live import Cluster, Outside
from tests.integration.drain.scene import PATIENCE_S, cluster, pods, requested, until, until_ticked
from tests.servers import endpoint_picker
from tests.servers.control_plane import ControlPlane
from tests.servers.endpoint_picker import EndpointPicker
from tests.servers.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kubelet")]

Asked: TypeAlias = bool | Outside
ROLE = "llm-d.ai/role"


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.upstream)])
def asked(
    request: pytest.FixtureRequest, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> Iterator[Asked]:
    """Return who is asked: the emulated picker's own server, or a running one."""
    if request.param == "emulated":
        yield True
        return
    program, port = endpoint_picker.binary(), free_port()
    if program is None:
        pytest.skip(endpoint_picker.ABSENT)
    kubeconfig = control_plane.kubeconfig()
    with EndpointPicker(program, tmp_path, kubeconfig, namespace, "pool=p", port) as running:
        yield Outside(running.page, running.address, port)


def listed(world: Cluster) -> list[frozenset[str]]:
    """Return the members that each picker shows."""
    pages = []
    for url in world.urls:
        with urllib.request.urlopen(url, timeout=10.0) as answer:  # noqa: S310 - http, of our own servers
            pages.append(reading.members(answer.read().decode()))
    return pages


async def until_listed(world: Cluster, name: str, *, member: bool, what: str) -> None:
    await until(lambda: all((name in members) is member for members in listed(world)), what)
    sys.stdout.write(f"{what}: {'member' if member else 'gone'}\n")


KEYS: tuple[tuple[str, Mapping[str, str], bool], ...] = (
    ("both keys empty", {ACTIVE_PORTS: "", ACTIVE_PORTS_LEGACY: ""}, False),
    ("only the new key empty", {ACTIVE_PORTS: ""}, False),
    ("only the legacy key empty", {ACTIVE_PORTS_LEGACY: ""}, False),
    ("new key empty, legacy names the port", {ACTIVE_PORTS: "", ACTIVE_PORTS_LEGACY: "PORT"}, False),
    ("new key names the port, legacy empty", {ACTIVE_PORTS: "PORT", ACTIVE_PORTS_LEGACY: ""}, True),
    ("an unknown port", {ACTIVE_PORTS: "9999"}, False),
    ("garbage", {ACTIVE_PORTS: "garbage"}, False),
)


def test_members_come_and_go_as_the_table_of_observations_says(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, asked: Asked
) -> None:
    def patch(name: str, body: dict[str, Any], subresource: str = "") -> None:
        control_plane.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}{subresource}", body)

    def annotate(name: str, values: Mapping[str, str | None]) -> None:
        patch(name, {"metadata": {"annotations": dict(values)}})

    def ready(name: str, status: str) -> None:
        patch(name, {"status": {"conditions": [{"type": "Ready", "status": status}]}}, "/status")

    async def play() -> None:
        async with cluster(
            control_plane, namespace, tmp_path / "state.json", start=2, over_http=True, asked=asked
        ) as world:
            found = (pod["metadata"] for pod in pods(control_plane, namespace))
            name = next(metadata["name"] for metadata in found if metadata["labels"][ROLE] == "decode")
            await until_listed(world, name, member=True, what="no key")
            for what, values, member in KEYS:
                port = str(asked.port if isinstance(asked, Outside) else 8000)
                annotate(name, {key: value.replace("PORT", port) for key, value in values.items()})
                await until_listed(world, name, member=member, what=what)
                annotate(name, dict.fromkeys((ACTIVE_PORTS, ACTIVE_PORTS_LEGACY)))
                await until_listed(world, name, member=True, what="keys removed")
            ready(name, "False")
            await until_listed(world, name, member=False, what="not ready")
            ready(name, "True")
            await until_listed(world, name, member=True, what="ready again")
            patch(name, {"metadata": {"labels": {ROLE: None}}})
            await until(lambda: len(pods(control_plane, namespace)) == 5, "its replacement")
            await until_listed(world, name, member=True, what="without its role label, orphaned")
            control_plane.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}")
            await until_listed(world, name, member=False, what="deleted")

    asyncio.run(play())


def test_drains_lose_nothing_of_what_the_picker_sends(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, asked: Asked
) -> None:
    state = tmp_path / "state.json"

    async def play() -> int:
        async with (
            cluster(control_plane, namespace, state, over_http=True, asked=asked) as world,
            live.controller(control_plane.kubeconfig(), namespace, state, world.urls) as running,
        ):
            await until(lambda: world.traffic.finished > 0, "the first answer")
            for wanted in ({"prefill": 1, "decode": 2}, {"prefill": 3, "decode": 3}, {"prefill": 2, "decode": 1}):
                world.targets = wanted
                await until_ticked(running, lambda: requested(control_plane, namespace) == world.targets)
                count = sum(wanted.values())
                await until(lambda: all(len(found) == count for found in listed(world)), "the members")  # noqa: B023
            assert [str(it) for it in world.traffic.lost] == []
            return world.traffic.finished

    finished = asyncio.run(play())
    sys.stdout.write(f"{finished} requests finished, none lost\n")
    assert finished > 50


def test_after_an_outage_nothing_is_lowered_before_the_picker_has_seen_the_drain(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, asked: Asked
) -> None:
    state = tmp_path / "state.json"

    async def play() -> None:
        async with (
            cluster(control_plane, namespace, state, over_http=True, asked=asked) as world,
            live.controller(
                control_plane.kubeconfig(), namespace, state, world.urls, recovery_s=live.RECOVERY_S
            ) as running,
        ):
            await asyncio.to_thread(control_plane.kill_api_server)
            await asyncio.to_thread(control_plane.start_api_server)
            world.blind_until = [time.monotonic() + 2.0, time.monotonic() + 4.0]  # a real one needs no telling
            world.targets = {"prefill": 2, "decode": 2}
            deadline = time.monotonic() + PATIENCE_S
            while (counts := requested(control_plane, namespace)) != world.targets:
                assert time.monotonic() < deadline, counts
                for members in listed(world):
                    for name, count in counts.items():
                        assert sum(member.startswith(name) for member in members) <= count, (name, counts, members)
                await running.tick()
                await asyncio.sleep(live.TICK_S)
            assert [str(it) for it in world.traffic.lost] == []

    asyncio.run(play())
