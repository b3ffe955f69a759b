"""The controller's own metrics, drawn from each tick's record."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from autoscaler.domain.membership import Membership
from autoscaler.domain.observation import Latency, ModelObservation
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.domain.signal import Missing
from autoscaler.publish.conditions import disagreements

Labels: TypeAlias = tuple[str, ...]

VARIANT = ("policy", "variant", "role")
PROFILE = ("policy", "profile")
STEP_BUCKETS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _Latest:
    """A gauge that tells of the last tick alone. Series that stay are kept: thousands to make anew take a while."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._series: dict[Labels, Gauge] = {}

    def show(self, values: Mapping[Labels, float]) -> None:
        """Show these values, and no others."""
        for labels in self._series.keys() - values.keys():
            self._gauge.remove(*labels)
            del self._series[labels]
        for labels, value in values.items():
            series = self._series.get(labels)
            if series is None:
                series = self._series[labels] = self._gauge.labels(*labels)
            series.set(value)


Told: TypeAlias = tuple[_Latest, Labels, float]
"""What one series shows of a tick."""


class OwnMetrics:
    """Holds the collectors; gauges tell of the last tick alone, targets of the policies that are decided for."""

    def __init__(self, registry: CollectorRegistry, policies: Sequence[SLOPolicy] = (), *, shard: str = "1/1") -> None:
        """Register the collectors, for whichever policies will be decided for by this of several controllers."""
        gauge = _gauges(registry)

        def latest(name: str, text: str, labels: tuple[str, ...]) -> _Latest:
            return _Latest(gauge(name, text, labels))

        self._shard = gauge("shard_info", "1; the label says which part of the namespaces is decided for.", ("shard",))
        self._shard.labels(shard).set(1)
        self._wanted = latest("wanted_replicas", "Replicas the plan asks for.", VARIANT)
        self._uncapped = latest("uncapped_replicas", "Replicas before bounds, budget and damping.", VARIANT)
        self._requested = latest("requested_replicas", "Replicas that the scale target's spec asks for.", VARIANT)
        self._ready = latest("ready_replicas", "Replicas that serve now.", VARIANT)
        self._draining = latest("draining_replicas", "Replicas withdrawn from the picker.", VARIANT)
        self._disagreements = latest(
            "picker_disagreements", "Pods of which some picker's list is not what is published.", ("policy",)
        )
        self._requests = latest("demand_requests_per_second", "Demand the plan was sized for.", PROFILE)
        self._prompt = latest("demand_uncached_prompt_tokens_per_second", "Prefill demand sized for.", PROFILE)
        self._output = latest("demand_output_tokens_per_second", "Decode demand sized for.", PROFILE)
        self._ttft = latest("ttft_attainment_ratio", "Share of requests inside the TTFT limit.", PROFILE)
        self._itl = latest("itl_attainment_ratio", "Share of tokens inside the ITL limit.", PROFILE)
        self._target = gauge("attainment_target_ratio", "Share that the policy asks for.", PROFILE)
        self._gaps = latest("missing_signals", "Signals missing in the last tick.", ("reason",))
        self._succeeded = gauge("last_success_timestamp_seconds", "When a tick last succeeded.", ())
        self._ticks = Counter("autoscaler_ticks", "Ticks, by how they ended.", ("succeeded",), registry=registry)
        self._errors = Counter("autoscaler_step_errors", "Failed steps.", ("step", "kind"), registry=registry)
        self._actions = Counter("autoscaler_actions", "Actions tried.", ("action", "result"), registry=registry)
        self._seconds = Histogram(
            "autoscaler_step_seconds", "Duration of a tick's steps.", ("step",), registry=registry, buckets=STEP_BUCKETS
        )
        self._gauges = (
            *(self._wanted, self._uncapped, self._requested, self._ready, self._draining),
            *(self._requests, self._prompt, self._output, self._ttft, self._itl, self._gaps, self._disagreements),
        )
        self.follow(policies)

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Decide for these policies, and no others, from now on."""
        self._roles = {
            (policy.key, variant.name): variant.role.value for policy in policies for variant in policy.variants
        }
        self._target.clear()
        for policy in policies:
            for profile in policy.profiles:
                self._target.labels(policy.key, profile.name).set(profile.slo.attainment)

    async def publish(self, record: TickRecord) -> None:
        """Set every series from one tick; what the tick does not know is no series: neither 0 nor an old value."""
        self._loop(record)
        told: dict[_Latest, dict[Labels, float]] = {gauge: {} for gauge in self._gauges}
        for gauge, labels, value in self._told(record):
            told[gauge][labels] = value
        for gauge, values in told.items():
            gauge.show(values)

    def _told(self, record: TickRecord) -> Iterator[Told]:
        for reason, gaps in collections.Counter(gap.missing.reason.value for gap in record.observation.gaps).items():
            yield self._gaps, (reason,), gaps
        for policy, model in record.plan.models.items():
            yield from self._plan(policy, model)
        for policy, observed in record.observation.models.items():
            yield from self._fleet(policy, observed)
            yield from self._latencies(policy, observed)
            if isinstance(observed.membership, Membership):
                yield self._disagreements, (policy,), len(disagreements(observed, observed.membership))

    def _loop(self, record: TickRecord) -> None:
        well = record.succeeded or record.idle
        self._ticks.labels(str(well).lower()).inc()
        if well:
            self._succeeded.set(record.observation.at)
        for failure in record.failures:
            self._errors.labels(failure.step.value, failure.kind).inc()
        for result in record.outcome.results:
            self._actions.labels(type(result.action).__name__, result.result.value).inc()
        for step, seconds in record.step_seconds.items():
            self._seconds.labels(step.value).observe(seconds)

    def _plan(self, policy: str, model: ModelPlan) -> Iterator[Told]:
        for name, plan in model.variants.items():
            labels = (policy, name, self._roles.get((policy, name), ""))
            yield self._wanted, labels, plan.target
            yield self._uncapped, labels, plan.uncapped
        for name, outlook in model.outlook.items():
            yield self._requests, (policy, name), outlook.requests_per_second
            yield self._prompt, (policy, name), outlook.uncached_prompt_tokens_per_second
            yield self._output, (policy, name), outlook.output_tokens_per_second

    def _fleet(self, policy: str, observed: ModelObservation) -> Iterator[Told]:
        for name, workload in observed.fleet.items():
            if isinstance(workload, Missing):
                continue
            labels = (policy, name, self._roles.get((policy, name), ""))
            yield self._requested, labels, workload.requested
            yield self._ready, labels, workload.ready
            yield self._draining, labels, workload.draining

    def _latencies(self, policy: str, observed: ModelObservation) -> Iterator[Told]:
        for name, load in observed.loads.items():
            for gauge, latency in ((self._ttft, load.ttft), (self._itl, load.itl)):
                if isinstance(latency, Latency):
                    yield gauge, (policy, name), latency.within_slo


def _gauges(registry: CollectorRegistry) -> Callable[[str, str, tuple[str, ...]], Gauge]:
    """Return a maker of gauges that share a prefix and a registry."""

    def gauge(name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"autoscaler_{name}", text, labels, registry=registry)

    return gauge
