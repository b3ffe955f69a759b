"""A cluster in virtual time: pods that start, serve, drain and die. It implements the ports: the loop runs unchanged.

``SimulatedCluster`` is Clock, Observer, Actuator and Publisher at once. ``run.py`` drives it; time passes only there
(or while the Controller sleeps).
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.membership import Drain, Membership
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Action, Announce, Readmit, Scale, Withdraw
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.record import ActionResult, Outcome, Result, TickRecord
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds, after
from autoscaler.errors import InputError
from autoscaler.simulate.engine import Engine, EngineRules
from autoscaler.simulate.environment import EARLY, LATE, Environment
from autoscaler.simulate.fleet import Bill, FleetSample, SimulatedPod, Supply, victims
from autoscaler.simulate.meters import ProfileMeters
from autoscaler.simulate.prefix import PrefixCache
from autoscaler.simulate.request import Request
from autoscaler.simulate.results import Fate, RequestLog, Results
from autoscaler.simulate.router import Router, Routing, Scores
from autoscaler.simulate.scraping import Scraper, Scraping
from autoscaler.simulate.trace import Trace, checked

ARRIVALS_AT_ONCE = 65_536  # rows turned into Python numbers at a time: memory stays flat for any trace
CRASH_BACK_OFF_S = 10.0
LEASE_S = 30.0  # how long a prefill replica keeps KV that nobody pulls (vLLM's kv_lease_duration)
WARM_UP_SPEED = 0.5
LIVE = (PodState.PENDING, PodState.STARTING, PodState.READY, PodState.DRAINING, PodState.FAILED)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How the tunnel behaves beside its engines."""

    routing: Routing = Routing.LEAST_LOADED
    scores: Scores = field(default_factory=Scores)
    scraping: Scraping = field(default_factory=Scraping)
    rules: EngineRules = field(default_factory=EngineRules)
    prefix_caching: bool = False
    grace: Seconds = Seconds(
        0.0
    )  # a deleted pod may finish for so long; then its requests are lost (vLLM's default: 0)
    handover_is_pull: float = 1.0  # share of the time per token that occupies the prefill replica's link
    handover_steps: float = 2.5  # decode steps that a hand-over measured up to the first token contains: half a step in
    # flight, one that is already formed, and the first itself; the engine adds them again
    hold_limit: Seconds | None = None  # a request that waits at the picker for so long is rejected; None: never
    gated: bool = False  # new pods wait for Announce before the picker sees them
    node_replicas: int = 1  # replicas per node, for node loss


