"""What every contender of a backtest flies through: the same policy, trace, engines and tunnel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from autoscaler.backtest import work
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.units import Seconds
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.performance.step import ReplicaModel
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.faults import Fault, inject
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.scenario import Scenario, with_picker
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.startup import StartUp
from autoscaler.simulate.trace import Trace, checked

INITIAL_WINDOW_S = 300.0
INITIAL_USE = 0.6
"""Initial replicas are 60 % used by the first five minutes' mean load, in every run alike."""

REDRAW_WINDOW_S = 60.0
REDRAW_JITTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One experiment, but for policy under test, start-up time and seed."""

    policy: SLOPolicy
    trace: Trace
    priors: Mapping[str, Prior]  # by variant: how fast its replicas are, and how far the product trusts it
    initial: Mapping[str, int]  # replicas ready at the start, by variant
    startup_spread: float = 1.2  # p90 over median of start-up times
    failing_share: float = 0.0  # of starts
    settings: ClusterSettings = field(default_factory=ClusterSettings)
    peers_drain: bool = False  # give peers a drain that they do not have
    faults: tuple[Fault, ...] = ()

    @property
    def models(self) -> dict[str, ReplicaModel]:
        """Return how fast a replica of each variant is in the tunnel."""
        return {name: prior.model for name, prior in self.priors.items()}

    @property
    def horizon(self) -> Seconds:
        """Return until when ticks are made and replicas are paid: the trace's end in whole minutes."""
        return Seconds(max(1, math.ceil(self.trace.duration_s / 60.0)) * 60.0)

    def startup(self, seconds: float) -> StartUp:
        """Return the distribution of start-up times about a median."""
        return StartUp(Seconds(seconds), self.startup_spread, self.failing_share)

    def world(
        self, startup: StartUp, seed: int, *, initial: Mapping[str, int] | None = None, settings: ClusterSettings
    ) -> SimulatedCluster:
        """Return a fresh tunnel; seed 0 is the trace as it is, every other one a redraw of it."""
        fleet = self.initial if initial is None else initial
        supplies = {v.name: Supply(self.models[v.name], startup, fleet[v.name]) for v in self.policy.variants}
        trace = self.trace if seed == 0 else redrawn(self.trace, seed)
        cluster = SimulatedCluster(self.policy, trace, supplies, settings=settings, seed=seed, keep_records=False)
        inject(cluster, self.faults)
        return cluster


def redrawn(trace: Trace, seed: int) -> Trace:
    """Return another trace of the same load: arrivals moved by up to 5 s, requests exchanged within each minute."""
    random = np.random.default_rng(seed)
    minute = (trace.arrival_s // REDRAW_WINDOW_S).astype(int)
    shuffled = np.lexsort((random.random(len(trace)), minute))
    moved = trace.arrival_s + random.uniform(-REDRAW_JITTER_S, REDRAW_JITTER_S, len(trace))
    moved = np.sort(np.clip(moved, 0.0, trace.duration_s))
    return trace.rows(shuffled, moved)


def scene_of(
    policy: SLOPolicy,
    trace: Trace,
    priors: Mapping[str, Prior],
    *,
    settings: ClusterSettings | None = None,
    peers_drain: bool = False,
    picker: bool = True,
) -> Scene:
    """Return the scene of a policy and a trace, with the fleet that everyone starts with.

    ``picker``: a policy that names no scheduler drains through the tunnel's; else its replicas are just deleted.
    """
    policy = with_picker(policy) if picker else policy
    chosen = settings or ClusterSettings()
    least = {v.name: v.min_replicas for v in policy.variants}
    scene = Scene(policy, checked(trace), priors, least, settings=chosen, peers_drain=peers_drain)
    return replace(scene, initial=sized(scene, use=INITIAL_USE, first_s=INITIAL_WINDOW_S))


def scene_of_scenario(scenario: Scenario) -> Scene:
    """Return the scene of a scenario file: its fleet, faults and tunnel; start-up medians come from the backtest."""
    supplies = scenario.supplies.values()
    return Scene(
        scenario.policy,
        scenario.trace,
        {name: Prior(supply.replica, MEASURED) for name, supply in scenario.supplies.items()},
        {name: supply.initial for name, supply in scenario.supplies.items()},
        startup_spread=max(supply.startup.spread for supply in supplies),
        failing_share=max(supply.startup.failing_share for supply in supplies),
        settings=scenario.settings,
        faults=scenario.faults,
    )


def sized(scene: Scene, *, use: float, first_s: float = math.inf) -> dict[str, int]:
    """Return constant replicas that the mean load of the first seconds uses to the given share.

    Each role is served by its first variant; the others keep their minimum.
    """
    early = scene.trace.arrival_s <= first_s
    seconds = min(first_s, max(scene.trace.duration_s, 1.0))
    needs = work.of_fleet(scene.policy, scene.models, scene.trace, prefix_caching=scene.settings.prefix_caching)
    fleet = {v.name: v.min_replicas for v in scene.policy.variants}
    for variant in firsts(scene.policy):
        mine = needs[variant.name]
        busy = max(float(mine.busy_s[early].sum()), float(mine.memory_s[early].sum()))
        fleet[variant.name] = bounded(variant, math.ceil(busy / seconds / use))
    return fleet


def firsts(policy: SLOPolicy) -> list[Variant]:
    """Return the first variant of every role."""
    seen: dict[Role, Variant] = {}
    for variant in policy.variants:
        seen.setdefault(variant.role, variant)
    return list(seen.values())


def bounded(variant: Variant, replicas: int) -> int:
    """Keep replicas within the variant's bounds, at least one."""
    return max(1, min(max(replicas, variant.min_replicas), variant.max_replicas))
