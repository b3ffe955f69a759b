"""What more replicas would not mend: a hand-over that fails, requests that are sent where no room is.

Both look like a lack of capacity. Said as reasons, so that somebody mends the cause; nothing is bought for the first.
"""

from collections.abc import Mapping, Sequence

from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import EngineLoad
from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.signal import Missing
from autoscaler.plan.situation import Situation

BROKEN = 0.2
"""Share of the prompts on decode replicas that they compute themselves: a last block is normal, more is not."""

FULL, IDLE = 0.9, 0.3
"""Use of KV memory of one replica, and of the middle one of its pool."""

FEWEST = 3
"""Replicas of a pool whose middle one says something."""


def raised(situation: Situation, proposals: Mapping[str, VariantPlan]) -> dict[str, VariantPlan]:
    """Return the proposals with what is wrong; decode does not grow on a broken hand-over."""
    share = _computed_on_decode(situation)
    amended = {}
    for variant in situation.policy.variants:
        proposal = proposals[variant.name]
        if variant.role is Role.DECODE and share > BROKEN:
            requested = situation.requested(variant.name)
            kept = proposal.target if requested is None else min(proposal.target, max(requested, variant.min_replicas))
            proposal = proposal.amended(kept, Reason(Code.HANDOVER_BROKEN, {"share": share}))
        crowded = _crowded(_engines(situation, [variant]))
        if crowded is not None:
            proposal = proposal.because(Reason(Code.IMBALANCED, {"pod": crowded}))
        amended[variant.name] = proposal
    return amended


def _computed_on_decode(situation: Situation) -> float:
    """Return the share of prompt tokens on decode replicas that were computed there; 0 where nothing is told.

    While no prefill replica serves, decode serves alone: nothing is handed over. And a replica that preempts computes
    again what it had to forget: it lacks memory, which more replicas do mend; where it does not tell, that may be so.
    """
    if not situation.ready_pods(Role.PREFILL):
        return 0.0
    prompts = computed = 0.0
    for engine in _engines(situation, situation.policy.pool(Role.DECODE)):
        came, own = engine.prompt_tokens_per_second, engine.computed_prompt_tokens_per_second
        preempted = engine.preemptions_per_second
        if isinstance(came, Missing) or isinstance(own, Missing) or isinstance(preempted, Missing):
            continue
        if preempted == 0.0:
            prompts, computed = prompts + came, computed + own
    return computed / prompts if prompts > 0 else 0.0


def _crowded(engines: Sequence[EngineLoad]) -> str | None:
    """Return the pod that is full while most of its pool is idle, if there is one."""
    known = [(e.kv_use_ratio, e.pod) for e in engines if not isinstance(e.kv_use_ratio, Missing)]
    if len(known) < FEWEST:
        return None
    known.sort()
    (most, pod), (middle, _) = known[-1], known[len(known) // 2]
    return pod if most >= FULL and middle <= IDLE else None


def _engines(situation: Situation, variants: Sequence[Variant]) -> list[EngineLoad]:
    workloads = [situation.workload(variant.name) for variant in variants]
    pods = [pod.name for workload in workloads if isinstance(workload, Workload) for pod in workload.pods]
    engines = situation.observed.engines
    return [engines[pod] for pod in pods if pod in engines]
