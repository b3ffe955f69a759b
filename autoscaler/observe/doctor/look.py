"""Takes the look at metrics that checks are made on: the same from a Prometheus and from a recording."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from autoscaler.domain.fleet import Workload
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe.catalogue import POD, ROLE
from autoscaler.observe.doctor.findings import MetricsLook, Series
from autoscaler.observe.doctor.metrics import INVENTORY
from autoscaler.observe.engines import ROLE_LABELS
from autoscaler.observe.fleet import FleetSource, FleetView
from autoscaler.observe.observer import ClusterObserver, MetricsSource
from autoscaler.observe.profiles import ProfileTable
from autoscaler.observe.samples import Row, Snapshot, ratio, total


class Inspectable(MetricsSource, Protocol):
    """A source that also tells which series it has at all."""

    async def present(self, names: Sequence[str], now: Instant) -> tuple[Row, ...] | Missing:
        """Return the series of these names that are there now, of every namespace, each with all its labels."""
        ...

    async def scrape_interval(self, now: Instant) -> Seconds | None:
        """Return the distance of samples; None if that cannot be told."""
        ...


async def at_metrics(
    policies: Sequence[SLOPolicy], source: Inspectable, fleet: FleetSource, now: Instant
) -> MetricsLook:
    """Return what a source shows now.

    Raises:
        ObservationError: it does not answer, or not to the question which series there are.
    """
    snapshot = await source.read(now)
    series = await source.present(INVENTORY, now)
    if isinstance(series, Missing):
        raise ObservationError(series.detail)
    views = await fleet.fleets(now)
    return MetricsLook(
        at=now,
        series=tuple(Series(row.labels.get("__name__", ""), row.labels) for row in series),
        observation=await ClusterObserver(policies, source, fleet).observe(now),
        failures={name: rows for name, rows in snapshot.readings.items() if isinstance(rows, Missing)},
        fleet=views,
        windows=source.windows,
        interval=await source.scrape_interval(now),
        token_ratios={p.key: r for p in policies if (r := _token_ratio(p, snapshot)) is not None},
        local_prefill={p.key: r for p in policies if (r := _local_prefill(p, snapshot, views.get(p.key))) is not None},
    )


def _token_ratio(policy: SLOPolicy, snapshot: Snapshot) -> float | None:
    """Return observations of output lengths per response; None where nothing was answered."""
    table = ProfileTable(policy)
    buckets = [r for r in snapshot.rows("output_tokens_bucket") if table.owns(r) and r.labels.get("le") == "+Inf"]
    responses = total([row for row in snapshot.rows("durations") if table.owns(row)])
    return ratio(total(buckets) or 0.0, responses) if responses else None


def _local_prefill(policy: SLOPolicy, snapshot: Snapshot, view: FleetView | None) -> float | None:
    """Return the share of their prompt tokens that decode pods computed; None where none came."""
    roles = _roles(policy, view)
    rows = [
        row
        for row in snapshot.rows("prompt_sources")
        if row.labels.get("namespace") == policy.namespace
        and roles.get(row.labels.get(POD, ""), ROLE_LABELS.get(row.labels.get(ROLE, ""))) is Role.DECODE
    ]
    came, local = total(rows), [row for row in rows if row.labels.get("source") == "local_compute"]
    return ratio(total(local) or 0.0, came) if came else None


def _roles(policy: SLOPolicy, view: FleetView | None) -> Mapping[str, Role]:
    workloads = [w for w in view.workloads.values() if isinstance(w, Workload)] if view else []
    return {pod.name: policy.variant(pod.variant).role for w in workloads for pod in w.pods}
