"""The safety net of decode: a limit that is being broken now is answered now, whatever models and forecasts say.

A replica that is slower than the limit allows carries too much for what it really does (a sick one, or all of them, if
the engine has changed): one more beside each of them halves its batch. Nothing is added while others are on their way,
or have come within the last minute. Broken limits of prefill show as prompts that wait, which the plan counts as work
(``needs``).
"""

import math
from collections.abc import Sequence

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.observation import EngineLoad, Latency
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.reason import Code, Evidence
from autoscaler.domain.signal import is_present
from autoscaler.plan import guardrails
from autoscaler.plan.guardrails import Proposals
from autoscaler.plan.situation import Situation

BADLY = 0.05
"""By so much less than promised: what is nearer to the promise, margins learn (``risk``)."""

FEWEST = 20.0
"""Observations that say something."""

NEAR = 0.75
"""Of the limit: a replica whose mean gap is longer has many requests beyond it."""

AT_MOST = 0.5
"""Of the ready replicas are added at one time, at least one."""


def answered(situation: Situation, proposals: Proposals) -> Proposals:
    """Return proposals that add to decode where a profile's gaps are broken now and replicas are too slow for it."""
    shares = ((_within(situation, profile), profile) for profile in situation.policy.profiles)
    broken = [(share, profile) for share, profile in shares if share is not None]
    if not broken:
        return proposals
    within, tightest = min(broken, key=lambda found: found[1].slo.itl)
    amended = proposals
    for role in (role for role in Role if role.decodes):
        pool, pods = situation.policy.pool(role), situation.ready_pods(role)
        slow = sum(_too_slow(situation.observed.engines.get(pod), tightest.slo.itl) for pod in pods)
        leaves = not any(amended[variant.name].target for variant in pool)
        if not slow or leaves or _helped(situation, pool, amended):
            continue
        more = min(slow, max(1, math.ceil(AT_MOST * len(pods))))
        evidence: Evidence = {
            "profile": tightest.name,
            "limit_s": float(tightest.slo.itl),
            "within": within,
            "slow": slow,
            "ready": len(pods),
        }
        short = len(pods) + more - sum(amended[variant.name].target for variant in pool)
        amended = guardrails.raised(pool, short, Code.BREACHED, amended, evidence)
    return amended


def _helped(situation: Situation, pool: Sequence[Variant], proposals: Proposals) -> bool:
    """Tell whether replicas are ordered or on their way, or came so lately that means do not show what they do."""
    workloads = [situation.workload(variant.name) for variant in pool]
    pods = [pod for each in workloads if isinstance(each, Workload) for pod in each.in_state(PodState.READY)]
    asked = sum(max(proposals[v.name].target, situation.requested(v.name) or 0) for v in pool)
    return asked > len(pods) or any(
        pod.ready_since is not None and situation.at - pod.ready_since < situation.window for pod in pods
    )


def _within(situation: Situation, profile: RequestProfile) -> float | None:
    """Return the share of a profile's gaps inside the limit, where that is far too small; else None."""
    load = situation.observed.loads.get(profile.name)
    if load is None or not isinstance(load.itl, Latency) or load.itl.count < FEWEST:
        return None
    return load.itl.within_slo if load.itl.within_slo < profile.slo.attainment - BADLY else None


def _too_slow(engine: EngineLoad | None, limit_s: float) -> bool:
    if engine is None or not is_present(engine.itl_mean_s) or not is_present(engine.running):
        return False
    return engine.running >= 1.0 and engine.itl_mean_s > NEAR * limit_s
