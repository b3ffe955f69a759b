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
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from autoscaler.act.lease import Terms
from autoscaler.cli import actuation
from autoscaler.domain.fleet import Workload
from autoscaler.domain.membership import withdrawn
from autoscaler.domain.observation import Latency, ModelObservation, ProfileLoad
from autoscaler.domain.policy import ScaleDown, Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.record import Outcome
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.kube import PODS, KubeError, KubeSession, Login
from autoscaler.observe.kube import KubeFleet
from autoscaler.observe.picker import Pickers, Reached
from autoscaler.observe.watch import Freshness
from autoscaler.plan import drain
from autoscaler.ports import Actuator
from autoscaler.settings import Acting
from autoscaler.simulate.environment import Environment
from tests.emulator.engines import Traffic
from tests.emulator.ext_proc import PickerClient, serving
from tests.emulator.over_http import HttpTraffic
from tests.emulator.picker import NoEndpointsError, Picker, Pool
from tests.emulator.world import SAMPLES, Sample, engine_load, sample
from tests.servers.exposition import Exposition
from tests.servers.groups import LWS
from tests.servers.kubelet import STARTUP_SECONDS
from tests.servers.process import free_port

PROMPT = "once upon a time " * 40
SPEED = 10.0  # seconds of the engines' time in one
TICK_S = 0.4
SCRAPE_S = 0.3
DRAIN_TIMEOUT_S = 600.0  # of the engines' time: a minute
TERMS = Terms(duration=Seconds(1.0), margin=Seconds(0.4), retry=Seconds(0.1))
ROLES = (Role.PREFILL, Role.DECODE)
QUICK = Freshness(period=Seconds(5.0), stale_after=Seconds(15.0), resync=Seconds(600.0), recovery=Seconds(0.0))
RECOVERY_S = 20.0  # of real time: a real controller's watches come back so late after an outage of a few seconds


def policy(namespace: str, kind: str, drain_timeout_s: float = DRAIN_TIMEOUT_S) -> SLOPolicy:
    """Return the policy of the two pools, of workloads of a kind of apps/v1 or of LeaderWorkerSets."""
    version = LWS.api_version if kind == LWS.kind else "apps/v1"
    variants = tuple(
        Variant(role.value, role, ScaleTarget(namespace, version, kind, role.value), "H200", 1, 1.0, 1, 6)
        for role in ROLES
    )
    return SLOPolicy(
        name="model",
        namespace=namespace,
        model="m",
        profiles=(),
        variants=variants,
        scale_down=ScaleDown(Seconds(drain_timeout_s), 2),
        scheduler=Scheduler(SchedulerKind.POD_SELECTOR, "pool=p"),
    )


def now() -> Instant:
    """Return the engines' time, the same in every process."""
    return Instant(time.time() * SPEED)


