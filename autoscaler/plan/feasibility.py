"""SLOs that no variant can keep, however many replicas run: limits below the latency of an engine without load."""

from collections.abc import Iterator, Mapping, Sequence

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.units import Seconds
from autoscaler.performance.step import ReplicaModel
from autoscaler.policy import durations
from autoscaler.policy.problems import Problem, warning

SHORTEST_PROMPT_TOKENS = 1.0
"""Below any real prompt, so that what is called impossible is impossible for every request."""


def slo_feasible(
    policy: SLOPolicy, models: Mapping[str, ReplicaModel], prompt_tokens: float = SHORTEST_PROMPT_TOKENS
) -> tuple[Problem, ...]:
    """Return a warning for every SLO limit below the unloaded latency of every variant that would have to keep it.

    A role of which some variant has no model is not judged: that variant may be the fast one.

    Args:
        policy: the policy; its profiles in their order are ``spec.profiles``.
        models: speed of one replica, by variant name.
        prompt_tokens: uncached prompt tokens of a request; the default judges the easiest request there is.
    """
    return tuple(_problems(policy, models, prompt_tokens))


def _problems(policy: SLOPolicy, models: Mapping[str, ReplicaModel], prompt_tokens: float) -> Iterator[Problem]:
    prefills = _all_known([variant for variant in policy.variants if variant.role.prefills], models)
    decodes = _all_known([variant for variant in policy.variants if variant.role.decodes], models)
    ttft = _fastest({name: _unloaded_ttft_s(model, prompt_tokens) for name, model in prefills.items()})
    itl = _fastest({name: _unloaded_itl_s(model, prompt_tokens) for name, model in decodes.items()})
    for index, profile in enumerate(policy.profiles):
        for name, limit, fastest in (("ttft", profile.slo.ttft, ttft), ("itl", profile.slo.itl, itl)):
            if fastest is not None and limit < fastest[0]:
                wanted, needed = durations.render(limit), durations.render(fastest[0])
                yield warning(
                    ("spec", "profiles", index, "slo", name),
                    f"{wanted} is below the {needed} that the fastest variant, {fastest[1]}, needs without"
                    " load; raise it or add a faster variant",
                )


def _all_known(variants: Sequence[Variant], models: Mapping[str, ReplicaModel]) -> Mapping[str, ReplicaModel]:
    if any(variant.name not in models for variant in variants):
        return {}
    return {variant.name: models[variant.name] for variant in variants}


def _fastest(latencies_s: Mapping[str, float]) -> tuple[Seconds, str] | None:
    return min(((Seconds(latency_s), name) for name, latency_s in latencies_s.items()), default=None)


def _unloaded_ttft_s(model: ReplicaModel, prompt_tokens: float) -> float:
    """Return the seconds to compute a prompt on an idle engine; the hand-over to decode comes on top of it."""
    return float(model.prefill.latency_s(prompt_tokens))


def _unloaded_itl_s(model: ReplicaModel, context_tokens: float) -> float:
    return float(model.step.step_s(1.0, context_tokens))
