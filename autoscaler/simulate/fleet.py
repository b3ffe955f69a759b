"""The pods of the tunnel from creation to end: they wait for nodes, start, crash, serve, drain and die."""

import itertools
from collections.abc import Mapping

import numpy as np

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.units import Seconds
from autoscaler.simulate.engine import Engine
from autoscaler.simulate.environment import EARLY, Environment
from autoscaler.simulate.pods import Bill, FleetSample, SimulatedPod, Supply, victims
from autoscaler.simulate.prefix import PrefixCache
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.traffic import Traffic

CRASH_BACK_OFF_S = 10.0
WARM_UP_SPEED = 0.5
LIVE = (PodState.PENDING, PodState.STARTING, PodState.READY, PodState.DRAINING, PodState.FAILED)


class Fleet:
    """The pods of every variant of a policy, what is requested of them, and what they cost."""

    def __init__(
        self,
        env: Environment,
        policy: SLOPolicy,
        supplies: Mapping[str, Supply],
        settings: ClusterSettings,
        traffic: Traffic,
        seed: int,
    ) -> None:
        """Build the initial fleet, ready at once.

        Args:
            env: virtual time.
            policy: names the variants.
            supplies: by variant name.
            settings: termination, gates, caches.
            traffic: gets the pods that serve, and loses what the others had.
            seed: of start-up times and failures.
        """
        self.policy = policy
        self.pods: dict[str, SimulatedPod] = {}
        self.requested: dict[str, int] = {}
        self.bills: dict[str, Bill] = {variant.name: Bill() for variant in policy.variants}
        self.boot_factor = 1.0  # faults: how much longer starts take
        self.boots_hang = False  # faults: starts that begin now never end
        self._env = env
        self._supplies = dict(supplies)
        self._settings = settings
        self._traffic = traffic
        self._random = np.random.default_rng(seed)
        self._serials = itertools.count()
        for variant in policy.variants:
            self._start_with(variant, self._supplies[variant.name].initial)

    # What is there --------------------------------------------------------------------------------------------------

    def of(self, variant: str, *states: PodState) -> list[SimulatedPod]:
        """Return a variant's pods in any of the given states (none given: all)."""
        return [p for p in self.pods.values() if p.variant.name == variant and (not states or p.state in states)]

    def workload(self, variant: str) -> Workload:
        """Return a variant's scale target as the cluster's API tells it."""
        return Workload(variant, self.requested[variant], tuple(pod.seen() for pod in self.of(variant)))

    def sample(self) -> list[FleetSample]:
        """Return the fleet as it is now."""
        now = Seconds(self._env.now)
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

    def settle(self) -> None:
        """Charge every pod up to now."""
        for pod in self.pods.values():
            pod.charge(self.bills[pod.variant.name], self._env.now)

    # As many as are asked for -----------------------------------------------------------------------------------------

    def set_replicas(self, variant: str, replicas: int) -> None:
        """Set what the variant's spec asks for, and let its controller follow."""
        self.requested[variant] = replicas
        self._reconcile(variant)

    def _reconcile(self, variant: str) -> None:
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
            self._traffic.admit(pod)

    def _new_pod(self, variant: Variant) -> SimulatedPod:
        supply, serial, settings = self._supplies[variant.name], next(self._serials), self._settings
        cached = settings.prefix_caching and variant.role is not Role.DECODE
        cache = PrefixCache(self._traffic.trace.hash_block_tokens) if cached else None
        engine = Engine(self._env, supply.replica, variant.role, self._traffic, cache=cache, rules=settings.rules)
        pod = SimulatedPod(f"{variant.name}-{serial}", variant, self._env.now, engine, since=self._env.now)
        pod.node = f"{variant.accelerator}-{serial // settings.node_replicas}"
        self.pods[pod.name] = pod
        return pod

    # Start ------------------------------------------------------------------------------------------------------------

    def _create(self, variant: Variant) -> None:
        pod = self._new_pod(variant)
        pod.announced = not self._settings.gated
        self._schedule_pending()

    def _schedule_pending(self) -> None:
        """Give nodes to Pending pods, oldest first, while there are any."""
        for variant, supply in self._supplies.items():
            pending = self.of(variant, PodState.PENDING)
            if not pending:
                continue
            used = len(self.of(variant)) - len(pending)
            free = len(pending) if supply.inventory is None else supply.inventory - used
            for pod in pending[: max(0, free)]:
                pod.scheduled = self._env.now
                self._boot(pod)

    def _boot(self, pod: SimulatedPod) -> None:
        startup = self._supplies[pod.variant.name].startup
        self.enter(pod, PodState.STARTING)
        pod.life += 1
        seconds = startup.draw(self._random) * self.boot_factor
        fails = startup.fails(self._random)
        if not self.boots_hang:
            self._env.at(self._env.now + seconds, self._crashed if fails else self._booted, (pod, pod.life), EARLY)

    def _booted(self, event: tuple[SimulatedPod, int]) -> None:
        pod, life = event
        if pod.state is not PodState.STARTING or pod.life != life:
            return
        pod.ready_since = self._env.now
        self.enter(pod, PodState.READY if pod.drain is None else PodState.DRAINING)
        warm_up = self._supplies[pod.variant.name].startup.warm_up
        if warm_up:
            self.slow(pod, WARM_UP_SPEED)
            self._env.at(self._env.now + warm_up, lambda warm: self.slow(warm, 1.0), pod)

    def _crashed(self, event: tuple[SimulatedPod, int]) -> None:
        pod, life = event
        if pod.state is not PodState.STARTING or pod.life != life:
            return
        pod.restarts += 1
        self.enter(pod, PodState.FAILED)
        self._env.at(self._env.now + CRASH_BACK_OFF_S, self._again, pod)

    def _again(self, pod: SimulatedPod) -> None:
        if pod.state is PodState.FAILED:
            self._boot(pod)

    # Life and end -----------------------------------------------------------------------------------------------------

    def slow(self, pod: SimulatedPod, speed: float) -> None:
        """Let a pod serve at another speed."""
        pod.engine.advance(self._env.now)
        pod.engine.set_speed(speed)

    def enter(self, pod: SimulatedPod, state: PodState) -> None:
        """Change a pod's state: pay for the old one, tell the picker."""
        pod.charge(self.bills[pod.variant.name], self._env.now)
        pod.state = state
        if state is not PodState.READY:
            self._traffic.withdraw(pod)
        elif pod.announced:
            self._traffic.admit(pod)

    def announce(self, pod: SimulatedPod) -> None:
        """Let the picker see a pod that is ready and waited for that."""
        pod.announced = True
        self._traffic.admit(pod)

    def _delete(self, pod: SimulatedPod) -> None:
        """Delete a pod as the API does: out of the picker at once, its requests aborted when the grace is over."""
        serving = pod.state in {PodState.READY, PodState.DRAINING}
        self.enter(pod, PodState.TERMINATING)
        if serving and pod.assigned and self._settings.grace > 0:
            self._env.at(self._env.now + self._settings.grace, self.end, pod)
        else:
            self.end(pod)

    def kill(self, pod: SimulatedPod) -> None:
        """Take a pod away without warning (node loss); its controller replaces it."""
        self.enter(pod, PodState.TERMINATING)
        self.end(pod)
        self._reconcile(pod.variant.name)

    def end(self, pod: SimulatedPod) -> None:
        """Remove a pod; what it still had is lost."""
        if pod.gone:
            return
        pod.gone = True
        del self.pods[pod.name]
        pod.charge(self.bills[pod.variant.name], self._env.now)
        pod.engine.stop()
        self._traffic.lose(pod)
        self._schedule_pending()
