"""The emulated cluster with everything in it, in virtual time: API, workload controllers, kubelet, pickers, engines.

The controller under test is real but for its sensors and its session: pods are read by ``observe.pods``, pickers' pages
by ``observe.picker``, steps come from ``plan.drain``, writes go through ``act.kube`` and ``publish.kube``.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from autoscaler.act.kube import KubeActuator
from autoscaler.cli.actuation import Actuation, OnlyLeader
from autoscaler.domain.fleet import Workload
from autoscaler.domain.membership import DELETION_COST, DRAIN_STARTED, Membership, withdrawn
from autoscaler.domain.observation import EngineLoad, Latency, ModelObservation, ProfileLoad
from autoscaler.domain.plan import Readmit, Scale, VariantRef
from autoscaler.domain.policy import ScaleDown, Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.record import Outcome, Result
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.kube import Json, KubeSession
from autoscaler.observe import picker as reading
from autoscaler.observe import pods as pod_reading
from autoscaler.plan import drain
from autoscaler.publish.kube import KubeMembership
from autoscaler.simulate.environment import LATE, Environment
from tests.emulator.api import Api, ApiSession, Faults
from tests.emulator.engines import Engine, Traffic
from tests.emulator.picker import NoEndpointsError, Picker, Pool

EPOCH = 1_800_000_000.0
WATCH_DELAY_S = 0.02
SCRAPE_S = 5.0
SAMPLES = 4
STALE_S = 60.0
LEASE_S = 15.0
NODES = 4
MODEL = "llm/model"

Rule = Callable[[list[Json]], list[Json]]
Sample = tuple[float, float, float, float, float]  # time, running, waiting, deferred, KV use


@dataclass(frozen=True)
class Rules:
    """What may go wrong, and how often."""

    period: float = 15.0
    drain_timeout: float = 300.0
    requests_per_second: float = 4.0
    longest_pull: float = 2.0  # of a prompt's KV
    startup: tuple[float, float] = (20.0, 60.0)
    pickers: int = 2
    statefulsets: bool = False  # LeaderWorkerSets too: their leaders are a StatefulSet's pods
    controllers: int = 1
    kill_share: float = 0.0  # of ticks in which the controller dies at a random point
    api_faults: float = 0.0  # share of calls that fail
    blindness: float = 0.0  # share of ticks at which a picker's watch goes blind for up to 45 s
    silence: float = 0.0  # share of ticks at which a picker does not answer
    outages: float = 0.0  # share of ticks at which the API server goes away for up to 40 s
    clock_steps: float = 0.0  # share of ticks at which the controller's clock jumps by up to 90 s
    flaps: float = 0.0  # share of ticks at which some pod is unready for some seconds
    plain: bool = False  # scale down at once, as without membership
    leases: bool = True


@dataclass
class Counts:
    """What a run shows."""

    kills: int = 0
    ticks: int = 0
    lowered: int = 0  # replicas removed
    scale_downs: int = 0
    raised: int = 0
    readmitted: int = 0
    wrong: list[str] = field(default_factory=list)  # removals of pods that were not withdrawn and empty
    out_of_bounds: list[str] = field(default_factory=list)
    dark: list[str] = field(default_factory=list)  # pods withdrawn for longer than their time limit allows
    unconfirmed: list[str] = field(default_factory=list)  # counts lowered while a picker listed a withdrawn pod


class Watch:
    """Tells of changes in order, a little late; while blind, only afterwards."""

    def __init__(self, env: Environment, tell: Callable[[str, Json | None], None]) -> None:
        """Tell somebody."""
        self._env, self._tell, self._last = env, tell, 0.0
        self.blind_until = 0.0

    def __call__(self, name: str, pod: Json | None) -> None:
        """Take in a change."""
        self._last = max(self._last, self._env.now + WATCH_DELAY_S, self.blind_until)
        self._env.at(self._last, lambda _: self._tell(name, pod))


class Process:
    """One controller: it forgets everything when it dies."""

    def __init__(self, name: str) -> None:
        """Start dead."""
        self.name = name
        self.back_at = 0.0
        self.actuator: OnlyLeader | None = None


class World:
    """The cluster and its controllers."""

    def __init__(self, seed: int, rules: Rules | None = None, *, start: int = 3) -> None:
        """Build a prefill and a decode pool of ``start`` ready replicas each."""
        self.rules = rules or Rules()
        self.chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
        self.env = Environment()
        self.api = Api()
        self.traffic = Traffic(self.env, self.chance, self.rules.longest_pull)
        self.counts = Counts()
        self.policy = self._policy()
        self.targets = {variant.name: start for variant in self.policy.variants}
        self.offset = 0.0  # of the controller's clock
        self.faults = Faults(self.chance, self.rules.api_faults)
        self.samples: dict[str, deque[Sample]] = {}
        self.requested_seen: dict[str, int] = {}
        self.pickers = [Picker(Pool({"pool": "p"}), name=f"p{n}") for n in range(self.rules.pickers)]
        self.watches = [Watch(self.env, self._told(picker)) for picker in self.pickers]
        self.copy: dict[str, Json] = {}
        self.copy_at = 0.0  # when the controllers' copy of the pods was last fresh
        self.api.watchers += [*self.watches, Watch(self.env, self._copied)]
        self.silent_until = self.down_until = 0.0
        self.idle_until = 0.0  # until then the workloads' controllers have not seen what changed
        self._acted_on: dict[str, Json] = {}  # the scale that a workload's controller has seen last
        self.processes = [Process(f"controller-{n}") for n in range(self.rules.controllers)]
        self.lease = ("", -LEASE_S)  # holder, renewed at
        self.dies_next: int | None = None  # at which checkpoint of its next tick a controller dies
        self._last: dict[str, int] = {}  # replicas at the last audit
        self._dark_since: dict[str, float] = {}
        self._serial = itertools.count()
        self._runner = asyncio.Runner()
        self._begin(start)

    def _policy(self) -> SLOPolicy:
        kind = "StatefulSet" if self.rules.statefulsets else "Deployment"
        variants = tuple(
            Variant(role.value, role, ScaleTarget("llm", "apps/v1", kind, role.value), "H200", 1, 1.0, 1, 8)
            for role in (Role.PREFILL, Role.DECODE)
        )
        return SLOPolicy(
            name="model",
            namespace="llm",
            model="m",
            profiles=(),
            variants=variants,
            scale_down=ScaleDown(Seconds(self.rules.drain_timeout), 2),
            scheduler=Scheduler(SchedulerKind.INFERENCE_POOL, "p"),
        )

    def _begin(self, start: int) -> None:
        for variant in self.policy.variants:
            self.api.rescale(variant.name, start)
            for _ in range(start):
                self._ready(self._created(variant.name))
        self.env.run(1.0)
        self.env.at(1.0, self._arrive)
        self.env.at(1.0, self._scrape)
        self.env.at(1.0, self._control)
        for number, process in enumerate(self.processes):
            self.env.at(2.0 + 7.0 * number, self._tick, process, LATE)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.env.run(self.env.now + seconds)

    def withdrawn(self) -> list[str]:
        """Return the pods that are withdrawn and not being deleted."""
        present = ((name, pod["metadata"]) for name, pod in self.api.pods.items())
        return [name for name, it in present if DRAIN_STARTED in it["annotations"] and "deletionTimestamp" not in it]

    def close(self) -> None:
        """End the loop of the controllers."""
        self._runner.close()

    # Pods, their controllers and their kubelet ------------------------------------------------------------------------

    def _created(self, workload: str) -> str:
        if self.rules.statefulsets:
            taken = {int(name.rpartition("-")[2]) for name in self.api.pods if name.startswith(f"{workload}-")}
            name = f"{workload}-{next(n for n in itertools.count() if n not in taken)}"
        else:
            name = f"{workload}-{next(self._serial):05d}"
        owner = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet" if self.rules.statefulsets else "ReplicaSet",
            "name": workload,
            "uid": workload,
            "controller": True,
        }
        self.api.pods[name] = {
            "metadata": {
                "name": name,
                "uid": f"{name}-{next(self._serial)}",
                "creationTimestamp": self._text(self.env.now),
                "labels": {"pool": "p", "llm-d.ai/role": workload},
                "ownerReferences": [owner],
                "annotations": {},
            },
            "spec": {"nodeName": f"node-{self.chance.randrange(NODES)}"},
            "status": {"conditions": []},
        }
        self.api.touch(name)
        return name

    def _ready(self, name: str) -> None:
        self._condition(name, "True")
        self.traffic.start(name)
        self.samples[name] = deque(maxlen=SAMPLES)

    def _condition(self, name: str, status: str) -> None:
        condition = {"type": "Ready", "status": status, "lastTransitionTime": self._text(self.env.now)}
        self.api.pods[name]["status"]["conditions"] = [condition]
        self.api.touch(name)

    def _started(self, uid: tuple[str, str]) -> None:
        pod = self.api.pods.get(uid[0])
        if pod is not None and pod["metadata"]["uid"] == uid[1] and not pod["metadata"].get("deletionTimestamp"):
            self._ready(uid[0])

    def _control(self, _: object) -> None:
        """Create and delete as workload controllers do, if the API answers."""
        awake = not self.api.down and self.env.now >= self.idle_until
        for variant in self.policy.variants if awake else ():
            self._acted_on[variant.name] = self.api.scales[variant.name]
            active = [pod for pod in self._of(variant.name) if not pod["metadata"].get("deletionTimestamp")]
            missing = self.api.scales[variant.name]["spec"]["replicas"] - len(active)
            present = len(self._of(variant.name))
            for _ in range(missing if present == len(active) or not self.rules.statefulsets else 0):
                name = self._created(variant.name)
                uid = (name, self.api.pods[name]["metadata"]["uid"])
                self.env.at(self.env.now + self.chance.uniform(*self.rules.startup), self._started, uid)
            for pod in self._order(active)[: max(0, -missing)]:
                self._deleted(pod)
        self.env.at(self.env.now + self.chance.uniform(0.1, 0.5), self._control)

    def _order(self, active: list[Json]) -> list[Json]:
        """Return pods in the order in which their controller deletes them."""
        if self.rules.statefulsets:
            return sorted(active, key=lambda pod: -int(pod["metadata"]["name"].rpartition("-")[2]))
        crowd: dict[str, int] = {}
        for pod in active:
            crowd[pod["spec"]["nodeName"]] = crowd.get(pod["spec"]["nodeName"], 0) + 1

        def rank(pod: Json) -> tuple[bool, int, int, str]:
            cost = int(pod["metadata"]["annotations"].get(DELETION_COST, "0"))
            since = pod["status"]["conditions"][0]["lastTransitionTime"] if pod["status"]["conditions"] else ""
            return (_is_ready(pod), cost, -crowd[pod["spec"]["nodeName"]], _reversed(since))

        return sorted(active, key=rank)

    def _deleted(self, pod: Json) -> None:
        """Delete a pod; vLLM aborts at once what it has."""
        name, metadata = pod["metadata"]["name"], pod["metadata"]
        engine = self.traffic.engines.get(name)
        if engine is not None and engine.parts:
            self.counts.wrong.append(f"{self.env.now:.1f}: {name} deleted with {len(engine.parts)} requests")
        if _is_ready(pod) and not withdrawn(metadata["annotations"]):
            self.counts.wrong.append(f"{self.env.now:.1f}: {name} deleted while a member")
        metadata["deletionTimestamp"] = self._text(self.env.now)
        self.api.touch(name)
        self.traffic.end(name)
        self.samples.pop(name, None)
        self.env.at(self.env.now + 0.5, lambda _: self.api.drop(name))

    def _of(self, workload: str) -> list[Json]:
        return [
            pod for name, pod in sorted(self.api.pods.items()) if pod["metadata"]["labels"]["llm-d.ai/role"] == workload
        ]

    # Requests and metrics ---------------------------------------------------------------------------------------------

    def _arrive(self, _: object) -> None:
        try:
            self.traffic.send(*self.chance.choice(self.pickers).pick(self.chance))
        except NoEndpointsError:
            self.traffic.refused += 1
        self.env.at(self.env.now + self.chance.expovariate(self.rules.requests_per_second), self._arrive)

    def _scrape(self, _: object) -> None:
        for pod, engine in self.traffic.engines.items():
            self.samples[pod].append(sample(EPOCH + self.env.now, engine))
        self.env.at(self.env.now + SCRAPE_S, self._scrape)

    def _told(self, picker: Picker) -> Callable[[str, Json | None], None]:
        def tell(name: str, pod: Json | None) -> None:
            if pod is None:
                picker.forget(name)
            else:
                picker.see(pod, self.env.now)

        return tell

    def _copied(self, name: str, pod: Json | None) -> None:
        self.copy_at = self.env.now
        if pod is None:
            self.copy.pop(name, None)
        else:
            self.copy[name] = pod

    # The controllers --------------------------------------------------------------------------------------------------

    def _tick(self, process: Process) -> None:
        self._mischief()
        if self.env.now >= process.back_at:
            self._lead(process)
            self.counts.ticks += 1
            self._runner.run(self._act(process))
        self._audit()
        self.env.at(self.env.now + self.rules.period * self.chance.uniform(0.95, 1.05), self._tick, process, LATE)

    def _lead(self, process: Process) -> None:
        holder, renewed = self.lease
        if holder == process.name or self.env.now - renewed > LEASE_S or not self.rules.leases:
            self.lease = (process.name, self.env.now)

    async def _act(self, process: Process) -> None:
        """Observe, decide and act once; perhaps die at some checkpoint of it."""
        if process.actuator is None:
            session = cast("KubeSession", ApiSession(self.api, self.faults))
            inner = Actuation(scaling=KubeActuator(session, [self.policy]), membership=KubeMembership(session))
            process.actuator = OnlyLeader(inner, lambda: self._leads(process), lambda: self.lease[0])
        scene = self.scene()
        actions = drain.steps(scene).actions
        if self.rules.plain:
            actions = _plain(scene)
        dies = self.dies_next is not None or self.chance.random() < self.rules.kill_share
        self.faults.dead = asyncio.Event()
        self.faults.life = self.dies_next if dies else None
        if dies and self.faults.life is None:
            self.faults.life = self.chance.randrange(2 + 4 * len(actions))
        self.dies_next = None
        acting = asyncio.create_task(process.actuator.apply(actions))
        dying = asyncio.create_task(self.faults.dead.wait())
        await asyncio.wait({acting, dying}, return_when=asyncio.FIRST_COMPLETED)
        if acting.done() and not dies:
            self._count(acting.result())
        for task in (acting, dying):
            task.cancel()
        await asyncio.gather(acting, dying, return_exceptions=True)
        if dies:
            self.counts.kills += 1
            process.actuator = None
            process.back_at = self.env.now + self.chance.choice((0.0, 5.0, 20.0, 90.0))

    def _leads(self, process: Process) -> bool:
        return self.lease[0] == process.name or not self.rules.leases

    def _count(self, outcome: Outcome) -> None:
        self.counts.readmitted += sum(
            result.result is Result.DONE and isinstance(result.action, Readmit) for result in outcome.results
        )

    def now(self) -> Instant:
        """Return the time on the controller's clock."""
        return Instant(EPOCH + self.env.now + self.offset)

    def scene(self) -> drain.Scene:
        """Return what a controller sees now."""
        fleet: dict[str, Signal[Workload]] = {v.name: self._workload(v.name) for v in self.policy.variants}
        observed = ModelObservation(
            policy=MODEL,
            loads={"all": self._load()},
            fleet=fleet,
            engines={pod: engine_load(pod, samples) for pod, samples in self.samples.items() if samples},
            unmatched_share=0.0,
            membership=self._membership(),
        )
        return drain.Scene(self.now(), self.policy, observed, dict(self.targets))

    def _workload(self, name: str) -> Signal[Workload]:
        if self.api.down and self.env.now - self.copy_at > STALE_S:
            return Missing(GapReason.STALE, self.now(), "the API server does not answer")
        if not self.api.down:
            self.requested_seen[name] = self.api.scales[name]["spec"]["replicas"]
        found = [
            pod_reading.seen(pod).pod
            for pod in self.copy.values()
            if pod["metadata"]["labels"]["llm-d.ai/role"] == name
        ]
        requested = self.requested_seen.get(name, 0)
        pods = tuple(sorted(found, key=lambda pod: pod.name))
        return Workload(name, requested, pods, rolling_out=self._acted_on.get(name) is not self.api.scales[name])

    def _membership(self) -> Signal[Membership]:
        if self.env.now < self.silent_until:
            return Missing(GapReason.UNREACHABLE, self.now(), "a picker does not answer")
        return Membership({picker.name: reading.members(picker.page(self.env.now)) for picker in self.pickers})

    def _load(self) -> ProfileLoad:
        absent = Missing(GapReason.ABSENT, self.now())
        recent = sorted(took for at, took in self.traffic.ttfts if at > self.env.now - STALE_S)
        ttft: Signal[Latency] = Missing(GapReason.NOT_A_NUMBER, self.now())
        if recent:
            ttft = Latency(0.0, 0.0, 0.0, recent[int(0.99 * (len(recent) - 1))], 1.0, len(recent))
        return ProfileLoad("all", absent, absent, absent, absent, absent, absent, ttft, absent, absent)

    # What goes wrong, and what must hold ------------------------------------------------------------------------------

    def _mischief(self) -> None:
        rules, chance = self.rules, self.chance
        if chance.random() < rules.blindness:
            self.blind(chance.randrange(len(self.watches)), chance.uniform(2.0, 45.0))
        if chance.random() < rules.silence:
            self.silence(chance.uniform(1.0, 40.0))
        if chance.random() < rules.clock_steps:
            self.offset = chance.choice((0.0, chance.uniform(-90.0, 90.0)))
        if chance.random() < rules.flaps and self.traffic.engines:
            self.flap(chance.choice(sorted(self.traffic.engines)))
        if chance.random() < rules.outages:
            self.outage(chance.uniform(1.0, 40.0))

    def blind(self, picker: int, seconds: float) -> None:
        """Let a picker's watch tell nothing for a while."""
        self.watches[picker].blind_until = self.env.now + seconds

    def silence(self, seconds: float) -> None:
        """Let a picker not answer for a while."""
        self.silent_until = self.env.now + seconds

    def outage(self, seconds: float) -> None:
        """Let the API server go away for a while."""
        if not self.api.down:
            self.api.down = True
            self.env.at(self.env.now + seconds, self._api_back)

    def _api_back(self, _: object) -> None:
        """Let the API server answer again; the watches of pickers and controllers come back later, each in its time."""
        self.api.down = False
        self.idle_until = self.env.now + self.chance.uniform(0.0, 45.0)
        for watch in self.watches:
            watch.blind_until = self.env.now + self.chance.uniform(0.0, 45.0)

    def flap(self, name: str) -> None:
        """Let an idle pod be unready for some seconds (one with requests would lose them by no fault of ours)."""
        pod = self.api.pods.get(name)
        if pod is None or pod["metadata"].get("deletionTimestamp") or self.traffic.engines[name].parts:
            return
        role = pod["metadata"]["labels"]["llm-d.ai/role"]
        serving = {it["metadata"]["name"] for it in self._of(role) if _is_ready(it)}
        if any(len(serving & picker.members.keys()) < 2 for picker in self.pickers):
            return  # the last one of its role: nobody could serve then, whatever a controller does
        self._condition(name, "False")
        uid = pod["metadata"]["uid"]

        def back(_: object) -> None:
            again = self.api.pods.get(name)
            if again is not None and again["metadata"]["uid"] == uid and name in self.traffic.engines:
                self._condition(name, "True")

        self.env.at(self.env.now + self.chance.uniform(1.0, 30.0), back)

    def _audit(self) -> None:
        """Note what must never be."""
        counts = self.counts
        for variant in self.policy.variants:
            requested = self.api.scales[variant.name]["spec"]["replicas"]
            last = self._last.setdefault(variant.name, requested)
            if requested < last:
                counts.scale_downs += 1
                counts.lowered += last - requested
            counts.raised += requested > last
            self._last[variant.name] = requested
            if not variant.min_replicas <= requested <= variant.max_replicas:
                counts.out_of_bounds.append(f"{self.env.now:.1f}: {variant.name} {requested}")
        allowed = self.rules.drain_timeout + self.patience
        for name, pod in self.api.pods.items():
            if DRAIN_STARTED not in pod["metadata"]["annotations"] or pod["metadata"].get("deletionTimestamp"):
                self._dark_since.pop(name, None)
                continue
            since = self._dark_since.setdefault(name, self.env.now)
            if self.env.now - since > allowed:
                counts.dark.append(f"{self.env.now:.1f}: {name} dark for {self.env.now - since:.0f} s")

    @property
    def patience(self) -> float:
        """Return how long after a deadline a pod may stay dark: a dead controller's absence, an outage, clock steps."""
        trouble = 90.0 + 40.0 + 2 * 90.0 if self.rules.kill_share or self.rules.outages else 0.0
        return trouble + 6 * self.rules.period

    def _text(self, moment: float) -> str:
        return datetime.fromtimestamp(EPOCH + moment, UTC).isoformat(timespec="microseconds")


