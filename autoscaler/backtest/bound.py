"""What the promise costs at least, and what it costs when the future is known: the column beside every policy.

Two figures. The certified one is a linear program's: no policy that attains is cheaper (``relaxation``). The feasible
one is a schedule made with knowledge of the trace, re-flown in the tunnel to confirm that it attains; its cost is an
upper bound of the true optimum.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoscaler.backtest import oracle, relaxation
from autoscaler.backtest.players.drain import Drained
from autoscaler.backtest.players.schedule import Follow
from autoscaler.backtest.relaxation import Problem
from autoscaler.backtest.scene import Scene
from autoscaler.backtest.score import Score, score
from autoscaler.backtest.timeline import Noted, Timeline, timeline
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Seconds
from autoscaler.simulate.run import fly
from autoscaler.simulate.settings import Scraping
from autoscaler.simulate.startup import StartUp

LP_BIN_S = 60.0
PERIOD = Seconds(oracle.BIN_S)
LOOSEST, TIGHTEST = 0.2, 1.0
"""Use of replicas between which a schedule is sought."""

SMOOTHINGS = (4, 16)
"""Bins over which the load is averaged before replicas are counted: tried after the load as it is."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The clairvoyant cost at the promised attainment, for one start-up time."""

    startup_s: float
    reached: bool  # whether a schedule was found that keeps every profile's promise
    attainment: float
    attainment_by_profile: Mapping[str, float]
    cost: float
    certified_lower: float
    use: Mapping[str, float]  # of replicas, by role, in the schedule found
    timeline: Timeline | None = None


def bound(scene: Scene, startup_s: float, *, rounds: int = 5) -> Bound:
    """Return both bounds for the trace as it is (seed 0) and start-ups of exactly ``startup_s``.

    Args:
        scene: policy, trace, engines.
        startup_s: of every replica.
        rounds: bisections of each role's use; every smoothing of the load then takes half as many.

    Raises:
        InputError: the policy mixes unified and disaggregated variants, or no fleet within its limits can attain.
    """
    search = _Search(scene, startup_s)
    found = search.best(rounds)
    return Bound(
        startup_s=startup_s,
        reached=search.keeps(found.score),
        attainment=found.score.attainment,
        attainment_by_profile=found.score.attainment_by_profile,
        cost=found.score.cost,
        certified_lower=certified(scene, startup_s),
        use={str(role): use for role, use in found.plan.use.items()},
        timeline=found.timeline,
    )


def certified(scene: Scene, startup_s: float) -> float:
    """Return the cost below which no policy attains, from the linear program."""
    problem = Problem(
        policy=scene.policy,
        trace=scene.trace,
        models=scene.models,
        startup={variant.name: Seconds(startup_s) for variant in scene.policy.variants},
        initial=scene.initial,
        bin_s=LP_BIN_S,
        prefix_caching=scene.settings.prefix_caching,
    )
    return relaxation.solve(problem).cost


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a schedule is made: the use of replicas by role, and over how many bins the load is averaged first."""

    use: Mapping[Role, float]
    smoothing: int = 1


@dataclass(frozen=True, slots=True)
class _Tried:
    plan: _Plan
    score: Score
    timeline: Timeline


class _Search:
    """Re-flies schedules, one role and one smoothing after another, ever tighter until a promise breaks."""

    def __init__(self, scene: Scene, startup_s: float) -> None:
        self._scene = scene
        self._startup = StartUp(Seconds(startup_s))
        self._needs = oracle.needs_of(scene)
        self._roles = [role for role in Role if scene.policy.pool(role)]

    def best(self, rounds: int) -> _Tried:
        best = self._try(_Plan(dict.fromkeys(self._roles, LOOSEST)))
        if not self.keeps(best.score):
            return best
        for role in reversed(self._roles):
            best = self._tightened(best, role, best.plan.smoothing, rounds)
        for smoothing in SMOOTHINGS:
            for role in self._roles:
                best = self._tightened(best, role, smoothing, rounds // 2)
        return best

    def keeps(self, scored: Score) -> bool:
        """Tell whether every profile got what it was promised."""
        policy = self._scene.policy
        return all(share >= policy.profile(name).slo.attainment for name, share in scored.attainment_by_profile.items())

    def _tightened(self, best: _Tried, role: Role, smoothing: int, rounds: int) -> _Tried:
        """Bisect one role's use; return the cheapest schedule that keeps every promise."""
        low, high = LOOSEST, TIGHTEST
        for _ in range(rounds):
            middle = math.sqrt(low * high)
            tried = self._try(_Plan({**best.plan.use, role: middle}, smoothing))
            if self.keeps(tried.score):
                low = middle
                best = tried if tried.score.cost < best.score.cost else best
            else:
                high = middle
        return best

    def _try(self, plan: _Plan) -> _Tried:
        scene, needs = self._scene, self._needs
        busy = {name: oracle.averaged(each, plan.smoothing) for name, each in needs.busy.items()}
        schedule = oracle.fleet_for(scene, busy, {**dict.fromkeys(Role, 1.0), **plan.use})
        settings = replace(scene.settings, scraping=Scraping(interval=Seconds(5.0), window=Seconds(60.0)))
        world = scene.world(self._startup, 0, settings=settings)
        notes = Noted(Drained(Follow(scene.policy, schedule, needs.bin_s, self._startup.median), scene.policy))
        run = fly(world, notes, period=PERIOD, horizon=scene.horizon)
        notes.check()
        return _Tried(plan, score(scene.policy, run), timeline(run))