class SimulatedCluster:
    """One model's pools under one policy, fed by a trace."""

    def __init__(
        self,
        policy: SLOPolicy,
        trace: Trace,
        supplies: Mapping[str, Supply],
        *,
        settings: ClusterSettings | None = None,
        seed: int = 0,
        keep_records: bool = True,
    ) -> None:
        """Build the initial fleet, ready at 0.

        Args:
            policy: names the variants (roles, prices, bounds) and profiles.
            trace: its profiles must be among the policy's.
            supplies: by variant name.
            settings: routing, scraping, termination.
            seed: of start-up times and failures; the trace brings its own.
            keep_records: keep every tick's record in ``log``.

        Raises:
            InputError: a variant without supply, or a profile of the trace that the policy does not name.
        """
        self.policy = policy
        self.trace = checked(trace)
        self.supplies = dict(supplies)
        self.settings = settings or ClusterSettings()
        self.env = Environment()
        self.random = np.random.default_rng(seed)
        self.router = Router(self.settings.routing, self.settings.scores)
        self.requested: dict[str, int] = {}
        self.pods: dict[str, SimulatedPod] = {}
        self.bills: dict[str, Bill] = {variant.name: Bill() for variant in policy.variants}
        self.log: list[TickRecord] = []
        self.lost = 0
        self.finished_requests = 0
        self.boot_factor = 1.0  # faults: how much longer starts take
        self.boots_hang = False  # faults: starts that begin now never end
        self._picking = True
        self.pace: float | None = None  # simulated seconds per second while sleeping; None: as fast as possible
        self._keep_records = keep_records
        self._roles = {variant.name: variant.role for variant in policy.variants}
        self._requests = RequestLog(len(trace))
        self._held: deque[Request] = deque()
        self._names = itertools.count()
        self._link_free: dict[SimulatedPod, float] = {}
        self._check()
        self.meters = [ProfileMeters() for _ in trace.profiles]
        self.scraper = Scraper(self, self.settings.scraping)
        for variant in policy.variants:
            self._start_with(variant, self.supplies[variant.name].initial)
        self._arrivals = self._next_arrivals()
        self._schedule_arrival()

    def _check(self) -> None:
        missing = [variant.name for variant in self.policy.variants if variant.name not in self.supplies]
        if missing:
            msg = f"supplies: none for variant {', '.join(missing)}; give its replica model, start-up and initial count"
            raise InputError(msg)
        known = {profile.name for profile in self.policy.profiles}
        unknown = sorted(set(self.trace.profiles) - known)
        if unknown:
            has = ", ".join(sorted(known))
            msg = f"{self.trace.name}: profile {', '.join(unknown)} is not in the policy, which has {has}"
            raise InputError(msg)

    # Clock, Observer, Actuator, Publisher -------------------------------------------------------------------------

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(self.env.now)

    async def sleep(self, duration: Seconds) -> None:
        """Let time pass in the tunnel (at ``pace``, if one is set)."""
        until = self.env.now + duration
        if self.pace is not None:
            await asyncio.sleep(duration / self.pace)
        self.env.run(until)

    async def observe(self, now: Instant) -> Observation:
        """Return what the scrapes so far tell."""
        return self.scraper.observation(now)

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Carry out actions at once."""
        return self.act(actions)

    async def publish(self, record: TickRecord) -> None:
        """Keep the record in ``log``."""
        self.record(record)

    def record(self, record: TickRecord) -> None:
        """Keep the record in ``log``, if records are kept."""
        if self._keep_records:
            self.log.append(record)

    def act(self, actions: Sequence[Action]) -> Outcome:
        """Carry out actions at once, in order."""
        return Outcome(tuple(self._one(action) for action in actions))

    def _one(self, action: Action) -> ActionResult:
        match action:
            case Scale(variant, replicas):
                return self._scale(action, variant.variant, replicas)
            case Withdraw(_, name, _, drain):
                return self._withdraw(action, name, drain)
            case Readmit(_, name):
                return self._readmit(action, name)
            case Announce(_, name):
                return self._announce(action, name)

    def _scale(self, action: Action, variant: str, replicas: int) -> ActionResult:
        if variant not in self.requested:
            return ActionResult(action, Result.REFUSED, f"no variant {variant}")
        if self.requested[variant] == replicas:
            return ActionResult(action, Result.UNCHANGED)
        self.set_replicas(variant, replicas)
        return ActionResult(action, Result.DONE)

    def _withdraw(self, action: Action, name: str, drain: Drain | None) -> ActionResult:
        """Note a drain on a pod; one that serves leaves the picker at once, one that starts never enters it."""
        pod = self.pods.get(name)
        if pod is None or pod.state is PodState.TERMINATING:
            return _refused(action, name, pod)
        now = self.now()
        noted = drain or pod.drain or Drain(now, after(now, self.policy.scale_down.drain_timeout))
        if noted == pod.drain:
            return ActionResult(action, Result.UNCHANGED)
        pod.drain = noted
        if pod.state is PodState.READY:
            self._enter(pod, PodState.DRAINING)
        return ActionResult(action, Result.DONE)

    def _readmit(self, action: Action, name: str) -> ActionResult:
        pod = self.pods.get(name)
        if pod is None or pod.state is PodState.TERMINATING:
            return _refused(action, name, pod)
        if pod.drain is None:
            return ActionResult(action, Result.UNCHANGED)
        pod.drain = None
        if pod.state is PodState.DRAINING:
            self._enter(pod, PodState.READY)
        return ActionResult(action, Result.DONE)

    def _announce(self, action: Action, name: str) -> ActionResult:
        pod = self.pods.get(name)
        if pod is None or pod.state is not PodState.READY:
            return _refused(action, name, pod)
        if pod.announced:
            return ActionResult(action, Result.UNCHANGED)
        pod.announced = True
        self._admit(pod)
        return ActionResult(action, Result.DONE)

    # What is there --------------------------------------------------------------------------------------------------

    def of(self, variant: str, *states: PodState) -> list[SimulatedPod]:
        """Return a variant's pods in any of the given states (none given: all)."""
        return [p for p in self.pods.values() if p.variant.name == variant and (not states or p.state in states)]

    def workload(self, variant: str) -> Workload:
        """Return a variant's scale target as the cluster's API tells it."""
        return Workload(variant, self.requested[variant], tuple(pod.seen() for pod in self.of(variant)))

    def membership(self) -> Signal[Membership]:
        """Return which pods the picker lists, as its metrics tell."""
        if not self._picking:
            return Missing(GapReason.UNREACHABLE, self.now(), "the picker does not answer")
        members = (pod.name for pods in self.router.members.values() for pod in pods)
        return Membership(MappingProxyType({"picker": frozenset(members)}))

    def sample(self) -> list[FleetSample]:
        """Return the fleet as it is now."""
        now = Seconds(self.env.now)
        return [self._sampled(variant.name, now) for variant in self.policy.variants]

    def _sampled(self, variant: str, now: Seconds) -> FleetSample:
        count = dict.fromkeys(PodState, 0)
        for pod in self.of(variant):
            count[pod.state] += 1
        return FleetSample(
            at=now,
            variant=variant,
            requested=self.requested[variant],
            pending=count[PodState.PENDING],
            starting=count[PodState.STARTING] + count[PodState.FAILED],
            ready=count[PodState.READY],
            draining=count[PodState.DRAINING] + count[PodState.TERMINATING],
        )

    def held(self) -> list[Request]:
        """Return the requests that wait at the picker."""
        return list(self._held)

    @property
    def outstanding(self) -> bool:
        """Tell whether any request is still to arrive or to end."""
        return self.finished_requests < len(self.trace)

    def settle(self) -> None:
        """Charge every pod up to now."""
        for pod in self.pods.values():
            pod.charge(self.bills[pod.variant.name], self.env.now)

    def results(self) -> Results:
        """Return what became of every request so far."""
        return self._requests.results(self.trace)

    # Pods -----------------------------------------------------------------------------------------------------------

    def set_replicas(self, variant: str, replicas: int) -> None:
        """Set what the variant's spec asks for, and let its controller follow."""
        self.requested[variant] = replicas
        self.reconcile(variant)

    def reconcile(self, variant: str) -> None:
        """Create or delete pods until as many exist as are asked for."""
        live = self.of(variant, *LIVE)
        missing = self.requested[variant] - len(live)
        for pod in victims(live, -missing) if missing < 0 else ():
            self._delete(pod)
        for _ in range(missing):
            self._create(self.policy.variant(variant))
        if missing < 0:
            self._schedule_pending()

    def _start_with(self, variant: Variant, replicas: int) -> None:
        self.requested[variant.name] = replicas
        for _ in range(replicas):
            pod = self._new_pod(variant)
            pod.scheduled = pod.ready_since = 0.0
            pod.state = PodState.READY
            self._admit(pod)

    def _new_pod(self, variant: Variant) -> SimulatedPod:
        supply, serial = self.supplies[variant.name], next(self._names)
        cached = self.settings.prefix_caching and variant.role is not Role.DECODE
        cache = PrefixCache(self.trace.hash_block_tokens) if cached else None
        engine = Engine(self.env, supply.replica, variant.role, self, cache=cache, rules=self.settings.rules)
        pod = SimulatedPod(f"{variant.name}-{serial}", variant, self.env.now, engine, since=self.env.now)
        pod.node = f"{variant.accelerator}-{serial // self.settings.node_replicas}"
        self.pods[pod.name] = pod
        return pod

    def _create(self, variant: Variant) -> None:
        pod = self._new_pod(variant)
        pod.announced = not self.settings.gated
        self._schedule_pending()

    def _schedule_pending(self) -> None:
        """Give nodes to Pending pods, oldest first, while there are any."""
        for variant, supply in self.supplies.items():
            pending = self.of(variant, PodState.PENDING)
            if not pending:
                continue
            used = len(self.of(variant)) - len(pending)
            free = len(pending) if supply.inventory is None else supply.inventory - used
            for pod in pending[: max(0, free)]:
                pod.scheduled = self.env.now
                self._boot(pod)

    def _boot(self, pod: SimulatedPod) -> None:
        supply = self.supplies[pod.variant.name]
        self._enter(pod, PodState.STARTING)
        pod.life += 1
        seconds = supply.startup.draw(self.random) * self.boot_factor
        fails = supply.startup.fails(self.random)
        if not self.boots_hang:
            self.env.at(self.env.now + seconds, self._crashed if fails else self._booted, (pod, pod.life), EARLY)

    def _booted(self, event: tuple[SimulatedPod, int]) -> None:
        pod, life = event
        if pod.state is not PodState.STARTING or pod.life != life:
            return
        pod.ready_since = self.env.now
        self._enter(pod, PodState.READY if pod.drain is None else PodState.DRAINING)
        warm_up = self.supplies[pod.variant.name].startup.warm_up
        if warm_up:
            self.slow(pod, WARM_UP_SPEED)
            self.env.at(self.env.now + warm_up, lambda warm: self.slow(warm, 1.0), pod)

    def _crashed(self, event: tuple[SimulatedPod, int]) -> None:
        pod, life = event
        if pod.state is not PodState.STARTING or pod.life != life:
            return
        pod.restarts += 1
        self._enter(pod, PodState.FAILED)
        self.env.at(self.env.now + CRASH_BACK_OFF_S, self._again, pod)

    def _again(self, pod: SimulatedPod) -> None:
        if pod.state is PodState.FAILED:
            self._boot(pod)

    def slow(self, pod: SimulatedPod, speed: float) -> None:
        """Let a pod serve at another speed."""
        pod.engine.advance(self.env.now)
        pod.engine.set_speed(speed)

    def _enter(self, pod: SimulatedPod, state: PodState) -> None:
        """Change a pod's state: pay for the old one, tell the picker."""
        now = self.env.now
        pod.charge(self.bills[pod.variant.name], now)
        pod.state = state
        if state is PodState.READY:
            self._admit(pod)
        else:
            self.router.remove(pod.variant.role, pod)

    def _admit(self, pod: SimulatedPod) -> None:
        if not pod.announced:
            return
        self.router.add(pod.variant.role, pod)
        self._dispatch_held()

    def _dispatch_held(self) -> None:
        while self._held and self._dispatch(self._held[0]):
            self._held.popleft()

    def stop_picker(self) -> None:
        """Dispatch nothing: requests wait."""
        self._picking = False

    def restart_picker(self) -> None:
        """Dispatch again, with counters that begin at zero."""
        self._picking = True
        self.meters[:] = [ProfileMeters() for _ in self.meters]
        self._dispatch_held()

    def _delete(self, pod: SimulatedPod) -> None:
        """Delete a pod as the API does: out of the picker at once, its requests aborted when the grace is over."""
        serving = pod.state in {PodState.READY, PodState.DRAINING}
        self._enter(pod, PodState.TERMINATING)
        if serving and pod.assigned and self.settings.grace > 0:
            self.env.at(self.env.now + self.settings.grace, self._end, pod)
        else:
            self._end(pod)

    def _end(self, pod: SimulatedPod) -> None:
        """Remove a pod; what it still had is lost."""
        if self.pods.pop(pod.name, None) is None:
            return
        pod.charge(self.bills[pod.variant.name], self.env.now)
        pod.engine.stop()
        self._link_free.pop(pod, None)
        for request in sorted(pod.assigned, key=lambda each: each.row):
            self._lose(request)
        self._schedule_pending()

    def kill(self, pod: SimulatedPod) -> None:
        """Take a pod away without warning (node loss); its controller replaces it."""
        self.router.remove(pod.variant.role, pod)
        self._enter(pod, PodState.TERMINATING)
        self._end(pod)
        self.reconcile(pod.variant.name)

    # Requests ---------------------------------------------------------------------------------------------------------

    def _next_arrivals(self) -> Iterator[Request]:
        trace = self.trace
        for start in range(0, len(trace), ARRIVALS_AT_ONCE):
            rows = slice(start, start + ARRIVALS_AT_ONCE)
            columns = (trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.profile)
            yield from map(Request, range(start, len(trace)), *(column[rows].tolist() for column in columns))

    def _schedule_arrival(self) -> None:
        request = next(self._arrivals, None)
        if request is not None:
            self.env.at(request.arrival, self._arrive, request)

    def _arrive(self, request: Request) -> None:
        if self.settings.prefix_caching and self.trace.hash_ids is not None:
            request.hashes = self.trace.hash_ids[request.row]
        if self._held or not self._dispatch(request):
            self._held.append(request)
            if self.settings.hold_limit is not None:
                self.env.at(self.env.now + self.settings.hold_limit, self._reject, request)
        self._schedule_arrival()

    def _reject(self, request: Request) -> None:
        """Answer a request that has waited at the picker for too long."""
        if request in self._held:
            self._held.remove(request)
            self.finished_requests += 1
            self._requests.fate[request.row] = Fate.REJECTED

    def _dispatch(self, request: Request) -> bool:
        if not self._picking or not self.router.route(request):
            return False
        meters = self.meters[request.profile]
        meters.requests += 1
        meters.prompt_tokens += request.input
        meters.prompt_squares += request.input * request.input
        prefill, decode = request.prefill_pod, request.decode_pod
        decode.assigned.add(request)
        if prefill is not decode:
            prefill.assigned.add(request)
        prefill.engine.submit(request)
        return True

    def prefilled(self, engine: Engine, request: Request, time: float) -> None:  # noqa: ARG002  # a port's signature
        """Offer the prompt's KV to the decode replica."""
        if request.lost:
            engine.release(request)
        else:
            request.pinned = True
            request.decode_pod.engine.reserve(request)

    def reserved(self, engine: Engine, request: Request, time: float) -> None:
        """Begin the hand-over: orchestration, then the prefill replica's link, one transfer after another."""
        source: SimulatedPod = request.prefill_pod
        handover = engine.model.handover
        pull = handover.per_token_s * request.input
        on_link = pull * self.settings.handover_is_pull
        begin = max(time, self._link_free.get(source, 0.0))
        self._link_free[source] = begin + on_link
        base = max(0.0, handover.base_s - self.settings.handover_steps * engine.model.step.base_s)
        self.env.at(begin + pull + base, self._pulled, request)

    def _pulled(self, request: Request) -> None:
        prefill, decode = request.prefill_pod, request.decode_pod
        if not request.lost:
            request.pinned = False
            prefill.engine.release(request)
            prefill.assigned.discard(request)
            self._perhaps_gone(prefill)
        if decode.name in self.pods:
            decode.engine.join(request)

    def first_token(self, request: Request, time: float) -> None:
        """Note the time to first token."""
        ttft = time - request.arrival
        self._requests.ttft_s[request.row] = ttft
        self.meters[request.profile].ttft.add(ttft)

    def finished(self, engine: Engine, request: Request, time: float) -> None:  # noqa: ARG002  # a port's signature
        """Note the end of a request."""
        if request.lost:
            return
        row, requests = request.row, self._requests
        tokens = request.answer
        itl = (time - request.first) / (tokens - 1) if tokens > 1 else 0.0
        requests.itl_s[row] = itl
        requests.itl_p99_s[row] = request.long_gap
        requests.finish_s[row] = time
        requests.fate[row] = Fate.DONE
        meters = self.meters[request.profile]
        meters.finished += 1
        meters.output_tokens += tokens
        meters.output_squares += tokens * tokens
        meters.output_lengths.add(tokens)
        meters.prompt_lengths.add(request.prompt)
        if tokens > 1:
            meters.itl.add(itl, tokens - 1)
        self.finished_requests += 1
        decode: SimulatedPod = request.decode_pod
        decode.assigned.discard(request)
        if decode.state is PodState.TERMINATING:
            self._perhaps_gone(decode)

    def _perhaps_gone(self, pod: SimulatedPod) -> None:
        if pod.state is PodState.TERMINATING and not pod.assigned:
            self.env.at(self.env.now, self._end, pod, LATE)

    def _lose(self, request: Request) -> None:
        """Count a request whose replica went away; the other replica lets go of it when it comes to it."""
        request.lost = True
        self.lost += 1
        self.finished_requests += 1
        self._requests.fate[request.row] = Fate.LOST
        prefill: SimulatedPod = request.prefill_pod
        for pod in (prefill, request.decode_pod):
            pod.assigned.discard(request)
        if request.pinned and prefill.name in self.pods:
            self.env.at(self.env.now + LEASE_S, prefill.engine.release, request)


def _refused(action: Action, name: str, pod: SimulatedPod | None) -> ActionResult:
    return ActionResult(action, Result.REFUSED, f"pod {name} is {pod.state if pod else 'gone'}")
