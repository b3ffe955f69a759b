"""Who can play: the product, its peers and the oracles, each with its knob as data."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches

import numpy as np

from autoscaler.backtest import oracle
from autoscaler.backtest.baselines import hpa, llmd
from autoscaler.backtest.baselines.dynamo_load import Target
from autoscaler.backtest.players import driven, loops
from autoscaler.backtest.players.drain import Drained
from autoscaler.backtest.players.dynamo import DynamoPlayer, Loops
from autoscaler.backtest.players.schedule import Constant
from autoscaler.backtest.scene import Scene, sized
from autoscaler.controller import Decides
from autoscaler.decider import Decider
from autoscaler.domain.policy import Behavior, ScalingRules, SLOPolicy, StepKind, StepLimit
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.plan.parts import ALL, Parts
from autoscaler.simulate.settings import Scraping

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Knob:
    """What a contender is tuned by; a sweep takes values on a geometric grid, so that every rule is searched alike."""

    name: str
    default: float  # as shipped
    low: float
    high: float

    def grid(self, count: int) -> tuple[float, ...]:
        """Return ``count`` values from low to high; one alone is the default."""
        if count == 1 or self.low == self.high:
            return (self.default,)
        return tuple(float(value) for value in np.geomspace(self.low, self.high, count))


Make = Callable[[Scene, float, float], Decides]
"""From the scene, the start-up time (s) and the knob to a decider."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One policy under test."""

    name: str
    about: str
    knob: Knob
    make: Make
    period: Seconds = Seconds(15.0)
    scraping: Scraping = Scraping()  # noqa: RUF009 - frozen
    gentle: bool = False  # withdraws pods before it deletes them
    initial: Callable[[Scene, float], Mapping[str, int]] | None = None  # None: the scene's

    def decider(self, scene: Scene, startup_s: float, knob: float) -> Decides:
        """Return the contender ready to play, with a drain lent to it where the scene says so."""
        player = self.make(scene, startup_s, knob)
        return Drained(player, scene.policy) if scene.peers_drain and not self.gentle else player


def _ours(scene: Scene, _: float, knob: float, parts: Parts = ALL) -> Decides:
    policy = promising(scene.policy, knob)
    return Decider([policy], {policy.key: scene.priors}, period=Seconds(15.0), parts=parts)


def promising(policy: SLOPolicy, misses: float) -> SLOPolicy:
    """Return the policy with the allowed share of misses multiplied (how cautious the planner is)."""

    def attainment(promised: float) -> float:
        return min(max(1.0 - (1.0 - promised) * misses, 1e-3), 1.0 - 1e-6)

    profiles = tuple(
        replace(profile, slo=replace(profile.slo, attainment=attainment(profile.slo.attainment)))
        for profile in policy.profiles
    )
    return replace(policy, profiles=profiles)


def _targets(knob: float) -> Mapping[Role, float]:
    """Return requests aimed at per pod: 2 prompts, 32 answers, times the knob."""
    return {Role.PREFILL: 2.0 * knob, Role.DECODE: 32.0 * knob, Role.UNIFIED: 32.0 * knob}


def _steps(up_window: float, down_window: float, *limit: tuple[StepKind, int, float]) -> Behavior:
    steps = tuple(StepLimit(kind, value, Seconds(period)) for kind, value, period in limit)
    return Behavior(
        ScalingRules(Seconds(up_window), steps, tolerance=hpa.TOLERANCE),
        ScalingRules(Seconds(down_window), steps, tolerance=hpa.TOLERANCE),
    )


WVA_SAMPLE = _steps(0.0, 0.0, (StepKind.PODS, 10, 15.0))
WVA_BENCHMARK = _steps(0.0, 240.0, (StepKind.PODS, 10, 150.0))
CONCURRENCY = Knob("concurrency target, times 2 prompts and 32 answers", 1.0, 0.1, 4.0)