def _plain(scene: drain.Scene) -> tuple[Scale, ...]:
    """Return what an autoscaler without membership does."""
    return tuple(
        Scale(VariantRef(MODEL, name), scene.targets[name], workload.requested)
        for name, workload in scene.observed.fleet.items()
        if isinstance(workload, Workload) and workload.requested != scene.targets[name]
    )


def _is_ready(pod: Json) -> bool:
    return any(condition["status"] == "True" for condition in pod["status"]["conditions"])


def _reversed(text: str) -> str:
    """Return a text that sorts the other way round."""
    return "".join(chr(0x10FFFF - ord(letter)) for letter in text)


def sample(at: float, engine: Engine) -> Sample:
    """Return what one scrape of an engine shows."""
    return (
        at,
        engine.running,
        len(engine.waiting),
        len(engine.deferred),
        0.01 * len(engine.pinned | engine.computing),
    )


def engine_load(pod: str, samples: Sequence[Sample]) -> EngineLoad:
    """Return what Prometheus would say of a pod: means over the window, the peak of what waits."""
    newest = Instant(samples[-1][0])
    absent = Missing(GapReason.ABSENT, newest)

    def mean(at: int) -> float:
        return sum(sample[at] for sample in samples) / len(samples)

    return EngineLoad(
        pod=pod,
        running=mean(1),
        waiting=max(sample[2] for sample in samples),
        deferred=max(sample[3] for sample in samples),
        kv_use_ratio=mean(4),
        kv_capacity_tokens=absent,
        prompt_tokens_per_second=absent,
        computed_prompt_tokens_per_second=absent,
        output_tokens_per_second=absent,
        requests_per_second=absent,
        itl_mean_s=absent,
        prefill_mean_s=0.55,
        queue_mean_s=absent,
        ttft_mean_s=absent,
        preemptions_per_second=absent,
        newest_sample=newest,
    )
