"""Policies, demand and situations for tests of the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from autoscaler.domain.demand import ProfileDemand, Quantiles, RateForecast
from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import EngineLoad, ModelObservation, Moments
from autoscaler.domain.policy import Behavior, Budget, ScalingRules, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.profile import load_profile
from autoscaler.plan.allocation import Option
from autoscaler.plan.situation import Knowledge, Situation

NOW = Instant(1_000_000.0)
SOON = Seconds(15.0)
LEAD = Seconds(135.0)
WINDOW = Seconds(60.0)
START = Seconds(60.0)
H200 = load_profile("h200-tp1-qwen3-32b").model
KNOWN = Knowledge(H200, Seconds(100.0), LEAD)

AT_ONCE = Behavior(ScalingRules(Seconds(0.0)), ScalingRules(Seconds(0.0)))

RAG = RequestProfile("rag", SLO(Seconds(3.0), Seconds(0.05), 0.99), Match(fairness_id="rag"))
CHAT = RequestProfile("default", SLO(Seconds(2.0), Seconds(0.04), 0.95))


def variant(role: Role, *, name: str = "", least: int = 1, most: int = 20, price: float = 3.8) -> Variant:
    """Return a variant, named as its role where no name is given."""
    name = name or role.value
    target = ScaleTarget("llm", "apps/v1", "Deployment", name)
    return Variant(name, role, target, "H200-SXM", 1, price, least, most)


def option(  # noqa: PLR0913 - a row of a table names what it is about
    alone: int,
    requested: int = 0,
    *,
    name: str = "",
    price: float = 1.0,
    accelerator: str = "H200-SXM",
    least: int = 0,
    most: int = 12,
    start: Seconds = START,
    arrivals: tuple[float, ...] | None = None,
    losses: int = 0,
    spread: float = 0.0,
    lasting: tuple[Seconds, ...] = (),
) -> Option:
    """Return what a decode variant, named as its accelerator where no name is given, could do for its role."""
    chosen = replace(
        variant(Role.DECODE, name=name or accelerator, least=least, most=most, price=price), accelerator=accelerator
    )
    return Option(chosen, alone, requested, start, start, arrivals, losses, spread, lasting)


def policy(
    *variants: Variant,
    profiles: Sequence[RequestProfile] = (RAG, CHAT),
    budget: Budget | None = None,
    behavior: Behavior | None = None,
) -> SLOPolicy:
    """Return a policy; without variants one per role."""
    return SLOPolicy(
        name="model",
        namespace="llm",
        model="m",
        profiles=tuple(profiles),
        variants=variants or (variant(Role.PREFILL), variant(Role.DECODE)),
        budget=budget or Budget(),
        behavior=behavior or Behavior(),
    )


def demand(
    profile: str, requests_per_second: float, *, prompt: float, output: float, spread: float = 0.3
) -> ProfileDemand:
    """Return a demand that is the same at both horizons, with quantiles ``spread`` around the rate."""

    def rates(level: float) -> Mapping[Seconds, RateForecast]:
        quantiles = Quantiles((0.5, 0.9, 0.99), (level, level * (1 + spread), level * (1 + 2 * spread)))
        return MappingProxyType({h: RateForecast(h, level, quantiles) for h in (SOON, LEAD)})

    return ProfileDemand(
        profile=profile,
        requests_per_second=rates(requests_per_second),
        uncached_prompt_tokens_per_second=rates(requests_per_second * prompt),
        output_tokens_per_second=rates(requests_per_second * output),
        prompt_tokens=Moments(prompt, 1.3 * prompt**2),
        uncached_prompt_tokens=Moments(prompt, 1.3 * prompt**2),
        output_tokens=Moments(output, 1.3 * output**2),
        burstiness=1.5,
    )


def engine(pod: str, *, running: Signal[float] = 1.0, waiting: float = 0.0) -> EngineLoad:
    """Return what an engine says that matters to a plan."""
    absent = Missing(GapReason.ABSENT, NOW)
    return EngineLoad(
        pod=pod,
        running=running,
        waiting=waiting,
        deferred=0.0,
        kv_use_ratio=0.1,
        kv_capacity_tokens=200_000.0,
        prompt_tokens_per_second=absent,
        computed_prompt_tokens_per_second=absent,
        output_tokens_per_second=absent,
        requests_per_second=absent,
        itl_mean_s=absent,
        prefill_mean_s=absent,
        queue_mean_s=absent,
        ttft_mean_s=absent,
        preemptions_per_second=absent,
        newest_sample=NOW,
    )


def workload(name: str, ready: int, requested: int | None = None) -> Workload:
    """Return a workload with so many ready pods."""
    pods = tuple(
        Pod(f"{name}-{n}", name, PodState.READY, Instant(NOW - 9000), ready_since=Instant(NOW - 8900))
        for n in range(ready)
    )
    return Workload(name, ready if requested is None else requested, pods)


def situation(
    chosen: SLOPolicy,
    demands: Mapping[str, Signal[ProfileDemand]],
    fleet: Mapping[str, Signal[Workload]],
    *,
    at: Instant = NOW,
    engines: Mapping[str, EngineLoad] | None = None,
    paused: bool = False,
    paused_scale_down: bool = False,
) -> Situation:
    """Return a situation; every ready pod reports unless ``engines`` says otherwise."""
    if engines is None:
        pods = [pod.name for known in fleet.values() if isinstance(known, Workload) for pod in known.pods]
        engines = {name: engine(name) for name in pods}
    observed = ModelObservation(chosen.key, {}, fleet, engines, 0.0, paused=paused, paused_scale_down=paused_scale_down)
    knowledge = {v.name: KNOWN for v in chosen.variants}
    return Situation(at, chosen, observed, demands, knowledge, SOON, WINDOW)