def workload(role: str, replicas: int, startup_s: float = 0.0, kind: str = "Deployment") -> dict[str, Any]:
    """Return a workload whose pods the pickers select; ``startup_s``: until they are Ready."""
    labels = {"pool": "p", "llm-d.ai/role": role}
    spec = {"containers": [{"name": "engine", "image": "engine"}], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": labels, "annotations": {STARTUP_SECONDS: str(startup_s)}}, "spec": spec}
    pods = {"selector": {"matchLabels": labels}, "template": template}
    if kind == LWS.kind:
        leaders = {**pods, "serviceName": role, "podManagementPolicy": "Parallel"}
        return {
            "apiVersion": LWS.api_version,
            "kind": kind,
            "metadata": {"name": role},
            "spec": {"replicas": replicas, "leaders": leaders},
        }
    return {"metadata": {"name": role}, "spec": {"replicas": replicas, **pods}}


@dataclass(frozen=True)
class Outside:
    """A picker that is not ours."""

    page: str  # its metrics
    address: str  # where it is asked
    port: int  # of the pods that it picks among


class InMemory(Traffic):
    """Engines without sockets, as a live cluster starts them."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve until left: there is nothing to open."""
        yield

    port = 8000

    def begin(self, pod: str, role: Role, host: str) -> None:  # noqa: ARG002 - needed where pods are servers
        """Begin to serve."""
        self.start(pod)

    async def sampled(self) -> dict[str, Sample]:
        """Return what a scrape of each pod shows."""
        return {pod: sample(self.env.now, engine) for pod, engine in self.engines.items()}


class Cluster:
    """Pickers and engines beside a real API server; a controller finds targets and samples in the file ``state``."""

    def __init__(
        self,
        session: KubeSession,
        namespace: str,
        state: Path,
        seed: int,
        *,
        pickers: int = 2,
        over_http: bool = False,
        asked: bool | Outside = False,
    ) -> None:
        """Prepare; use ``running``.

        Args:
            session: of an administrator.
            namespace: where the pods are.
            state: the file for controllers.
            seed: of all chance.
            pickers: how many replicas the picker has.
            over_http: every pod is a server of its own.
            asked: the emulated pickers are asked in their own protocol; or a picker that is asked and read in
                their place.
        """
        self._session = session
        self.namespace = namespace
        self._place = PODS.at(namespace)
        self.state = state
        self.refused = 0
        self._chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
        self._env = Environment(now())
        self._outside = asked if isinstance(asked, Outside) else None
        self._over_grpc = asked is True
        self.traffic: InMemory | HttpTraffic = InMemory(self._env, self._chance)
        if over_http:
            port = self._outside.port if self._outside is not None else free_port()
            self.traffic = HttpTraffic(self._env, self._chance, SPEED, port)
        self.pickers = [Picker(Pool({"pool": "p"}), name=f"p{n}") for n in range(pickers)]
        self.pages = [Exposition(picker.page()) for picker in self.pickers]
        self._gates: list[PickerClient] = []
        self._asking = set[asyncio.Task[None]]()
        self._hosts: dict[str, str] = {}  # by pod
        self._ended = set[str]()  # by uid
        self.targets = {role.value: 2 for role in ROLES}
        self.requests_per_second = 3.0  # of the engines' time
        self.flowing = False  # whether requests come: not before the first pods serve
        self.blind_until = [0.0] * pickers  # by time.monotonic
        self.recovered_at = (
            0.0  # by time.monotonic: when the API server's own controllers see all again, after an outage
        )
        self.clocks = [0.0, 0.0]  # by how much those of the controllers are wrong, of the engines' time
        self.wrong: list[str] = []  # removals of pods that were not withdrawn and empty
        self._samples: dict[str, deque[Sample]] = {}

    @property
    def urls(self) -> tuple[str, ...]:
        """Return the pickers' metrics pages."""
        if self._outside is not None:
            return (self._outside.page,)
        return tuple(f"http://{page.address}/metrics" for page in self.pages)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Cluster"]:
        """Serve until left."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.traffic.running())
            for page in self.pages:
                stack.enter_context(page)
            for gate in await self._addresses(stack):
                self._gates.append(await stack.enter_async_context(PickerClient(gate)))
            tasks = [asyncio.create_task(self._watch(n)) for n in range(len(self.pickers))]
            tasks += [asyncio.create_task(self._engines()), asyncio.create_task(self._serve())]
            try:
                yield self
            finally:
                tasks += self._asking
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _addresses(self, stack: contextlib.AsyncExitStack) -> list[str]:
        """Return where pickers are asked over gRPC; nowhere: they are asked directly."""
        if self._outside is not None:
            return [self._outside.address]
        if not self._over_grpc:
            return []
        return [await stack.enter_async_context(serving(p, self._address, self._chance)) for p in self.pickers]

    async def _watch(self, number: int) -> None:
        """Feed one picker from the API, as an informer does."""
        picker, page = self.pickers[number], self.pages[number]
        while True:
            await self._sight(number)
            with contextlib.suppress(KubeError):
                found = await self._session.page(self._place, limit=500)
                for pod in found["items"]:
                    self._serve_by(pod)
                picker.relist(found["items"])
                page.text = picker.page()
                async with self._session.watch(
                    self._place, found["metadata"]["resourceVersion"], Seconds(5.0)
                ) as events:
                    async for event in events:
                        await self._sight(number)
                        self._told(picker, event)
                        page.text = picker.page()
            await asyncio.sleep(0.1)

    def blind(self, number: int) -> bool:
        """Tell whether a picker's watch tells it nothing now."""
        return time.monotonic() < self.blind_until[number]

    async def _sight(self, number: int) -> None:
        while self.blind(number):  # noqa: ASYNC110 - tests move the moment at which it ends
            await asyncio.sleep(0.02)

    def _told(self, picker: Picker, event: Mapping[str, Any]) -> None:
        if event["type"] == "DELETED":
            picker.forget(event["object"]["metadata"]["name"])
        elif event["type"] in {"ADDED", "MODIFIED"}:
            self._serve_by(event["object"])  # before anybody knows of it
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
                        if event["type"] != "BOOKMARK":
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
            self._judge(pod)
            self._end(name)
            self._ended.add(pod["metadata"]["uid"])
            return
        self._serve_by(pod)

    def _serve_by(self, pod: Mapping[str, Any]) -> None:
        """Start the engine of a Ready pod; of what is told late, nothing is raised from the dead."""
        name, metadata = pod["metadata"].get("name"), pod["metadata"]
        if metadata.get("deletionTimestamp") or metadata.get("uid") in self._ended:
            return
        conditions = (pod.get("status") or {}).get("conditions") or ()
        ready = any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
        if ready and name not in self.traffic.engines:
            self._hosts[name] = pod["status"]["podIP"]
            role = Role(pod["metadata"]["labels"]["llm-d.ai/role"])
            self.traffic.begin(name, role, pod["status"]["podIP"])
            self._samples[name] = deque(maxlen=SAMPLES)

    def _judge(self, pod: Mapping[str, Any]) -> None:
        """Note a pod that is removed though it serves or holds requests."""
        engine = self.traffic.engines.get(pod["metadata"].get("name"))
        notes = pod["metadata"].get("annotations") or {}
        if engine is not None and (engine.parts or not withdrawn(notes)):
            self.wrong.append(f"{pod['metadata']['name']} removed with {len(engine.parts)} requests and {notes}")

    def _end(self, name: str) -> None:
        """Abort all at the pod, as vLLM does on SIGTERM."""
        self.traffic.end(name)
        self._samples.pop(name, None)

    async def _serve(self) -> None:
        """Let time pass for engines, send requests, take samples."""
        arrives, scraped = float(now()), 0.0
        while True:
            self._env.run(now())
            arrives = arrives if self.flowing else float(now())
            while self.flowing and arrives <= now():
                arrives += self._chance.expovariate(self.requests_per_second)
                self._request()
            if time.monotonic() - scraped > SCRAPE_S:
                scraped = time.monotonic()
                for pod, shown in (await self.traffic.sampled()).items():
                    if pod in self._samples:  # it may have ended meanwhile
                        self._samples[pod].append(shown)
                self.write()
            await asyncio.sleep(0.02)

    def _request(self) -> None:
        """Send one request where a picker says."""
        if self._gates:
            task = asyncio.create_task(self._asked())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            return
        try:
            self.traffic.send(*self._chance.choice(self.pickers).pick(self._chance))
        except NoEndpointsError:
            self.refused += 1

    async def _asked(self) -> None:
        try:
            prefill, decode = await self._chance.choice(self._gates).pick("m", PROMPT)
        except NoEndpointsError:
            self.refused += 1
            return
        names = {self._address(name): name for name in self._hosts}  # of pods that have an address of old, the newest
        self.traffic.send(names[prefill] if prefill else None, names[decode])

    def _address(self, pod: str) -> str:
        return f"{self._hosts[pod]}:{self.traffic.port}"

    def write(self) -> None:
        """Tell the controllers what is wanted, and what the engines report."""
        recent = sorted(took for at, took in self.traffic.ttfts if at > now() - 60.0)
        state = {
            "targets": self.targets,
            "clocks": self.clocks,
            "disturbed": time.monotonic() < self.recovered_at,
            "samples": {pod: list(samples) for pod, samples in self._samples.items() if samples},
            "ttft": recent[int(0.99 * (len(recent) - 1))] if recent else None,
        }
        fresh = self.state.with_suffix(".new")
        fresh.write_text(json.dumps(state), encoding="utf-8")
        fresh.replace(self.state)


class Controller:
    """Decides from the cluster and the state file; remembers nothing.

    The state file tells it of an outage: the product lets a minute pass after each start of its own instead, and the
    controllers of a storm do not live so long.
    """

    def __init__(
        self, fleet: KubeFleet, pickers: Pickers, actuator: Actuator, chosen: SLOPolicy, state: Path, clock: int
    ) -> None:
        """Join the real parts; ``clock``: whose in the state file."""
        self._policy = chosen
        self._fleet = fleet
        self._state = state
        self._pickers = pickers
        self._actuator = actuator
        self._clock = clock

    async def tick(self) -> Outcome:
        """Go once through the loop."""
        scene = await self.scene()
        return await self._actuator.apply(drain.steps(scene).actions)

    async def scene(self) -> drain.Scene:
        """Return what is known now."""
        state = json.loads(self._state.read_text(encoding="utf-8"))
        wrong = state["clocks"][self._clock]
        at = Instant(now() + wrong)
        view = (await self._fleet.fleets(at))[self._policy.key]
        membership = (await self._pickers.memberships(at))[self._policy.key]
        absent = Missing(GapReason.ABSENT, at)
        none = Missing(GapReason.NOT_A_NUMBER, at)
        ttft = Latency(0.0, 0.0, 0.0, state["ttft"], 1.0, 1.0) if state["ttft"] is not None else none
        load = ProfileLoad("all", absent, absent, absent, absent, absent, absent, ttft, absent, absent)
        engines = {pod: engine_load(pod, [tuple(each) for each in found]) for pod, found in state["samples"].items()}
        fleet = {
            name: replace(found, disturbed=state["disturbed"]) if isinstance(found, Workload) else found
            for name, found in view.workloads.items()
        }
        observed = ModelObservation(self._policy.key, {"all": load}, fleet, engines, 0.0, membership=membership)
        return drain.Scene(Instant(now() + wrong), self._policy, observed, MappingProxyType(state["targets"]))


@contextlib.asynccontextmanager
async def controller(  # noqa: PLR0913 - what a controller is started with
    kubeconfig: Path,
    namespace: str,
    state: Path,
    urls: Sequence[str],
    kind: str = "Deployment",
    *,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    recovery_s: float = 0.0,
    rival: int | None = None,
) -> AsyncIterator[Controller]:
    """Start a controller that has seen the cluster.

    ``recovery_s``: how long it removes nothing after its start or an outage; ``rival``: its number, where two compete
    for a Lease.
    """
    chosen, login, jitter = policy(namespace, kind, drain_timeout_s), Login(kubeconfig=str(kubeconfig)), lambda: 0.5
    acting = Acting(tuple(urls), lease=None if rival is None else (namespace, "controller"))
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(await KubeSession.open(jitter=jitter, login=login))
        fleet = KubeFleet(session, (chosen,), replace(QUICK, recovery=Seconds(recovery_s)))
        await fleet.start()
        stack.push_async_callback(fleet.close)
        wall = lambda: Instant(time.time())  # noqa: E731  # what people read in the Lease
        follow, actuator, _ = await actuation.begin(stack, login, acting, jitter, wall, TERMS)
        follow((chosen,))
        await fleet.wait_synced(Seconds(60.0))
        pickers = Pickers((chosen,), session, fleet.pods_in, Reached(acting.pickers))
        yield Controller(fleet, pickers, actuator, chosen, state, rival or 0)


async def forever(
    kubeconfig: Path,
    namespace: str,
    state: Path,
    urls: Sequence[str],
    *,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    rival: int | None = None,
) -> None:
    """Tick until killed; what cannot be observed is looked at again."""
    async with controller(kubeconfig, namespace, state, urls, drain_timeout_s=drain_timeout_s, rival=rival) as running:
        while True:
            with contextlib.suppress(ObservationError):
                await running.tick()
            await asyncio.sleep(TICK_S)


def endlessly(
    kubeconfig: Path, namespace: str, state: Path, urls: Sequence[str], drain_timeout_s: float, rival: int
) -> None:
    """Be a process that competes for a Lease, until killed."""
    asyncio.run(forever(kubeconfig, namespace, state, urls, drain_timeout_s=drain_timeout_s, rival=rival))


if __name__ == "__main__":
    asyncio.run(forever(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