def _concurrency_hpa(scene: Scene, _: float, knob: float) -> Decides:
    aims = _targets(knob)
    proposals = driven.by_concurrency(aims[Role.PREFILL], aims[Role.DECODE])
    return driven.HpaPlayer(scene.policy, proposals, hpa.DEFAULT_BEHAVIOR)


def _ratio(policy: SLOPolicy) -> tuple[float, float]:
    return policy.ratio.min_prefill_per_decode or 0.25, policy.ratio.max_prefill_per_decode or 4.0


def _slower(seconds: float) -> Scraping:
    return Scraping(interval=Seconds(seconds), window=Seconds(60.0))


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender(OURS, "this project", Knob("allowed misses, times promised", 1.0, 0.1, 10.0), _ours, gentle=True),
        Contender(
            "static",
            "constant replicas, sized in hindsight for a mean use",
            Knob("mean use of the replicas", 0.5, 0.15, 0.95),
            lambda scene, _, knob: Constant(scene.policy, sized(scene, use=knob)),
            initial=lambda scene, knob: sized(scene, use=knob),
            gentle=True,
        ),
        Contender("hpa", "HPA v2 on requests per pod, default behavior", CONCURRENCY, _concurrency_hpa),
        Contender(
            "hpa-saturation",
            "HPA v2 on KV use 0.7 and queue 2, as in the WVA benchmark",
            Knob("KV and queue targets, times 0.7 and 2", 1.0, 0.05, 1.3),
            lambda scene, _, knob: driven.HpaPlayer(
                scene.policy, driven.by_saturation(0.7 * knob, 2.0 * knob), hpa.DEFAULT_BEHAVIOR
            ),
        ),
        Contender(
            "keda-queue",
            "llm-d queue guide: 16 running requests per replica, up window 300 s",
            Knob("running requests per replica", 16.0, 1.5, 128.0),
            lambda scene, _, knob: driven.KedaPlayer(
                scene.policy, driven.by_queue(knob, guarded=False), llmd.QUEUE_BEHAVIOR
            ),
        ),
        Contender(
            "keda-queue-guard",
            "llm-d queue guide with overshoot guard",
            Knob("running requests per replica", 16.0, 1.5, 128.0),
            lambda scene, _, knob: driven.KedaPlayer(
                scene.policy, driven.by_queue(knob, guarded=True), llmd.GUARD_BEHAVIOR
            ),
        ),
        Contender(
            "keda-token-aware",
            "llm-d token-aware P/D guide: 1.5 s of prefill in flight, KV use 0.8",
            Knob("thresholds, times 1.5 s and 0.8", 1.0, 0.05, 1.3),
            lambda scene, _, knob: driven.KedaPlayer(
                scene.policy,
                driven.by_tokens(scene.policy, scene.models, 1.5 * knob, 0.8 * knob),
                llmd.TOKEN_BEHAVIOR,
            ),
        ),
        Contender(
            "llmd-slo-aware",
            "llm-d SLO-aware guide, for two roles: p90 TTFT for prefill, p90 ITL for decode",
            Knob("upper band, share of the SLO", 0.55, 0.1, 1.2),
            lambda scene, _, knob: driven.SloAwarePlayer(scene.policy, knob),
        ),
        Contender(
            "knative",
            "Knative KPA on concurrency",
            CONCURRENCY,
            lambda scene, _, knob: loops.KnativePlayer(scene.policy, _targets(knob)),
            period=Seconds(2.0),
            scraping=_slower(2.0),
        ),
        *(
            Contender(
                f"aibrix-{kind}{'-repaired' if repaired else ''}",
                f"AIBrix {kind.upper()} on requests per pod, {'repaired' if repaired else 'as shipped'}",
                CONCURRENCY,
                lambda scene, _, knob, kind=kind, repaired=repaired: loops.AibrixPlayer(  # type: ignore[misc]
                    scene.policy, _targets(knob), kpa=kind == "kpa", repaired=repaired
                ),
                period=Seconds(10.0),
                scraping=_slower(10.0),
            )
            for kind in ("apa", "kpa")
            for repaired in (False, True)
        ),
        Contender(
            "wva-v2",
            "WVA 0.9 token capacity, through its sample HPA",
            Knob("KV and queue as seen, times", 1.0, 0.5, 8.0),
            lambda scene, _, knob: driven.WvaPlayer(scene.policy, WVA_SAMPLE, scale=knob, percentage=False),
        ),
        Contender(
            "wva-v1",
            "WVA percentage mode, as benchmarked",
            Knob("KV and queue as seen, times", 1.0, 0.5, 8.0),
            lambda scene, _, knob: driven.WvaPlayer(scene.policy, WVA_BENCHMARK, scale=knob, percentage=True),
        ),
        Contender(
            "kthena",
            "Kthena on requests summed per role, with a P:D ratio",
            CONCURRENCY,
            lambda scene, _, knob: loops.KthenaPlayer(scene.policy, _targets(knob), _ratio(scene.policy)),
        ),
        Contender(
            "dynamo-sla",
            "Dynamo planner, SLA mode: Kalman forecast each 180 s, load loop each 5 s",
            Knob("SLA given, times the tightest SLO", 1.0, 0.1, 1.5),
            lambda scene, _, knob: DynamoPlayer(scene.policy, scene.models, Loops(sla_factor=knob)),
            period=Seconds(5.0),
            scraping=_slower(5.0),
        ),
        Contender(
            "dynamo-throughput",
            "Dynamo planner, its default mode",
            Knob("none", 1.0, 1.0, 1.0),
            lambda scene, _, __: DynamoPlayer(scene.policy, scene.models, Loops(easy=Target.THROUGHPUT)),
            period=Seconds(5.0),
            scraping=_slower(5.0),
        ),
        Contender(
            "ray",
            "Ray Serve on ongoing requests",
            CONCURRENCY,
            lambda scene, _, knob: loops.RayPlayer(scene.policy, _targets(knob)),
            period=Seconds(10.0),
            scraping=_slower(10.0),
        ),
        Contender(
            "kubeai",
            "KubeAI on active requests, mean of 10 min",
            CONCURRENCY,
            lambda scene, _, knob: loops.KubeaiPlayer(scene.policy, _targets(knob)),
            period=Seconds(10.0),
            scraping=_slower(10.0),
        ),
        Contender(
            "informed-oracle",
            "knows the rates in steps of 10 minutes, not the arrivals",
            Knob("quantile of the load, in standard deviations", 2.0, 0.25, 5.0),
            lambda scene, startup_s, knob: Drained(oracle.informed(scene, startup_s, knob), scene.policy),
            gentle=True,
        ),
    )
}


def _without(part: str) -> Contender:
    parts = replace(ALL, **{part: False})
    return Contender(
        f"{OURS}-without-{part.replace('_', '-')}",
        f"this project without its {part.replace('_', ' ')}",
        CONTENDERS[OURS].knob,
        lambda scene, startup_s, knob: _ours(scene, startup_s, knob, parts),
        gentle=True,
    )


ABLATED: Mapping[str, Contender] = {
    contender.name: contender for contender in (_without(part.name) for part in fields(Parts))
}
"""Ours without one of its parts, to see what it is worth; they play only where they are named."""


def contender(name: str) -> Contender:
    """Return a contender by name.

    Raises:
        InputError: nobody has this name.
    """
    if name in CONTENDERS or name in ABLATED:
        return CONTENDERS.get(name) or ABLATED[name]
    near = get_close_matches(name, CONTENDERS, 1, 0.4)
    meant = f'; did you mean "{near[0]}"?' if near else ""
    msg = f"--against: {name!r} is no contender{meant}; there are {', '.join(CONTENDERS)}"
    raise InputError(msg)


def same(first: float, second: float) -> bool:
    """Tell whether two knob values are the same setting."""
    return math.isclose(first, second, rel_tol=1e-9)
