"""Who is decided for: looked up before every tick, so that a policy added, changed or deleted counts from that tick on.

Everything that is made for a set of policies has a ``follow``; here they are told of another set, and newcomers learn
from the past. What goes on being decided for is not disturbed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, TypeAlias

import structlog

from autoscaler.cli import wiring
from autoscaler.decider import Decider
from autoscaler.domain.observation import Observation
from autoscaler.domain.policy import SLOPolicy, Written
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError, ObservationError
from autoscaler.observe.kube import KubeFleet
from autoscaler.observe.observer import ClusterObserver, PrometheusHistory
from autoscaler.observe.policies import Policies
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.performance.prior import Prior
from autoscaler.policy.office import Former, stand_in
from autoscaler.settings import Loop

log = structlog.get_logger("autoscaler")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long newcomers may take to be seen in the cluster, and to learn from the past; both at once."""

    synced: Seconds
    learned: Seconds


AT_START = Patience(Seconds(30.0), Seconds(120.0))
IN_A_TICK = Patience(Seconds(2.0), Seconds(4.0))  # well within the deadline for observing

Refused: TypeAlias = Mapping[str, Sequence[str]]
Priors: TypeAlias = Mapping[str, Mapping[str, Prior]]


@dataclass(frozen=True, slots=True)
class Roll:
    """The policies to decide for; by key what is known of their engines, and how their resources say them.

    ``refused``: what is wrong with policies, by key; one of them that stands among ``policies`` is a former version.
    """

    policies: tuple[SLOPolicy, ...] = ()
    priors: Priors = field(default_factory=lambda: MappingProxyType({}))
    refused: Refused = field(default_factory=lambda: MappingProxyType({}))
    written: Mapping[str, Written] = field(default_factory=lambda: MappingProxyType({}))


class Follower(Protocol):
    """A part that is made for a set of policies."""

    def __call__(self, roll: Roll) -> None:
        """Serve these policies from now on."""
        ...


class Roster:
    """An ``Observer`` that looks at the policies before it looks at anything else."""

    def __init__(
        self,
        current: Callable[[], Policies],
        *,
        fleet: KubeFleet,
        observer: ClusterObserver,
        decider: Decider,
        metrics: Callable[[Sequence[SLOPolicy]], PrometheusSource],
        loop: Loop,
        followers: Sequence[Follower] = (),
    ) -> None:
        """Take who says what the policies are, and all that has to know of them."""
        self._current = current
        self._fleet = fleet
        self._observer = observer
        self._decider = decider
        self._metrics = metrics
        self._loop = loop
        self._followers = tuple(followers)
        self._known: Policies | None = None
        self._roll = Roll()

    async def begin(self, now: Instant) -> None:
        """Take in the first policies, before the loop starts."""
        self._known = self._current()
        await self._adopt(self._known, now, AT_START)

    async def observe(self, now: Instant) -> Observation:
        """Return what is known of the policies of this moment; without any there is nothing to look at.

        Raises:
            ObservationError: nothing at all could be observed.
        """
        current = self._current()
        if current != self._known:
            await self._adopt(current, now, IN_A_TICK)
            self._known = current
        return await self._observer.observe(now) if self._roll.policies else Observation(now)

    async def _adopt(self, current: Policies, now: Instant, patience: Patience) -> None:
        roll = usable(current, self._roll)
        policies, refused = roll.policies, roll.refused
        metrics = self._metrics(policies)
        await self._fleet.follow(policies)
        self._observer.follow(policies, metrics)
        newcomers = self._decider.follow(policies, roll.priors)
        for follow in self._followers:
            follow(roll)
        self._roll = roll
        log.info("policies", usable=[policy.key for policy in policies], refused=sorted(refused))
        for key, problems in refused.items():
            log.warning("policy_refused", policy=key, problems=list(problems))
        fresh = [policy for policy in policies if policy.key in newcomers]
        await asyncio.gather(self._synced(patience.synced), self._learned(fresh, metrics, now, patience.learned))

    async def _synced(self, within: Seconds) -> None:
        try:
            await self._fleet.wait_synced(within)
        except ObservationError as error:  # those counts are held until the cluster answers
            log.warning("fleet_unknown", detail=str(error))

    async def _learned(
        self, newcomers: Sequence[SLOPolicy], metrics: PrometheusSource, now: Instant, within: Seconds
    ) -> None:
        """Let newcomers learn from what Prometheus remembers; without it they start cold."""
        if not newcomers or not self._loop.history:
            return
        end = Instant(now - self._loop.period)
        past = PrometheusHistory(newcomers, metrics).past(
            Instant(end - self._loop.history), end, self._loop.history_step
        )
        try:
            async with asyncio.timeout(within):
                observations = [observation async for observation in past]
        except (ObservationError, TimeoutError) as error:
            log.warning("started_cold", policies=[p.key for p in newcomers], detail=str(error) or "took too long")
            return
        self._decider.warm(observations)
        log.info("warmed", policies=[policy.key for policy in newcomers], observations=len(observations))


NOBODY = Roll()


def usable(current: Policies, before: Roll = NOBODY) -> Roll:
    """Return the policies to decide for, what is known of their engines, and what is wrong with policies.

    A policy whose engines nobody knows anything of (no such profile, no such accelerator) stops no other. In place of
    one that cannot be used, but could ``before``, its former version stays: a slip of an editor stops no pool.
    """
    policies: list[SLOPolicy] = []
    priors: dict[str, Mapping[str, Prior]] = {}
    refused: dict[str, Sequence[str]] = dict(current.refused)
    for policy in current.usable:
        try:
            known = wiring.priors_of(policy)
        except InputError as error:
            refused[policy.key] = (str(error),)
            continue
        for doubt in wiring.doubts(policy, known):
            log.warning("policy_doubtful", policy=policy.key, doubt=doubt)
        priors[policy.key] = known
        policies.append(policy)
    written = {key: version for key, version in current.written.items() if key in priors}
    for key in tuple(refused):
        former = _former(key, current, before)
        found = stand_in(key, former, policies, wiring.priors_of, auto=key in current.auto)
        refused[key] = (*refused[key], *found.told)
        if found.policy is not None:
            policies.append(found.policy)
            priors[key] = wiring.priors_of(found.policy)
            written |= {} if found.written is None else {key: found.written}
    return Roll(tuple(policies), MappingProxyType(priors), MappingProxyType(refused), MappingProxyType(written))


def _former(key: str, current: Policies, before: Roll) -> Former:
    """Return what this process decided for until now, else what the status says that another did."""
    policy = next((policy for policy in before.policies if policy.key == key), None)
    return Former(policy, current.in_office.get(key) if policy is None else before.written.get(key))
