"""Scenarios: a flight that can begin, from the YAML file that describes it (``scenario_file.py``)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoscaler.domain.policy import Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import ScaleTarget, Variant
from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.performance.profile import builtin_names, load_profile
from autoscaler.policy import load_policies
from autoscaler.policy.reading import one_document
from autoscaler.simulate import load
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.faults import Fault, inject
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.scenario_file import ClusterPart, ScenarioFile
from autoscaler.simulate.settings import ClusterSettings, Scraping
from autoscaler.simulate.startup import StartUp
from autoscaler.simulate.trace import Trace


@dataclass(frozen=True, slots=True)
class Scenario:
    """A flight that can begin."""

    name: str
    about: str
    policy: SLOPolicy
    trace: Trace
    supplies: Mapping[str, Supply]
    settings: ClusterSettings
    faults: tuple[Fault, ...]
    seed: int
    period: Seconds
    duration: Seconds

    def world(self, *, keep_records: bool = True) -> SimulatedCluster:
        """Return a fresh cluster with the faults to come."""
        cluster = SimulatedCluster(
            self.policy, self.trace, self.supplies, settings=self.settings, seed=self.seed, keep_records=keep_records
        )
        inject(cluster, self.faults)
        return cluster

    @property
    def priors(self) -> Mapping[str, Mapping[str, Prior]]:
        """Return what a Decider is told beforehand: how fast replicas are, as a measurement would say it."""
        return {self.policy.key: {name: Prior(supply.replica, MEASURED) for name, supply in self.supplies.items()}}


def read_scenario(path: Path, *, seed: int | None = None) -> Scenario:
    """Read a scenario file.

    Args:
        path: a YAML file.
        seed: in place of the file's.

    Raises:
        InputError: no such file, no YAML, or anything in it that cannot be; names file and field.
    """
    try:
        document = one_document(path.read_bytes(), str(path))
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise InputError(msg) from None
    return build(document, folder=path.parent, source=str(path), seed=seed)


def build(document: object, *, folder: Path, source: str, seed: int | None = None) -> Scenario:
    """Return the scenario that a document describes.

    Raises:
        InputError: anything in it that cannot be; every problem at once.
    """
    try:
        file = ScenarioFile.model_validate(document)
    except ValidationError as refusal:
        raise InputError("\n".join(_problem(source, error) for error in refusal.errors())) from None
    drawn = file.seed if seed is None else seed
    policy = with_picker(_policy(file, folder))
    trace = _trace(file, folder, drawn)
    return Scenario(
        name=file.name,
        about=file.about,
        policy=policy,
        trace=trace,
        supplies=_supplies(file, policy, folder, source),
        settings=_settings(file.cluster),
        faults=tuple(fault.built() for fault in file.faults),
        seed=drawn,
        period=Seconds(file.period),
        duration=Seconds(file.duration or trace.duration_s),
    )


def _problem(source: str, error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"])
    return f"{source}: {place or 'file'}: {str(error['msg']).removeprefix('Value error, ')}"


def _policy(file: ScenarioFile, folder: Path) -> SLOPolicy:
    if file.policy is not None:
        (policy,) = load_policies([folder / file.policy]).policies
        return policy
    profiles = tuple(
        RequestProfile(
            part.name,
            SLO(Seconds(part.slo.ttft), Seconds(part.slo.itl), part.slo.attainment),
            Match(model_name=part.name) if part.name != "default" else Match(),
        )
        for part in file.profiles
    )
    variants = tuple(
        Variant(
            name=part.name,
            role=part.role,
            target=ScaleTarget("simulated", "apps/v1", "Deployment", part.name),
            accelerator=part.accelerator,
            accelerators_per_replica=part.accelerators_per_replica,
            cost_per_replica_hour=part.cost_per_replica_hour,
            min_replicas=part.min_replicas,
            max_replicas=part.max_replicas,
        )
        for part in file.variants
    )
    return SLOPolicy(file.name, "simulated", file.name, profiles, variants)


def with_picker(policy: SLOPolicy) -> SLOPolicy:
    """Return the policy as it reads where the tunnel's picker serves it: one that names no scheduler gets it.

    So replicas leave by the product's drain, as they do in a cluster whose policy names its InferencePool.
    """
    if policy.scheduler.kind is not SchedulerKind.NONE:
        return policy
    return replace(policy, scheduler=Scheduler(SchedulerKind.INFERENCE_POOL, policy.name))


def _trace(file: ScenarioFile, folder: Path, seed: int) -> Trace:
    if file.load.trace is not None:
        return file.load.trace.read(folder, file.duration, seed)
    seconds = file.duration or 0.0
    return load.compose([stream.built(seconds) for stream in file.load.streams], seed, name=file.name)


def _supplies(file: ScenarioFile, policy: SLOPolicy, folder: Path, source: str) -> dict[str, Supply]:
    known = {variant.name: variant for variant in policy.variants}
    supplies = {}
    for i, part in enumerate(file.supply):
        if part.variant not in known:
            msg = f"{source}: supply.{i}.variant: no variant {part.variant!r}; there are {', '.join(sorted(known))}"
            raise InputError(msg)
        variant = known[part.variant]
        named = part.performance or variant.performance_profile
        if named is None:
            msg = f"{source}: supply.{i}.performance: name a performance profile, such as {builtin_names()[0]}"
            raise InputError(msg)
        found = named if named in builtin_names() else folder / named
        start = part.start_up
        startup = StartUp(Seconds(start.median), start.spread, start.failing_share, Seconds(start.warm_up))
        supplies[variant.name] = Supply(
            load_profile(found).for_role(variant.role), startup, part.initial, part.inventory
        )
    return supplies


def _settings(part: ClusterPart) -> ClusterSettings:
    scraping = Scraping(
        Seconds(part.scrape_interval), Seconds(part.window), Seconds(part.scrape_delay), Seconds(part.stale_after)
    )
    return ClusterSettings(
        routing=part.routing,
        scraping=scraping,
        prefix_caching=part.prefix_caching,
        grace=Seconds(part.grace),
        hold_limit=None if part.hold_limit is None else Seconds(part.hold_limit),
    )
