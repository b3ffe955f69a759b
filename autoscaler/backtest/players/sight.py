"""What a metrics stack and the API show of one variant."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from autoscaler.domain.fleet import PodState
from autoscaler.domain.observation import EngineLoad, ModelObservation, Observation, ProfileLoad
from autoscaler.domain.plan import ModelPlan, Plan, Scale, VariantPlan, VariantRef
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.signal import Signal, is_present
from autoscaler.domain.units import Instant

Gauge = Callable[[EngineLoad], Signal[float]]


@dataclass(frozen=True, slots=True)
class Sight:
    """One variant at one moment."""

    at: Instant
    variant: Variant
    requested: int  # spec.replicas
    existing: int  # status.replicas
    ready: int
    pending: int  # not on a node, or crashed: HPA calls them unready
    engines: tuple[EngineLoad, ...]  # of Ready pods that report

    def samples(self, gauge: Gauge) -> list[float]:
        """Return a gauge of every Ready pod that reports it."""
        return [value for value in map(gauge, self.engines) if is_present(value)]

    @property
    def missing(self) -> int:
        """Count Running pods without metrics: vLLM serves none while it loads."""
        return self.existing - self.pending - len(self.engines)


def running(engine: EngineLoad) -> Signal[float]:
    """Read ``vllm:num_requests_running``."""
    return engine.running


def waiting(engine: EngineLoad) -> Signal[float]:
    """Read ``vllm:num_requests_waiting``."""
    return engine.waiting


def concurrency(engine: EngineLoad) -> Signal[float]:
    """Read running plus waiting requests."""
    if not is_present(engine.running):
        return engine.running
    return engine.running + engine.waiting if is_present(engine.waiting) else engine.waiting


def kv_use(engine: EngineLoad) -> Signal[float]:
    """Read ``vllm:kv_cache_usage_perc``."""
    return engine.kv_use_ratio


def sight(at: Instant, observed: ModelObservation, variant: Variant) -> Sight | None:
    """Return what is shown of a variant; None if the API does not tell its workload."""
    workload = observed.fleet.get(variant.name)
    if workload is None or not is_present(workload):
        return None
    ready = workload.in_state(PodState.READY)
    return Sight(
        at=at,
        variant=variant,
        requested=workload.requested,
        existing=len(workload.pods) - len(workload.in_state(PodState.TERMINATING)),
        ready=len(ready),
        pending=len(workload.in_state(PodState.PENDING, PodState.FAILED)),
        engines=tuple(observed.engines[pod.name] for pod in ready if pod.name in observed.engines),
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """All profiles together, as a planner without profiles sees them; zero where nothing is told."""

    requests_per_second: float
    input_tokens: float  # mean
    output_tokens: float  # mean
    uncached_share: float


def traffic(loads: Mapping[str, ProfileLoad]) -> Traffic:
    """Return the sum over profiles; an absent series adds nothing, as a sum in PromQL reads it."""

    def total(read: Callable[[ProfileLoad], Signal[float]]) -> float:
        return sum(value for value in map(read, loads.values()) if is_present(value))

    rate = total(lambda load: load.requests_per_second)
    prompts = total(lambda load: load.prompt_tokens_per_second)
    uncached = total(lambda load: load.uncached_prompt_tokens_per_second)
    outputs = total(lambda load: load.output_tokens_per_second)
    if rate <= 0:
        return Traffic(0.0, 0.0, 0.0, 1.0)
    return Traffic(rate, prompts / rate, outputs / rate, uncached / prompts if prompts > 0 else 1.0)


def planned(at: Instant, policy: SLOPolicy, observed: ModelObservation, wanted: Mapping[str, int]) -> Plan:
    """Return the plan that sets variants to the wanted replicas; what is not named stays as it is."""
    actions, variants = [], {}
    for name, replicas in wanted.items():
        workload = observed.fleet[name]
        if not is_present(workload):
            continue
        variants[name] = VariantPlan.of(replicas)
        if replicas != workload.requested:
            actions.append(Scale(VariantRef(policy.key, name), replicas, workload.requested))
    model = ModelPlan(policy.key, MappingProxyType(variants), tuple(actions))
    return Plan(at, MappingProxyType({policy.key: model}))


class Player(ABC):
    """Decides for one policy: asks ``wanted`` where the model is observed, and holds where it is not."""

    def __init__(self, policy: SLOPolicy) -> None:
        """Play for a policy."""
        self.policy = policy

    def decide(self, observation: Observation) -> Plan:
        """Return what to do now."""
        observed = observation.models.get(self.policy.key)
        if observed is None:
            return Plan(observation.at)
        return planned(observation.at, self.policy, observed, self.wanted(observation.at, observed))

    @abstractmethod
    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Return replicas by variant; what is not named stays."""

    def sights(self, at: Instant, observed: ModelObservation) -> list[Sight]:
        """Return what is shown of every variant."""
        seen = (sight(at, observed, variant) for variant in self.policy.variants)
        return [each for each in seen if each is not None]
