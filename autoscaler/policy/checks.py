"""What no field can tell alone: bounds against each other, names used twice, parts that need one another.

Each check looks only at parts that are well formed, so all of a document's problems are told at once and none is told
because of another. Checks between policies are in ``conflicts``.
"""

import difflib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from autoscaler.domain.pool import Role
from autoscaler.domain.profile import DEFAULT_PROFILE
from autoscaler.policy import countries, durations, schedules, schema
from autoscaler.policy.problems import Path, Problem, dotted, error, shown, warning
from autoscaler.policy.understood import Placed, PlacedVariant, Understood

Check: TypeAlias = Callable[[Understood], Iterator[Problem]]


def problems(document: Understood) -> tuple[Problem, ...]:
    """Return what every check finds."""
    return tuple(itertools.chain.from_iterable(check(document) for check in CHECKS))


def loosest(profiles: Sequence[schema.Profile]) -> schema.Slo:
    """Return the SLO that a default profile gets where none is named: each limit the loosest that is declared."""
    return schema.Slo.model_construct(
        ttft=max(profile.slo.ttft for profile in profiles),
        itl=max(profile.slo.itl for profile in profiles),
        attainment=min(profile.slo.attainment for profile in profiles),
    )


def profile_names(document: Understood) -> Iterator[Problem]:
    """Find profiles that share a name."""
    yield from _twice((profile.value.name, profile.path) for profile in document.profiles)


def profile_matches(document: Understood) -> Iterator[Problem]:
    """Find profiles that match nothing, match in two ways, or match the same requests."""
    first: dict[tuple[str, object], Path] = {}
    for profile in document.profiles:
        stated = _stated(profile.value)
        yield from _match_problems(profile, stated)
        for key, value in stated.items():
            place = (*profile.path, "match", key)
            if (key, value) in first:
                yield error(
                    place, f"{shown(value)} is matched by {dotted(first[key, value])} too; keep one of the profiles"
                )
            first.setdefault((key, value), profile.path)


def _stated(profile: schema.Profile) -> dict[str, object]:
    return {} if profile.match is None else profile.match.model_dump(by_alias=True, exclude_none=True)


def _match_problems(profile: Placed[schema.Profile], stated: dict[str, object]) -> Iterator[Problem]:
    place = (*profile.path, "match")
    is_default = profile.value.name == DEFAULT_PROFILE
    if is_default and profile.value.match is not None:
        yield error(place, "the default profile takes what no other matches; remove match or rename the profile")
    elif not is_default and not stated:
        yield error(
            place,
            f"matches nothing; give one of modelName, fairnessID, priority, or name the profile {DEFAULT_PROFILE}",
        )
    elif len(stated) > 1:
        yield error(place, f"states {' and '.join(stated)}, but requests are matched by one; keep one of them")


def default_profile(document: Understood) -> Iterator[Problem]:
    """Say what happens to requests that no profile matches, where the policy does not."""
    profiles = [profile.value for profile in document.profiles]
    if profiles and document.whole_profiles and all(profile.name != DEFAULT_PROFILE for profile in profiles):
        slo = loosest(profiles)
        yield warning(
            ("spec", "profiles"),
            f"no profile named {DEFAULT_PROFILE}; unmatched requests get the loosest limits declared (ttft"
            f" {durations.render(slo.ttft)}, itl {durations.render(slo.itl)}, attainment {slo.attainment:g});"
            " add one to choose others",
        )


def latency_limits(document: Understood) -> Iterator[Problem]:
    """Find limits that look swapped."""
    for profile in document.profiles:
        slo = profile.value.slo
        if slo.itl > slo.ttft:
            itl, ttft = durations.render(slo.itl), durations.render(slo.ttft)
            yield warning((*profile.path, "slo", "itl"), f"{itl} is above ttft {ttft}; are the two swapped?")


