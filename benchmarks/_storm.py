"""Chaos on real servers: controller processes that are killed by SIGKILL while they drain and grow two real pools.

etcd, API server and controller manager are real, and so are the controllers' processes, sessions, watches, Lease and
writes; pickers and engines are emulated, in time that runs ten times as fast (``tests/emulator/live.py``). Two
controllers compete. Their way to the API server leads through a proxy that refuses calls, loses answers, delays writes
and cuts watches; the API server is killed and started again, after which each picker is blind for up to 45 s of the
engines' time; the controllers' clocks step by up to 90 s of it.
"""

import asyncio
import contextlib
import multiprocessing
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.domain.membership import DRAIN_STARTED
from autoscaler.domain.units import Seconds
from autoscaler.kube import PODS, KubeError, KubeSession, Login, Resource
from tests.emulator import live
from tests.servers.control_plane import ControlPlane
from tests.servers.faulty_api import FaultyApi, Trouble
from tests.servers.guard import guard
from tests.servers.kubelet import kubelet_in_thread

NAMESPACE = "default"
START = 3
STARTUP_S = 1.0
DRAIN_TIMEOUT_S = 200.0  # of the engines' time
BOUNDS = (1, 6)  # of a policy of ``live``
OUTAGE_EVERY_S = 40.0
PATIENCE_S = 15.0  # beyond a deadline, of real time: an outage, a Lease that runs out, a clock that was wrong
CALM_S = 120.0

DEPLOYMENTS = Resource("apps/v1", "Deployment", "deployments")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.emulator.live"])  # a new controller lives within 0.1 s, not 3 s


@dataclass
class Found:
    """What a storm shows."""

    kills: int = 0  # while a pod was drained, or a count was not what it should be, or a pod started
    scale_ups: int = 0
    scale_downs: int = 0
    outages: int = 0
    faults: int = 0
    finished: int = 0
    refused: int = 0
    crashed: int = 0  # controllers that ended by themselves
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    dark: set[str] = field(default_factory=set)
    out_of_bounds: list[str] = field(default_factory=list)
    longest_dark_s: float = 0.0
    unsettled: str = ""  # what was not as wanted when the storm was over


def storm(folder: Path, seed: int, kills: int, longest_s: float) -> Found:
    """Kill so many times, or for so long; then let the controllers bring everything to rest.

    Raises:
        MissingServersError: a server's binary is absent.
    """
    with ControlPlane(folder) as plane, kubelet_in_thread(plane.kubeconfig()):
        for role in live.ROLES:
            path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
            plane.request("POST", path, live.workload(role.value, START, STARTUP_S))
        return asyncio.run(_storm(plane, folder, random.Random(seed), kills, longest_s))  # noqa: S311 - can be repeated


async def _storm(plane: ControlPlane, folder: Path, chance: random.Random, kills: int, longest_s: float) -> Found:
    login, state = Login(kubeconfig=str(plane.kubeconfig())), folder / "state.json"
    proxy = FaultyApi(plane.kubeconfig(), folder / "proxied.kubeconfig", chance)
    async with await KubeSession.open(jitter=chance.random, login=login) as session, proxy.running():
        world = live.Cluster(session, NAMESPACE, state, seed=chance.randrange(2**32))
        world.targets = {role.value: START for role in live.ROLES}
        async with world.running():
            await _until(lambda: state.exists() and all(len(p.members) == 2 * START for p in world.pickers))
            world.flowing = True
            weather = _Weather(plane, session, proxy, world, chance)
            async with weather.watched():
                await weather.rage(kills, longest_s)
                await weather.calm()
        weather.found.finished = world.traffic.finished
        weather.found.refused = world.refused
        weather.found.lost = [f"{it.number} by {it.lost_by}" for it in world.traffic.lost]
        weather.found.wrong = world.wrong
        weather.found.faults = proxy.met
        return weather.found


class _Rival:
    """One of the controllers: a process, again and again."""

    def __init__(self, number: int, arguments: tuple[Any, ...]) -> None:
        self._number = number
        self._arguments = arguments
        self._process: multiprocessing.process.BaseProcess | None = None

    async def start(self) -> None:
        process = FORKS.Process(target=live.endlessly, args=(*self._arguments, self._number), daemon=True)
        await asyncio.to_thread(process.start)
        self._process = process
        if process.pid is not None:
            guard().watch(process.pid)

    async def kill(self) -> bool:
        """End by SIGKILL; tell whether it had ended by itself."""
        process, self._process = self._process, None
        if process is None or process.pid is None:
            return False
        ended = process.exitcode is not None
        process.kill()
        await asyncio.to_thread(process.join)
        guard().release(process.pid)
        process.close()
        return ended


