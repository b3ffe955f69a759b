"""The controller's own metrics, drawn from each tick's record."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from autoscaler.domain.membership import Membership
from autoscaler.domain.observation import Latency, ModelObservation
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.domain.signal import Missing
from autoscaler.publish.conditions import disagreements

VARIANT = ("policy", "variant", "role")
PROFILE = ("policy", "profile")
STEP_BUCKETS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class OwnMetrics:
    """Holds the collectors; gauges tell of the last tick alone, targets of the policies that are decided for."""

    def __init__(self, registry: CollectorRegistry, policies: Sequence[SLOPolicy] = (), *, shard: str = "1/1") -> None:
        """Register the collectors, for whichever policies will be decided for by this of several controllers."""
        gauge = _gauges(registry)
        self._shard = gauge("shard_info", "1; the label says which part of the namespaces is decided for.", ("shard",))
        self._shard.labels(shard).set(1)
        self._wanted = gauge("wanted_replicas", "Replicas the plan asks for.", VARIANT)
        self._uncapped = gauge("uncapped_replicas", "Replicas before bounds, budget and damping.", VARIANT)
        self._requested = gauge("requested_replicas", "Replicas that the scale target's spec asks for.", VARIANT)
        self._ready = gauge("ready_replicas", "Replicas that serve now.", VARIANT)
        self._draining = gauge("draining_replicas", "Replicas withdrawn from the picker.", VARIANT)
        self._disagreements = gauge(
            "picker_disagreements", "Pods of which some picker's list is not what is published.", ("policy",)
        )
        self._requests = gauge("demand_requests_per_second", "Demand the plan was sized for.", PROFILE)
        self._prompt = gauge("demand_uncached_prompt_tokens_per_second", "Prefill demand sized for.", PROFILE)
        self._output = gauge("demand_output_tokens_per_second", "Decode demand sized for.", PROFILE)
        self._ttft = gauge("ttft_attainment_ratio", "Share of requests inside the TTFT limit.", PROFILE)
        self._itl = gauge("itl_attainment_ratio", "Share of tokens inside the ITL limit.", PROFILE)
        self._target = gauge("attainment_target_ratio", "Share that the policy asks for.", PROFILE)
        self._gaps = gauge("missing_signals", "Signals missing in the last tick.", ("reason",))
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
        for gauge in self._gauges:
            gauge.clear()
        self._loop(record)
        for policy, model in record.plan.models.items():
            self._plan(policy, model)
        for policy, observed in record.observation.models.items():
            self._fleet(policy, observed)
            self._latencies(policy, observed)
            self._membership(policy, observed)

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
        for gap in record.observation.gaps:
            self._gaps.labels(gap.missing.reason.value).inc()

    def _plan(self, policy: str, model: ModelPlan) -> None:
        for name, plan in model.variants.items():
            labels = (policy, name, self._roles.get((policy, name), ""))
            self._wanted.labels(*labels).set(plan.target)
            self._uncapped.labels(*labels).set(plan.uncapped)
        for name, outlook in model.outlook.items():
            self._requests.labels(policy, name).set(outlook.requests_per_second)
            self._prompt.labels(policy, name).set(outlook.uncached_prompt_tokens_per_second)
            self._output.labels(policy, name).set(outlook.output_tokens_per_second)

    def _fleet(self, policy: str, observed: ModelObservation) -> None:
        for name, workload in observed.fleet.items():
            labels = (policy, name, self._roles.get((policy, name), ""))
            if isinstance(workload, Missing):
                continue
            self._requested.labels(*labels).set(workload.requested)
            self._ready.labels(*labels).set(workload.ready)
            self._draining.labels(*labels).set(workload.draining)

    def _membership(self, policy: str, observed: ModelObservation) -> None:
        if isinstance(observed.membership, Membership):
            self._disagreements.labels(policy).set(len(disagreements(observed, observed.membership)))

    def _latencies(self, policy: str, observed: ModelObservation) -> None:
        for name, load in observed.loads.items():
            for gauge, latency in ((self._ttft, load.ttft), (self._itl, load.itl)):
                if isinstance(latency, Latency):
                    gauge.labels(policy, name).set(latency.within_slo)


def _gauges(registry: CollectorRegistry) -> Callable[[str, str, tuple[str, ...]], Gauge]:
    """Return a maker of gauges that share a prefix and a registry."""

    def gauge(name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"autoscaler_{name}", text, labels, registry=registry)

    return gauge