def profile_priorities(document: Understood) -> Iterator[Problem]:
    """Find profiles that were given the same priority on purpose or by mistake: neither goes first."""
    first: dict[int, str] = {}
    for profile in document.profiles:
        priority, name = profile.value.priority, profile.value.name
        if "priority" in profile.given and priority in first:
            yield warning(
                (*profile.path, "priority"),
                f"{priority} is the priority of {first[priority]} too, so neither goes first; give them different ones",
            )
        if "priority" in profile.given:
            first.setdefault(priority, name)


def variant_names(document: Understood) -> Iterator[Problem]:
    """Find variants that share a name, in whichever pools."""
    yield from _twice((variant.value.name, variant.path) for variant in document.variants)


def replica_bounds(document: Understood) -> Iterator[Problem]:
    """Find minimums above their maximum."""
    for variant in document.variants:
        least, most = variant.value.min_replicas, variant.value.max_replicas
        if least > most:
            yield error(
                (*variant.path, "maxReplicas"), f"{most} is below minReplicas {least}; raise it or lower minReplicas"
            )


def pools_complete(document: Understood) -> Iterator[Problem]:
    """Find a model that is disaggregated by half: one of the two roles missing."""
    split = document.pools & {Role.PREFILL, Role.DECODE}
    if len(split) == 1:
        (present,) = split
        absent = Role.DECODE if present == Role.PREFILL else Role.PREFILL
        yield error(("spec", "pools"), f"names {present} without {absent}; add {absent}")


def pools_alive(document: Understood) -> Iterator[Problem]:
    """Find pools whose variants may all go to zero although the model may not.

    Without prefill, decode serves alone; of decode and unified together the planner keeps one that serves.
    """
    to_zero = document.scale_to_zero is None or document.scale_to_zero.enabled
    decoding = [role for role in (Role.DECODE, Role.UNIFIED) if role in document.pools]
    minimums = [variant.value.min_replicas for variant in document.variants if variant.role in decoding]
    if len(decoding) == 1 and minimums and not any(minimums) and document.whole_variants and not to_zero:
        yield error(
            ("spec", "pools", decoding[0].value),
            "minReplicas is 0 for every variant, but scaleToZero is not enabled; give one variant minReplicas 1",
        )


def may_sleep(document: Understood) -> Iterator[Problem]:
    """Find what keeps a model awake that may go to zero, where its roles go together."""
    if document.scale_to_zero is None or not document.scale_to_zero.enabled:
        return
    if document.pools >= {Role.UNIFIED, Role.DECODE}:
        yield error(
            ("spec", "scaleToZero", "enabled"),
            "is not supported for unified beside disaggregated replicas; leave it out, or keep one of the two ways",
        )
    for variant in document.variants:
        if variant.value.min_replicas > 0:
            yield error(
                (*variant.path, "minReplicas"),
                f"{variant.value.min_replicas} keeps {variant.value.name} awake, but scaleToZero is enabled; write 0 or"
                " leave scaleToZero out",
            )


def losses_tolerated(document: Understood) -> Iterator[Problem]:
    """Find pools that may lose as many replicas as they can have."""
    for role, losses in document.tolerated_losses.items():
        most = sum(variant.value.max_replicas for variant in document.variants if variant.role == role)
        if losses >= most > 0 and document.whole_variants:
            yield error(
                ("spec", "pools", role, "toleratedLosses"),
                f"{losses} is not below the {most} that maxReplicas allow; lower it or raise maxReplicas",
            )


def workloads(document: Understood) -> Iterator[Problem]:
    """Find a workload that two variants would scale."""
    first: dict[tuple[str, ...], str] = {}
    for variant in document.variants:
        key = workload_key(document.namespace, variant.value.scale_target_ref)
        if key in first:
            yield error(
                (*variant.path, "scaleTargetRef"),
                f"{key[-2]} {key[-1]} is scaled by variant {first[key]} already; name another workload",
            )
        first.setdefault(key, variant.value.name)