class _Weather:
    """What goes wrong, and what must hold meanwhile."""

    def __init__(
        self, plane: ControlPlane, session: KubeSession, proxy: FaultyApi, world: live.Cluster, chance: random.Random
    ) -> None:
        self.found = Found()
        self._plane = plane
        self._session = session
        self._proxy = proxy
        self._world = world
        self._chance = chance
        arguments = (proxy.kubeconfig, NAMESPACE, world.state, world.urls, DRAIN_TIMEOUT_S)
        self._rivals = [_Rival(number, arguments) for number in range(2)]
        self._counts: dict[str, int] = {}
        self._pods: list[Mapping[str, Any]] = []
        self._dark_since: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Audit while open; controllers run from here on, and none afterwards."""
        audits = [asyncio.create_task(self._audit_counts()), asyncio.create_task(self._audit_pods())]
        try:
            for rival in self._rivals:
                await rival.start()
            yield
        finally:
            for rival in self._rivals:
                self.found.crashed += await rival.kill()
            for task in audits:
                task.cancel()
            await asyncio.gather(*audits, return_exceptions=True)

    async def rage(self, kills: int, longest_s: float) -> None:
        """Kill controllers at random moments of drains and growth."""
        outages, begun = asyncio.create_task(self._outages()), time.monotonic()
        try:
            while self.found.kills < kills and time.monotonic() - begun < longest_s:
                await asyncio.sleep(self._chance.uniform(0.1, 2.0))
                if not self._busy() or self._chance.random() < 0.15:
                    self._world.targets = {role.value: self._chance.randint(1, 5) for role in live.ROLES}
                if self._chance.random() < 0.1:
                    step = self._chance.choice((0.0, self._chance.uniform(-90.0, 90.0)))
                    self._world.clocks[self._chance.randrange(2)] = step
                if self._busy():
                    await self._strike()
        finally:
            outages.cancel()
            await asyncio.gather(outages, return_exceptions=True)
            await asyncio.to_thread(self._plane.start_api_server)

    async def _strike(self) -> None:
        """Kill one controller, sometimes both; the next one begins at once or a little later."""
        self._chance.shuffle(self._rivals)
        hit = self._rivals[: 1 + (self._chance.random() < 0.1)]
        for rival in hit:
            self.found.crashed += await rival.kill()
            self.found.kills += 1
        await asyncio.sleep(self._chance.choice((0.0, 0.0, self._chance.uniform(0.0, 1.5))))
        for rival in hit:
            await rival.start()

    def _busy(self) -> bool:
        """Tell whether a controller has something to do, or to wait for."""
        unlike = any(self._counts.get(name) != wanted for name, wanted in self._world.targets.items())
        return unlike or any(_noted(pod) or not _ready(pod) for pod in self._pods)

    async def _outages(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * OUTAGE_EVERY_S)
            await asyncio.to_thread(self._plane.kill_api_server)
            self.found.outages += 1
            await asyncio.sleep(self._chance.uniform(0.0, 2.0))
            self._world.recovered_at = float("inf")
            await asyncio.shield(asyncio.to_thread(self._plane.start_api_server))
            self._world.recovered_at = time.monotonic() + live.RECOVERY_S
            for number in range(len(self._world.pickers)):
                self._world.blind_until[number] = time.monotonic() + self._chance.uniform(0.0, 45.0) / live.SPEED

    async def calm(self) -> None:
        """Let everything come to rest: counts as wanted, nothing of ours on any pod."""
        self._proxy.trouble = Trouble(0.0, 0.0, 0.0, 0.0, 0.0)
        self._world.clocks = [0.0, 0.0]
        self._world.targets = {role.value: 2 for role in live.ROLES}
        with contextlib.suppress(TimeoutError):
            await _until(lambda: not self._busy())
        if self._busy():
            noted = [pod["metadata"]["name"] for pod in self._pods if _noted(pod)]
            self.found.unsettled = f"counts {self._counts}, wanted {self._world.targets}, withdrawn {noted}"

    async def _audit_counts(self) -> None:
        """See every count that was ever asked for."""
        place = DEPLOYMENTS.at(NAMESPACE)
        while True:
            with contextlib.suppress(KubeError):
                listed = await self._session.page(place, limit=100)
                for item in listed["items"]:
                    self._counted(item)
                version = listed["metadata"]["resourceVersion"]
                async with self._session.watch(place, version, Seconds(5.0)) as events:
                    async for event in events:
                        if event["type"] != "BOOKMARK":
                            self._counted(event["object"])
            await asyncio.sleep(0.1)

    def _counted(self, deployment: Mapping[str, Any]) -> None:
        name, count = deployment["metadata"]["name"], deployment["spec"].get("replicas", 0)
        before = self._counts.get(name, count)
        self.found.scale_downs += count < before
        self.found.scale_ups += count > before
        if not BOUNDS[0] <= count <= BOUNDS[1]:
            self.found.out_of_bounds.append(f"{name}: {count}")
        self._counts[name] = count

    async def _audit_pods(self) -> None:
        """Note pods that are withdrawn for longer than a drain may last."""
        while True:
            with contextlib.suppress(KubeError):
                listed = await self._session.page(PODS.at(NAMESPACE), limit=500)
                self._pods = [pod for pod in listed["items"] if not pod["metadata"].get("deletionTimestamp")]
                noted = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in self._pods if _noted(pod)}
                now = time.monotonic()
                self._dark_since = {uid: self._dark_since.get(uid, now) for uid in noted}
                for uid, since in self._dark_since.items():
                    self.found.longest_dark_s = max(self.found.longest_dark_s, now - since)
                    if now - since > DRAIN_TIMEOUT_S / live.SPEED + PATIENCE_S:
                        self.found.dark.add(noted[uid])
            await asyncio.sleep(0.2)


def _noted(pod: Mapping[str, Any]) -> bool:
    return DRAIN_STARTED in (pod["metadata"].get("annotations") or {})


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(CALM_S):
        while not holds():  # noqa: ASYNC110 - what changes is outside of this process
            await asyncio.sleep(0.1)
