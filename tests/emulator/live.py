"""The emulator on a real API server: pickers that watch it, engines in accelerated time, and a controller to kill.

Run as a module it is a controller in a process of its own, which can be ended by SIGKILL:

    python -m tests.emulator.live KUBECONFIG NAMESPACE STATE_FILE PICKER_URL...
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from autoscaler.act.kube import KubeActuator
from autoscaler.cli.actuation import Actuation
from autoscaler.domain.observation import Latency, ModelObservation, ProfileLoad
from autoscaler.domain.policy import ScaleDown, Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.record import Outcome
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.kube import PODS, KubeError, KubeSession, Login
from autoscaler.observe.kube import KubeFleet
from autoscaler.observe.picker import Pickers, Reached
from autoscaler.observe.watch import Freshness
from autoscaler.plan import drain
from autoscaler.publish.kube import KubeMembership
from autoscaler.simulate.environment import Environment
from tests.emulator.engines import Traffic
from tests.emulator.picker import NoEndpointsError, Picker, Pool
from tests.emulator.world import SAMPLES, Sample, engine_load, sample
from tests.servers.exposition import Exposition

SPEED = 10.0  # seconds of the engines' time in one
TICK_S = 0.4
SCRAPE_S = 0.3
DRAIN_TIMEOUT_S = 600.0  # a minute
ROLES = (Role.PREFILL, Role.DECODE)
QUICK = Freshness(period=Seconds(5.0), stale_after=Seconds(15.0), resync=Seconds(600.0))


def policy(namespace: str, kind: str) -> SLOPolicy:
    """Return the policy of the two pools, of workloads of a kind of apps/v1."""
    variants = tuple(
        Variant(role.value, role, ScaleTarget(namespace, "apps/v1", kind, role.value), "H200", 1, 1.0, 1, 6)
        for role in ROLES
    )
    return SLOPolicy(
        name="model",
        namespace=namespace,
        model="m",
        profiles=(),
        variants=variants,
        scale_down=ScaleDown(Seconds(DRAIN_TIMEOUT_S), 2),
        scheduler=Scheduler(SchedulerKind.POD_SELECTOR, "pool=p"),
    )


def now() -> Instant:
    """Return the engines' time, the same in every process."""
    return Instant(time.time() * SPEED)


def workload(role: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment (or StatefulSet) whose pods the pickers select."""
    labels = {"pool": "p", "llm-d.ai/role": role}
    spec = {"containers": [{"name": "engine", "image": "engine"}], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "metadata": {"name": role},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


class Cluster:
    """Pickers and engines beside a real API server; a controller finds targets and samples in the file ``state``."""

    def __init__(self, session: KubeSession, namespace: str, state: Path, seed: int, pickers: int = 2) -> None:
        """Prepare; use ``running``."""
        self._session = session
        self._place = PODS.at(namespace)
        self._state = state
        self._chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
        self._env = Environment(now())
        self.traffic = Traffic(self._env, self._chance)
        self.pickers = [Picker(Pool({"pool": "p"}), name=f"p{n}") for n in range(pickers)]
        self.pages = [Exposition(picker.page()) for picker in self.pickers]
        self.targets = {role.value: 2 for role in ROLES}
        self.requests_per_second = 3.0  # of the engines' time
        self.blind_until = [0.0] * pickers  # by time.monotonic
        self._samples: dict[str, deque[Sample]] = {}

    @property
    def urls(self) -> tuple[str, ...]:
        """Return the pickers' metrics pages."""
        return tuple(f"http://{page.address}/metrics" for page in self.pages)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Cluster"]:
        """Serve until left."""
        with contextlib.ExitStack() as stack:
            for page in self.pages:
                stack.enter_context(page)
            tasks = [asyncio.create_task(self._watch(n)) for n in range(len(self.pickers))]
            tasks += [asyncio.create_task(self._engines()), asyncio.create_task(self._serve())]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, number: int) -> None:
        """Feed one picker from the API, as an informer does."""
        picker, page = self.pickers[number], self.pages[number]
        while True:
            with contextlib.suppress(KubeError):
                found = await self._session.page(self._place, limit=500)
                picker.relist(found["items"])
                page.text = picker.page()
                async with self._session.watch(
                    self._place, found["metadata"]["resourceVersion"], Seconds(5.0)
                ) as events:
                    async for event in events:
                        await asyncio.sleep(max(0.0, self.blind_until[number] - time.monotonic()))
                        self._told(picker, event)
                        page.text = picker.page()
            await asyncio.sleep(0.1)

    def _told(self, picker: Picker, event: Mapping[str, Any]) -> None:
        if event["type"] == "DELETED":
            picker.forget(event["object"]["metadata"]["name"])
        elif event["type"] in {"ADDED", "MODIFIED"}:
            picker.see(event["object"])

    async def _engines(self) -> None:
        """Start and abort engines as their pods come and go."""
        while True:
            with contextlib.suppress(KubeError):
                found = await self._session.page(self._place, limit=500)
                self._adopt(found["items"])
                async with self._session.watch(
                    self._place, found["metadata"]["resourceVersion"], Seconds(5.0)
                ) as events:
                    async for event in events:
                        self._engine(event["object"], gone=event["type"] == "DELETED")
            await asyncio.sleep(0.1)

    def _adopt(self, pods: Sequence[Mapping[str, Any]]) -> None:
        for gone in self.traffic.engines.keys() - {pod["metadata"]["name"] for pod in pods}:
            self._end(gone)
        for pod in pods:
            self._engine(pod, gone=False)

    def _engine(self, pod: Mapping[str, Any], *, gone: bool) -> None:
        name = pod["metadata"].get("name")
        if gone or pod["metadata"].get("deletionTimestamp"):
            self._end(name)
            return
        conditions = (pod.get("status") or {}).get("conditions") or ()
        ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
        if ready and name not in self.traffic.engines:
            self.traffic.start(name)
            self._samples[name] = deque(maxlen=SAMPLES)

    def _end(self, name: str) -> None:
        """Abort all at the pod, as vLLM does on SIGTERM."""
        self.traffic.end(name)
        self._samples.pop(name, None)

    async def _serve(self) -> None:
        """Let time pass for engines, send requests, take samples."""
        arrives, scraped = float(now()), 0.0
        while True:
            self._env.run(now())
            while arrives <= now():
                arrives += self._chance.expovariate(self.requests_per_second)
                with contextlib.suppress(NoEndpointsError):
                    self.traffic.send(*self._chance.choice(self.pickers).pick(self._chance))
            if time.monotonic() - scraped > SCRAPE_S:
                scraped = time.monotonic()
                for pod, engine in self.traffic.engines.items():
                    self._samples[pod].append(sample(self._env.now, engine))
                self.write()
            await asyncio.sleep(0.02)

    def write(self) -> None:
        """Tell the controllers what is wanted, and what the engines report."""
        recent = sorted(took for at, took in self.traffic.ttfts if at > now() - 60.0)
        state = {
            "targets": self.targets,
            "samples": {pod: list(samples) for pod, samples in self._samples.items() if samples},
            "ttft": recent[int(0.99 * (len(recent) - 1))] if recent else None,
        }
        fresh = self._state.with_suffix(".new")
        fresh.write_text(json.dumps(state), encoding="utf-8")
        fresh.replace(self._state)