def workload_key(namespace: str, target: schema.ScaleTargetRef) -> tuple[str, ...]:
    """Return what makes two references mean one workload; the API version does not tell them apart."""
    group = target.api_version.rpartition("/")[0]
    return (namespace, group, target.kind, target.name)


def accelerator_limits(document: Understood) -> Iterator[Problem]:
    """Find limits that the minimums exceed, and limits of accelerators that no variant uses."""
    limits = document.budget.accelerator_limits if document.budget else {}
    used = sorted({variant.value.accelerator for variant in document.variants})
    for accelerator, limit in limits.items():
        place = ("spec", "budget", "acceleratorLimits", accelerator)
        users = [variant for variant in document.variants if variant.value.accelerator == accelerator]
        needed = sum(_minimum(variant) for variant in users)
        if needed > limit:
            each = ", ".join(f"{variant.value.name} {_minimum(variant)}" for variant in users)
            yield error(
                place, f"{limit} is below the {needed} that minReplicas need ({each}); raise it or lower minReplicas"
            )
        elif not users and document.whole_variants:
            close = difflib.get_close_matches(accelerator, used, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"remove it; variants use {', '.join(used)}"
            yield warning(place, f"limits an accelerator that no variant uses; {hint}")


def _minimum(variant: PlacedVariant) -> int:
    return variant.value.min_replicas * variant.value.accelerators_per_replica


def cost_limit(document: Understood) -> Iterator[Problem]:
    """Find a cost limit that the minimums exceed."""
    limit = document.budget.cost_per_hour if document.budget else None
    least = sum(variant.value.min_replicas * variant.value.cost_per_replica_hour for variant in document.variants)
    if limit is not None and least > limit:
        yield error(
            ("spec", "budget", "costPerHour"),
            f"{limit:g} is below the {least:g} that minReplicas cost; raise it or lower minReplicas",
        )


def shared_budget(document: Understood) -> Iterator[Problem]:
    """Find a shared budget that limits nothing."""
    budget = document.budget
    if budget and budget.shared_as and not budget.accelerator_limits and budget.cost_per_hour is None:
        yield error(
            ("spec", "budget", "sharedAs"),
            f'"{budget.shared_as}" limits nothing; give acceleratorLimits or costPerHour, or leave sharedAs out',
        )


def ratio_bounds(document: Understood) -> Iterator[Problem]:
    """Find a ratio guard that no fleet can keep."""
    ratio = document.ratio
    if ratio is None or ratio.min_prefill_per_decode is None or ratio.max_prefill_per_decode is None:
        return
    least, most = ratio.min_prefill_per_decode, ratio.max_prefill_per_decode
    if least > most:
        yield error(
            ("spec", "ratio", "maxPrefillPerDecode"),
            f"{most:g} is below minPrefillPerDecode {least:g}; raise it or lower minPrefillPerDecode",
        )


def spread_over_variants(document: Understood) -> Iterator[Problem]:
    """Find roles that cannot be spread: of one variant, or whose largest leaves the others too little room.

    How fast variants are is not known here: their replicas are taken as alike.
    """
    if document.spread is None or document.spread.max_share == 100 or not document.whole_variants:
        return
    place, most = ("spec", "spread", "maxShare"), document.spread.max_share
    for role in Role:
        room = {v.value.name: v.value.max_replicas for v in document.variants if v.role is role}
        if len(room) == 1:
            (name,) = room
            yield warning(place, f"{role} is not spread: {name} is its only variant; add another, or leave spread out")
        elif room:
            largest = max(room, key=lambda name: room[name])
            others, total = sum(room.values()) - room[largest], sum(room.values())
            if 100 * others < (100 - most) * total:
                yield warning(
                    place,
                    f"{most} cannot hold at full size: beside {largest} the variants of {role} may have {others} of"
                    f" {total} replicas; raise their maxReplicas, or raise maxShare",
                )


def one_scheduler(document: Understood) -> Iterator[Problem]:
    """Find a scheduler that names no or several sources of membership."""
    if document.scheduler is None:
        return
    named = list(document.scheduler.model_dump(by_alias=True, exclude_none=True))
    if len(named) != 1:
        said = f"names {' and '.join(named)}" if named else "names nothing"
        yield error(
            ("spec", "scheduler"), f"{said}; give exactly one of inferencePool, podSelector, endpointsFile, none"
        )


def schedule_variants(document: Understood) -> Iterator[Problem]:
    """Find schedules that share a name or speak of variants that do not exist."""
    yield from _twice((schedule.value.name, schedule.path) for schedule in document.schedules)
    names = sorted(variant.value.name for variant in document.variants)
    for schedule in document.schedules if document.whole_variants else ():
        for name in schedule.value.min_replicas:
            if name not in names:
                yield error(
                    (*schedule.path, "minReplicas", name), f"no variant has this name; use one of {', '.join(names)}"
                )


def schedule_times(document: Understood) -> Iterator[Problem]:
    """Find schedules whose begin nobody can compute."""
    for schedule in document.schedules:
        cron, zone = schedule.value.cron, schedule.value.time_zone
        wrong = schedules.wrong_cron(cron)
        if wrong is not None:
            yield error(
                (*schedule.path, "cron"),
                f'{shown(cron)}: {wrong}; write minute, hour, day of month, month, day of week, e.g. "0 8 * * 1-5"',
            )
        if not schedules.is_time_zone(zone):
            yield error((*schedule.path, "timeZone"), f"{shown(zone)} is no time zone; write e.g. Europe/Berlin or UTC")


def calendar_place(document: Understood) -> Iterator[Problem]:
    """Find a calendar of which no holidays, or no midnight, are known."""
    calendar = document.calendar
    if calendar is None:
        return
    place = ("spec", "calendar")
    known = countries.subdivisions(calendar.country)
    if known is None:
        yield error(
            (*place, "country"),
            f"no holidays are known of {shown(calendar.country)}; write an ISO 3166-1 code such as DE or US",
        )
    elif calendar.subdivision is not None and calendar.subdivision not in known:
        way_out = f"use one of {', '.join(known)}" if known else "leave it out"
        yield error(
            (*place, "subdivision"),
            f"no holidays are known of a {shown(calendar.subdivision)} in {calendar.country}; {way_out}",
        )
    if not schedules.is_time_zone(calendar.time_zone):
        yield error(
            (*place, "timeZone"), f"{shown(calendar.time_zone)} is no time zone; write e.g. Europe/Berlin or UTC"
        )


def schedule_wishes(document: Understood) -> Iterator[Problem]:
    """Find schedules that ask for nothing, or for more replicas than a variant may have."""
    most = {variant.value.name: variant.value.max_replicas for variant in document.variants}
    for schedule in document.schedules:
        if not schedule.value.min_replicas and schedule.value.load_factor == 1.0:
            yield error(schedule.path, "asks for nothing; give minReplicas or a loadFactor other than 1")
        for name, wanted in schedule.value.min_replicas.items():
            if name in most and wanted > most[name]:
                yield error(
                    (*schedule.path, "minReplicas", name),
                    f"{wanted} is above maxReplicas {most[name]} of the variant; lower it or raise maxReplicas",
                )


def _twice(named: Iterator[tuple[str, Path]]) -> Iterator[Problem]:
    first: dict[str, Path] = {}
    for name, path in named:
        if name in first:
            yield error((*path, "name"), f'"{name}" is the name of {dotted(first[name])} too; rename one')
        first.setdefault(name, path)


CHECKS: tuple[Check, ...] = (
    profile_names,
    profile_matches,
    default_profile,
    latency_limits,
    profile_priorities,
    variant_names,
    replica_bounds,
    pools_complete,
    pools_alive,
    may_sleep,
    losses_tolerated,
    workloads,
    accelerator_limits,
    cost_limit,
    shared_budget,
    ratio_bounds,
    spread_over_variants,
    one_scheduler,
    schedule_variants,
    schedule_times,
    schedule_wishes,
    calendar_place,
)
