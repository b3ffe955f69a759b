"""Scale-downs through real HTTP: what drains lose, beside what plain scale-downs lose.

    make bench-lossless                           # writes build/bench/lossless.json; a quarter of an hour
    make bench-lossless ARGS="--scale-downs 20"   # fewer

etcd, API server, controller manager and every call of the controller are real; each pod is an HTTP server of its own
with the simulator's engine, ten times as fast as in life; a request is an HTTP call to a decode pod's sidecar, which
has its prompt computed by a prefill pod and pulls the KV there (``tests/emulator/over_http.py``). A request is lost
where its client gets an error. The picker is emulated, the controller of LeaderWorkerSets too.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoscaler.domain.plan import Readmit, Scale
from autoscaler.domain.record import Outcome, Result
from autoscaler.kube import KubeSession, Login, Resource
from benchmarks._rows import Row, told, write
from tests.emulator import live
from tests.servers import groups
from tests.servers.control_plane import ApiError, ControlPlane
from tests.servers.kubelet import kubelet_in_thread
from tools.servers.find import MissingServersError

KINDS = {"Deployment": Resource("apps/v1", "Deployment", "deployments"), groups.LWS.kind: groups.LWS}
START = 3
REQUESTS_PER_SECOND = 3.0  # of the engines' time
LONGEST_S = 600.0
HASTY_S = 25.0  # a drain's time limit that is often reached, of the engines' time
SETTLED_S = 5.0


@dataclass
class Scenario:
    """How the pools shrink."""

    name: str
    kind: str
    scale_downs: int
    drain_timeout_s: float = live.DRAIN_TIMEOUT_S
    plain: bool = False
    longest_s: float = LONGEST_S


@dataclass
class Found:
    """What a scenario shows."""

    scale_downs: int = 0
    removed: int = 0
    readmitted: int = 0
    finished: int = 0
    refused: int = 0
    lost: Sequence[str] = ()

    def add(self, outcome: Outcome) -> None:
        """Count what was done."""
        for result in outcome.results:
            action = result.action
            if result.result is Result.DONE and isinstance(action, Readmit):
                self.readmitted += 1
            if result.result is Result.DONE and isinstance(action, Scale) and action.replicas < action.observed:
                self.scale_downs += 1
                self.removed += action.observed - action.replicas


def play(plane: ControlPlane, folder: Path, scenario: Scenario, seed: int) -> Found:
    """Play one scenario in a namespace of its own."""
    namespace = scenario.name.replace(" ", "-").lower()
    plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    place = KINDS[scenario.kind].at(namespace)
    for role in live.ROLES:
        plane.request("POST", place.path, live.workload(role.value, START, kind=scenario.kind))
    try:
        return asyncio.run(_played(plane, folder / f"{namespace}.json", scenario, seed, namespace))
    finally:
        for role in live.ROLES:
            plane.request("PATCH", f"{place.path}/{role.value}/scale", {"spec": {"replicas": 0}})


async def _played(plane: ControlPlane, state: Path, scenario: Scenario, seed: int, namespace: str) -> Found:
    chance, login = random.Random(seed), Login(kubeconfig=str(plane.kubeconfig()))  # noqa: S311 - can be repeated
    async with await KubeSession.open(jitter=chance.random, login=login) as session:
        world = live.Cluster(session, namespace, state, seed, over_http=True)
        world.requests_per_second = REQUESTS_PER_SECOND
        world.targets = {role.value: START for role in live.ROLES}
        async with world.running(), _groups(session, namespace):
            await _until(lambda: state.exists() and all(len(p.members) == 2 * START for p in world.pickers))
            world.flowing = True
            found = await (_plain if scenario.plain else _drained)(session, world, scenario, chance, plane)
            world.flowing = False
            await asyncio.sleep(SETTLED_S)
        found.finished, found.refused = world.traffic.finished, world.refused
        found.lost = [str(it) for it in world.traffic.lost]
        return found


@contextlib.asynccontextmanager
async def _groups(session: KubeSession, namespace: str) -> AsyncIterator[None]:
    playing = asyncio.create_task(groups.play(session, namespace))
    try:
        yield
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


async def _drained(
    session: KubeSession, world: live.Cluster, scenario: Scenario, chance: random.Random, plane: ControlPlane
) -> Found:
    """Let the controller follow counts that jump."""
    found, deadline = Found(), time.monotonic() + scenario.longest_s
    async with live.controller(
        plane.kubeconfig(), world.namespace, world.state, world.urls, scenario.kind,
        drain_timeout_s=scenario.drain_timeout_s,
    ) as running:  # fmt: skip
        while found.scale_downs < scenario.scale_downs and time.monotonic() < deadline:
            world.targets = _jump(chance)
            world.write()
            patience = time.monotonic() + chance.uniform(5.0, 20.0)  # then load wants something else
            while time.monotonic() < patience and await _counts(session, world, scenario) != world.targets:
                found.add(await running.tick())
                await asyncio.sleep(live.TICK_S)
    return found


async def _plain(
    session: KubeSession, world: live.Cluster, scenario: Scenario, chance: random.Random, plane: ControlPlane
) -> Found:
    """Write counts that jump."""
    del plane
    found = Found()
    while found.scale_downs < scenario.scale_downs:
        before = await _counts(session, world, scenario)
        world.targets = _jump(chance)
        for name, count in world.targets.items():
            place = KINDS[scenario.kind].at(world.namespace, name, "scale")
            await session.patch(place, {"spec": {"replicas": count}})
            found.scale_downs += count < before[name]
            found.removed += max(0, before[name] - count)
        await asyncio.sleep(chance.uniform(2.0, 4.0))
    return found


def _jump(chance: random.Random) -> dict[str, int]:
    return {role.value: chance.randint(1, 6) for role in live.ROLES}


async def _counts(session: KubeSession, world: live.Cluster, scenario: Scenario) -> dict[str, int]:
    place = KINDS[scenario.kind].at(world.namespace)
    return {it["metadata"]["name"]: it["spec"]["replicas"] for it in (await session.page(place, limit=10))["items"]}


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(120.0):
        while not holds():  # noqa: ASYNC110 - what changes is outside of this process
            await asyncio.sleep(0.1)


def rows(seed: int, scale_downs: int) -> Iterator[Row]:
    """Yield the figures."""
    share = max(1, scale_downs // 20)  # a drain that may not end in time has no count to reach
    with (
        tempfile.TemporaryDirectory(prefix="lossless-", ignore_cleanup_errors=True) as folder,
        ControlPlane(Path(folder)) as plane,
        kubelet_in_thread(plane.kubeconfig()),
    ):
        _serve_groups(plane)
        total = 0
        for kind in KINDS:
            for scenario in (
                Scenario(f"drained {kind}", kind, 10 * share),
                Scenario(f"drain limit reached {kind}", kind, share, drain_timeout_s=HASTY_S, longest_s=60.0),
                Scenario(f"plain {kind}", kind, share, plain=True),
            ):
                found = play(plane, Path(folder), scenario, seed)
                total += 0 if scenario.plain else found.scale_downs
                yield from _told(scenario, found)
        yield Row("drained scale-downs", total, "count", f">= {scale_downs}", met=total >= scale_downs)


def _told(scenario: Scenario, found: Found) -> Iterator[Row]:
    for story in () if scenario.plain else found.lost:
        print(f"{scenario.name}: lost {story}", flush=True)
    print(f"{scenario.name}: {found.scale_downs} scale-downs, {len(found.lost)} lost", file=sys.stderr, flush=True)
    lost, sent = len(found.lost), f"of {found.finished + len(found.lost)}"
    yield Row(f"{scenario.name}: scale-downs", found.scale_downs, "count")
    yield Row(f"{scenario.name}: replicas removed", found.removed, "count")
    if scenario.plain:
        yield Row(f"{scenario.name}: lost requests", lost, sent)
        return
    yield Row(f"{scenario.name}: readmitted", found.readmitted, "count")
    yield Row(f"{scenario.name}: lost requests", lost, sent, "0", met=lost == 0)
    yield Row(f"{scenario.name}: refused requests", found.refused, "count", "0", met=found.refused == 0)


def _serve_groups(plane: ControlPlane) -> None:
    plane.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", groups.CRD)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        with contextlib.suppress(ApiError):
            plane.request("GET", groups.LWS.at("default").path)
            return
        time.sleep(0.2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale-downs", type=int, default=200)
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    try:
        found = list(rows(chosen.seed, chosen.scale_downs))
    except MissingServersError as absent:
        print(f"skipped: {absent}", file=sys.stderr)
        return 0
    print(told(found))
    print(write("lossless", found))
    return 0 if all(row.met is not False for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
