"""Builds the objects of a command from its options: the one place where rooms meet."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from autoscaler.domain.plan import Action
from autoscaler.domain.policy import Mode, SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.record import ActionResult, Outcome
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.observe import observer
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.performance.accelerators import accelerator
from autoscaler.performance.prior import MEASURED, Prior, Serving, physics_prior
from autoscaler.performance.profile import load_profile
from autoscaler.performance.shapes import built_in
from autoscaler.plan.feasibility import slo_feasible
from autoscaler.policy import load_policies
from autoscaler.ports import Actuator


class WallClock:
    """The real clock."""

    def now(self) -> Instant:
        """Return the present moment."""
        return Instant(time.time())

    async def sleep(self, duration: Seconds) -> None:
        """Wait."""
        await asyncio.sleep(duration)


class ByMode:
    """Carries out the actions of policies in mode Auto, and only reports those of all others."""

    def __init__(self, policies: Sequence[SLOPolicy], *, acting: Actuator, reporting: Actuator) -> None:
        """Take whom to act for, and the two ways to treat an action."""
        self._acting = acting
        self._reporting = reporting
        self.follow(policies)

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Act for those of these policies that are in mode Auto, and for no other, from now on."""
        self._auto = {policy.key for policy in policies if policy.mode is Mode.AUTO}

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Treat each action as its policy's mode demands."""
        acted = await self._acting.apply([a for a in actions if a.variant.policy in self._auto])
        reported = await self._reporting.apply([a for a in actions if a.variant.policy not in self._auto])
        results: tuple[ActionResult, ...] = (*acted.results, *reported.results)
        return Outcome(results)


def policies(files: Sequence[Path]) -> tuple[SLOPolicy, ...]:
    """Load policies; doubts go to stderr.

    Raises:
        PolicyError: some cannot be used.
    """
    loaded = load_policies(files)
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return loaded.policies


def priors(chosen: Sequence[SLOPolicy]) -> Mapping[str, Mapping[str, Prior]]:
    """Return what is known beforehand of each variant's speed, by policy key and variant name.

    Raises:
        InputError: a profile does not exist or is for another role, or neither profile nor physics says anything.
    """
    known = {policy.key: priors_of(policy) for policy in chosen}
    for policy in chosen:
        for doubt in doubts(policy, known[policy.key]):
            typer.echo(f"warning: {policy.key}: {doubt}", err=True)
    return known


def priors_of(policy: SLOPolicy) -> Mapping[str, Prior]:
    """Return what is known beforehand of the speed of one policy's variants, by name.

    Raises:
        InputError: as ``priors``.
    """
    return {variant.name: prior(policy, variant) for variant in policy.variants}


def doubts(policy: SLOPolicy, known: Mapping[str, Prior]) -> Sequence[str]:
    """Return why a policy may ask for more than its engines can do."""
    return tuple(str(doubt) for doubt in slo_feasible(policy, {name: found.model for name, found in known.items()}))


def prior(policy: SLOPolicy, variant: Variant) -> Prior:
    """Return what the variant's profile says, else what physics says of its accelerator and model.

    Raises:
        InputError: a profile does not exist or is for another role, or neither profile nor physics says anything.
    """
    if variant.performance_profile is not None:
        return Prior(load_profile(variant.performance_profile).for_role(variant.role), MEASURED)
    try:
        serving = Serving(tensor_parallel=variant.accelerators_per_replica)
        return physics_prior(accelerator(variant.accelerator), built_in(policy.model), serving)
    except (InputError, ValueError) as error:
        msg = f"{policy.key}: variant {variant.name}: {error}; or name a performanceProfile"
        raise InputError(msg) from error


QUICKEST_WINDOW = Seconds(30.0)
"""Rates look no shorter back than this, however often Prometheus scrapes: arrivals come in bursts."""


async def metrics_source(
    connection: Connection, chosen: Sequence[SLOPolicy], now: Instant, window: Seconds | None
) -> PrometheusSource:
    """Return a source whose rate window holds at least four scrapes of this Prometheus (or is ``window``, if given)."""
    windows = Windows()
    if window is not None:
        windows = Windows(fast=window)
    elif (interval := await metrics_with(connection, chosen, windows).scrape_interval(now)) is not None:
        windows = observer.windows_for(interval, Windows(fast=QUICKEST_WINDOW))
    return metrics_with(connection, chosen, windows)


def metrics_with(connection: Connection, chosen: Sequence[SLOPolicy], windows: Windows) -> PrometheusSource:
    """Return a source of the series of some policies, with windows that are known already."""
    return PrometheusSource(connection, observer.namespaces(chosen), windows, keep=observer.kept_labels(chosen))
