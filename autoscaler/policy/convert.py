"""From a checked document to domain values; nothing here can fail on a document that passed every check.

Mappings are sorted: an API server returns their keys in any order, and the same policy has to be the same value.
"""

from collections.abc import Iterator

from autoscaler.domain import policy as domain
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import DEFAULT_PROFILE, Match, RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Seconds
from autoscaler.policy import schema
from autoscaler.policy.checks import loosest


def to_domain(document: schema.SLOPolicyDocument) -> domain.SLOPolicy:
    """Return the policy that a document means."""
    spec, metadata = document.spec, document.metadata
    return domain.SLOPolicy(
        name=metadata.name,
        namespace=metadata.namespace,
        model=spec.model,
        profiles=_profiles(spec),
        variants=tuple(_variants(spec.pools, metadata.namespace)),
        mode=spec.mode,
        budget=_budget(spec.budget),
        ratio=domain.RatioGuard(spec.ratio.min_prefill_per_decode, spec.ratio.max_prefill_per_decode),
        spread=domain.Spread(spec.spread.max_share / 100),
        behavior=_behavior(spec.behavior),
        schedules=tuple(_schedule(schedule) for schedule in spec.schedules),
        calendar=_calendar(spec.calendar),
        scale_down=domain.ScaleDown(spec.scale_down.drain_timeout, spec.scale_down.max_concurrent_drains),
        scale_to_zero=domain.ScaleToZero(spec.scale_to_zero.enabled, spec.scale_to_zero.after),
        scheduler=_scheduler(spec.scheduler),
        tolerated_losses=tuple(
            (role, pool.tolerated_losses) for role, pool in _pools(spec.pools) if pool.tolerated_losses
        ),
        metrics=domain.Metrics(spec.metrics.source, tuple(sorted(spec.metrics.matchers.items()))),
    )


def _budget(budget: schema.Budget) -> domain.Budget:
    limits = tuple(sorted(budget.accelerator_limits.items()))
    return domain.Budget(limits, budget.cost_per_hour, budget.shared_as or "")


def _profiles(spec: schema.Spec) -> tuple[RequestProfile, ...]:
    profiles = tuple(_profile(profile) for profile in spec.profiles)
    if any(profile.name == DEFAULT_PROFILE for profile in profiles):
        return profiles
    least = min(0, *(profile.importance for profile in profiles))
    return (*profiles, RequestProfile(DEFAULT_PROFILE, _slo(loosest(spec.profiles)), importance=least))


def _profile(profile: schema.Profile) -> RequestProfile:
    match = profile.match or schema.Match()
    return RequestProfile(
        name=profile.name,
        slo=_slo(profile.slo),
        match=Match(match.model_name, match.fairness_id, match.priority),
        importance=profile.priority,
    )


def _slo(slo: schema.Slo) -> SLO:
    return SLO(slo.ttft, slo.itl, slo.attainment)


def _pools(pools: schema.Pools) -> Iterator[tuple[Role, schema.Pool]]:
    for role, pool in ((Role.PREFILL, pools.prefill), (Role.DECODE, pools.decode), (Role.UNIFIED, pools.unified)):
        if pool is not None:
            yield role, pool


def _variants(pools: schema.Pools, namespace: str) -> Iterator[Variant]:
    for role, pool in _pools(pools):
        for variant in pool.variants:
            target = variant.scale_target_ref
            yield Variant(
                name=variant.name,
                role=role,
                target=ScaleTarget(namespace, target.api_version, target.kind, target.name),
                accelerator=variant.accelerator,
                accelerators_per_replica=variant.accelerators_per_replica,
                cost_per_replica_hour=variant.cost_per_replica_hour,
                min_replicas=variant.min_replicas,
                max_replicas=variant.max_replicas,
                performance_profile=variant.performance_profile,
            )


def _behavior(behavior: schema.Behavior) -> domain.Behavior:
    usual = domain.Behavior()
    return domain.Behavior(
        scale_up=_rules(behavior.scale_up, usual.scale_up),
        scale_down=_rules(behavior.scale_down, usual.scale_down),
    )


def _rules(rules: schema.ScalingRules, usual: domain.ScalingRules) -> domain.ScalingRules:
    window = rules.stabilization_window_seconds
    return domain.ScalingRules(
        stabilization_window=usual.stabilization_window if window is None else Seconds(float(window)),
        limits=tuple(
            domain.StepLimit(limit.type, limit.value, Seconds(float(limit.period_seconds)))
            for limit in rules.policies or ()
        ),
        select=rules.select_policy,
        tolerance=rules.tolerance,
    )


def _schedule(schedule: schema.Schedule) -> domain.Schedule:
    return domain.Schedule(
        name=schedule.name,
        cron=schedule.cron,
        duration=schedule.duration,
        time_zone=schedule.time_zone,
        min_replicas=tuple(sorted(schedule.min_replicas.items())),
        load_factor=schedule.load_factor,
    )


def _calendar(calendar: schema.Calendar | None) -> domain.Calendar | None:
    if calendar is None:
        return None
    return domain.Calendar(calendar.country, calendar.time_zone, calendar.subdivision)


def _scheduler(scheduler: schema.Scheduler) -> domain.Scheduler:
    ((kind, selects),) = scheduler.model_dump(by_alias=True, exclude_none=True).items()
    return domain.Scheduler(domain.SchedulerKind(kind), selects if isinstance(selects, str) else "")
