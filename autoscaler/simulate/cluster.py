"""A cluster in virtual time: pods that start, serve, drain and die. It implements the ports: the loop runs unchanged.

``SimulatedCluster`` is Clock, Observer, Actuator and Publisher at once. ``run.py`` drives it; time passes only there
(or while the Controller sleeps). What its pods do stands in ``fleet.py``, what becomes of requests in ``traffic.py``.
"""

import asyncio
from collections.abc import Mapping, Sequence

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Action
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import Outcome, TickRecord
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.simulate.actions import carried_out
from autoscaler.simulate.environment import Environment
from autoscaler.simulate.fleet import Fleet
from autoscaler.simulate.pods import SimulatedPod, Supply
from autoscaler.simulate.scraping import Scraper
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.trace import Trace, checked
from autoscaler.simulate.traffic import Traffic


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
        settings = settings or ClusterSettings()
        self.policy = policy
        self.trace = checked(trace)
        _check(policy, trace, supplies)
        self.env = Environment()
        self.log: list[TickRecord] = []
        self.pace: float | None = None  # simulated seconds per second while sleeping; None: as fast as possible
        self._keep_records = keep_records
        self.traffic = Traffic(self.env, self.trace, settings, self._emptied)
        self.fleet = Fleet(self.env, policy, supplies, settings, self.traffic, seed)
        self.scraper = Scraper(self.env, self.fleet, self.traffic, settings.scraping)
        self.traffic.begin()

    def _emptied(self, pod: SimulatedPod) -> None:
        self.fleet.end(pod)

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
        """Keep the record in ``log``, if records are kept."""
        if self._keep_records:
            self.log.append(record)

    def act(self, actions: Sequence[Action]) -> Outcome:
        """Carry out actions at once, in order."""
        return Outcome(tuple(carried_out(action, self.fleet, self.now()) for action in actions))


def _check(policy: SLOPolicy, trace: Trace, supplies: Mapping[str, Supply]) -> None:
    missing = [variant.name for variant in policy.variants if variant.name not in supplies]
    if missing:
        msg = f"supplies: none for variant {', '.join(missing)}; give its replica model, start-up and initial count"
        raise InputError(msg)
    known = {profile.name for profile in policy.profiles}
    unknown = sorted(set(trace.profiles) - known)
    if unknown:
        has = ", ".join(sorted(known))
        msg = f"{trace.name}: profile {', '.join(unknown)} is not in the policy, which has {has}"
        raise InputError(msg)