class Controller:
    """Decides from the cluster and the state file; remembers nothing."""

    def __init__(
        self, session: KubeSession, fleet: KubeFleet, chosen: SLOPolicy, state: Path, urls: Sequence[str]
    ) -> None:
        """Join the real parts."""
        self._policy = chosen
        self._fleet = fleet
        self._state = state
        self._pickers = Pickers((chosen,), session, fleet.pods_in, Reached(tuple(urls)))
        self._actuator = Actuation(scaling=KubeActuator(session, (chosen,)), membership=KubeMembership(session))

    async def tick(self) -> Outcome:
        """Go once through the loop."""
        scene = await self.scene()
        return await self._actuator.apply(drain.steps(scene).actions)

    async def scene(self) -> drain.Scene:
        """Return what is known now."""
        at, state = now(), json.loads(self._state.read_text(encoding="utf-8"))
        view = (await self._fleet.fleets(at))[self._policy.key]
        membership = (await self._pickers.memberships(at))[self._policy.key]
        absent = Missing(GapReason.ABSENT, at)
        none = Missing(GapReason.NOT_A_NUMBER, at)
        ttft = Latency(0.0, 0.0, 0.0, state["ttft"], 1.0, 1.0) if state["ttft"] is not None else none
        load = ProfileLoad("all", absent, absent, absent, absent, absent, absent, ttft, absent, absent)
        engines = {pod: engine_load(pod, [tuple(each) for each in found]) for pod, found in state["samples"].items()}
        observed = ModelObservation(
            self._policy.key, {"all": load}, view.workloads, engines, 0.0, membership=membership
        )
        return drain.Scene(now(), self._policy, observed, MappingProxyType(state["targets"]))


@contextlib.asynccontextmanager
async def controller(
    kubeconfig: Path, namespace: str, state: Path, urls: Sequence[str], kind: str = "Deployment"
) -> AsyncIterator[Controller]:
    """Start a controller that has seen the cluster."""
    chosen = policy(namespace, kind)
    async with await KubeSession.open(jitter=lambda: 0.5, login=Login(kubeconfig=str(kubeconfig))) as session:
        fleet = KubeFleet(session, (chosen,), QUICK)
        await fleet.start()
        try:
            await fleet.wait_synced(Seconds(60.0))
            yield Controller(session, fleet, chosen, state, urls)
        finally:
            await fleet.close()


async def forever(kubeconfig: Path, namespace: str, state: Path, urls: Sequence[str]) -> None:
    """Tick until killed."""
    async with controller(kubeconfig, namespace, state, urls) as running:
        while True:
            await running.tick()
            await asyncio.sleep(TICK_S)


if __name__ == "__main__":
    asyncio.run(forever(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
