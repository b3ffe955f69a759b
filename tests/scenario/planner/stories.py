"""Stories told to a Decider: what is observed tick after tick, on engines like one H200 with Qwen3-32B."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoscaler.decider import Decider
from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import EngineLoad, Latency, ModelObservation, Moments, Observation, ProfileLoad
from autoscaler.domain.plan import ModelPlan, Scale
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.performance.profile import load_profile
from tests import planning

PERIOD = Seconds(15.0)
ABSENT = Missing(GapReason.ABSENT, planning.NOW)
H200 = load_profile("h200-tp1-qwen3-32b")


@dataclass(frozen=True)
class Kind:
    """Requests of one profile: how many, how long."""

    rate: float
    prompt: float
    output: float

    def load(self, profile: str, ttft: Signal[Latency] = ABSENT, itl: Signal[Latency] = ABSENT) -> ProfileLoad:
        return ProfileLoad(
            profile=profile,
            requests_per_second=self.rate,
            prompt_tokens_per_second=self.rate * self.prompt,
            uncached_prompt_tokens_per_second=self.rate * self.prompt,
            output_tokens_per_second=self.rate * self.output,
            prompt_tokens=Moments(self.prompt, 1.3 * self.prompt**2),
            output_tokens=Moments(self.output, 1.3 * self.output**2),
            ttft=ttft,
            itl=itl,
            queued_requests=0.0,
        )


def codes(plan: ModelPlan, name: str) -> set[Code]:
    return {reason.code for reason in plan.variants[name].reasons}


def served(within: float) -> Latency:
    return Latency(0.1, 0.1, 0.1, 0.1, within, 500.0)


@dataclass
class Story:
    """A Decider and the fleet it sees; ``obeys``: what it asks for is written at once, and starts take ``startup``."""

    policy: SLOPolicy
    ready: dict[str, int]
    startup: float = 120.0
    obeys: bool = True
    at: float = float(planning.NOW)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.decider = self.fresh()
        for name, number in self.ready.items():
            self.pods[name] = [self._pod(name, PodState.READY, self.at - 9000) for _ in range(number)]
        self.requested = dict(self.ready)

    def fresh(self) -> Decider:
        """Return a decider without experience, as after a restart."""
        priors = {v.name: Prior(H200.for_role(v.role), MEASURED) for v in self.policy.variants}
        return Decider([self.policy], {self.policy.key: priors}, period=PERIOD)

    def _pod(self, name: str, state: PodState, created: float) -> Pod:
        self.count += 1
        ready = Instant(created + self.startup) if state is PodState.READY else None
        scheduled = None if state is PodState.PENDING else Instant(created)
        return Pod(f"{name}-{self.count}", name, state, Instant(created), scheduled=scheduled, ready_since=ready)

    def tick(
        self,
        loads: Mapping[str, ProfileLoad],
        *,
        engines: Mapping[str, Mapping[str, Signal[float]]] | None = None,
        silent: Sequence[str] = (),
        stuck: Sequence[str] = (),
        seconds: float = PERIOD,
        fleet: Mapping[str, Signal[Workload]] | None = None,
    ) -> ModelPlan:
        """Observe once and decide.

        Args:
            loads: by profile.
            engines: fields of the engines of a variant that differ from an idle, healthy one.
            silent: variants whose engines do not report.
            stuck: variants whose new pods find no node.
            seconds: until this tick since the last.
            fleet: workloads that are seen otherwise than they are.
        """
        self.at += seconds
        self._start(stuck)
        special = engines or {}
        reports: dict[str, EngineLoad] = {}
        for name, pods in self.pods.items():
            for pod in pods:
                if pod.state is PodState.READY and name not in silent:
                    usual = replace(planning.engine(pod.name), newest_sample=Instant(self.at))
                    reports[pod.name] = replace(usual, **special.get(name, {}))  # type: ignore[arg-type]
        seen: dict[str, Signal[Workload]] = {
            name: Workload(name, self.requested[name], tuple(pods)) for name, pods in self.pods.items()
        }
        observed = ModelObservation(self.policy.key, loads, seen | dict(fleet or {}), reports, 0.0)
        plan = self.decider.decide(Observation(Instant(self.at), {self.policy.key: observed})).models[self.policy.key]
        if self.obeys:
            for action in plan.actions:
                if isinstance(action, Scale):
                    self.requested[action.variant.variant] = action.replicas
        return plan

    def _start(self, stuck: Sequence[str]) -> None:
        for name, wanted in self.requested.items():
            pods = [self._older(pod, stuck=name in stuck) for pod in self.pods[name]]
            state = PodState.PENDING if name in stuck else PodState.STARTING
            pods += [self._pod(name, state, self.at - PERIOD) for _ in range(wanted - len(pods))]
            self.pods[name] = pods[:wanted]

    def _older(self, pod: Pod, *, stuck: bool) -> Pod:
        if pod.state is PodState.PENDING and not stuck:
            pod = replace(pod, state=PodState.STARTING, scheduled=Instant(self.at - PERIOD))
        began = pod.scheduled
        if pod.state is PodState.STARTING and began is not None and self.at - began >= self.startup:
            return replace(pod, state=PodState.READY, ready_since=Instant(self.at))
        return pod

    def settled(self, loads: Mapping[str, ProfileLoad], ticks: int = 40) -> ModelPlan:
        """Tell the same many times; return the last plan."""
        return [self.tick(loads) for _ in range(ticks)][-1]


def pair(prefill: int = 2, decode: int = 2, *, most: int = 40, startup: float = 120.0, **kwargs: object) -> Story:
    """Return a story of one variant per role."""
    variants = [planning.variant(role, most=most) for role in (Role.PREFILL, Role.DECODE)]
    policy = planning.policy(*variants, **kwargs)  # type: ignore[arg-type]
    return Story(policy, {"prefill": prefill, "decode": decode}, startup)
