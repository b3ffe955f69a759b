"""Ticks in which something of everything happens, for whoever draws from records."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import Latency, ModelObservation, Observation, ProfileLoad
from autoscaler.domain.plan import ModelPlan, Plan, ProfileOutlook, Scale, VariantPlan, VariantRef
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.record import ActionResult, Outcome, Result, Step, TickRecord
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from tests import planning

WITHIN = Latency(0.1, 0.1, 0.2, 0.3, 0.97, 100.0)
SIZED = Reason(Code.TTFT_AT_RISK, MappingProxyType({"profile": "rag", "limit_s": 3.0}))


def load(profile: str, *, latency: Signal[Latency] = WITHIN) -> ProfileLoad:
    """Return the load of a profile, all of it known."""
    nothing = Missing(GapReason.NOT_A_NUMBER, planning.NOW)
    return ProfileLoad(profile, 2.0, 200.0, 150.0, 20.0, nothing, nothing, latency, latency, nothing)


def observed(policy: SLOPolicy, *, ready: int = 2, requested: int = 2, **changes: Any) -> ModelObservation:  # noqa: ANN401
    """Return what is seen of a policy; ``changes``: other fields of the observation."""
    loads = {profile.name: load(profile.name) for profile in policy.profiles}
    fleet: Mapping[str, Signal[Workload]] = {
        variant.name: planning.workload(variant.name, ready, requested) for variant in policy.variants
    }
    seen = ModelObservation(
        policy.key,
        MappingProxyType(loads),
        MappingProxyType(fleet),
        MappingProxyType({}),
        Missing(GapReason.ABSENT, planning.NOW),
    )
    return replace(seen, **changes)


def tick(
    policy: SLOPolicy,
    *,
    model: ModelObservation | None = None,
    wanted: int = 2,
    result: Result | None = None,
    detail: str = "",
    reasons: tuple[Reason, ...] = (SIZED,),
    at: Instant = planning.NOW,
) -> TickRecord:
    """Return a tick of one policy; with a ``result`` scaling its first variant from 2 to ``wanted`` ended so."""
    model = model or observed(policy)
    scale = Scale(VariantRef(policy.key, policy.variants[0].name), wanted, 2)
    plans = {variant.name: VariantPlan.of(wanted, *reasons) for variant in policy.variants}
    outlook = {profile.name: ProfileOutlook(profile.name, 1.0, 2.0, 3.0) for profile in policy.profiles}
    return TickRecord(
        Observation(at, MappingProxyType({policy.key: model})),
        Plan(at, MappingProxyType({policy.key: ModelPlan(policy.key, MappingProxyType(plans), outlook=outlook)})),
        Outcome(() if result is None else (ActionResult(scale, result, detail),)),
        MappingProxyType({step: Seconds(0.1) for step in Step}),
    )
