"""Counts for an HPA or KEDA to apply: what a target should ask for now, each step of a drain included."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Gauge

from autoscaler.domain.fleet import Workload
from autoscaler.domain.plan import Scale
from autoscaler.domain.policy import Mode, SLOPolicy
from autoscaler.domain.record import Result, TickRecord

LABELS = ("variant_name", "namespace", "accelerator_type")
Labels: TypeAlias = tuple[str, str, str]


class Counts:
    """A ``Publisher`` of one gauge per variant of a policy in mode Auto, named as llm-d's autoscaler names its own.

    An HPA reads it as an External metric with AverageValue 1, KEDA with threshold 1. Where nothing is known of a target
    there is no series, so that whoever reads it holds.
    """

    def __init__(self, registry: CollectorRegistry, name: str = "wva_desired_replicas") -> None:
        """Register the gauge."""
        self._gauge = Gauge(name, "Replicas that the target should ask for now.", LABELS, registry=registry)
        self._policies: tuple[SLOPolicy, ...] = ()
        self._shown: set[Labels] = set()

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Publish for these policies from now on."""
        self._policies = tuple(policy for policy in policies if policy.mode is Mode.AUTO)

    async def publish(self, record: TickRecord) -> None:
        """Set the gauge from one tick."""
        counts = {labels: count for policy in self._policies for labels, count in _counts(policy, record)}
        for labels, count in counts.items():
            self._gauge.labels(*labels).set(count)
        for labels in self._shown - counts.keys():
            self._gauge.remove(*labels)
        self._shown = set(counts)


def _counts(policy: SLOPolicy, record: TickRecord) -> Iterator[tuple[Labels, int]]:
    """Yield what each target of a policy should ask for: what was decided, else what it asks for now."""
    decided = {
        result.action.variant: result.action.replicas
        for result in record.outcome.results
        if isinstance(result.action, Scale) and result.result is Result.DONE
    }
    of_policy = {ref.variant: count for ref, count in decided.items() if ref.policy == policy.key}
    observed = record.observation.models.get(policy.key)
    for variant in policy.variants:
        workload = observed.fleet.get(variant.name) if observed is not None else None
        if isinstance(workload, Workload):
            labels = (variant.target.name, variant.target.namespace, variant.accelerator)
            yield labels, of_policy.get(variant.name, workload.requested)
