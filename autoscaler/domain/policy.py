"""A parsed SLO policy: what ``policy.py`` makes of a file, and all that the core knows of the operator's wishes."""

from dataclasses import dataclass, field
from enum import StrEnum

from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.units import Seconds


class Mode(StrEnum):
    """Whether the controller acts or only says what it would do."""

    RECOMMEND = "Recommend"
    AUTO = "Auto"


class Select(StrEnum):
    """Which of several scaling policies counts, as in HorizontalPodAutoscaler v2."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class StepKind(StrEnum):
    """The unit of a scaling policy's value."""

    PODS = "Pods"
    PERCENT = "Percent"


@dataclass(frozen=True, slots=True)
class StepLimit:
    """At most ``value`` pods (or per cent) of change within ``period``."""

    kind: StepKind
    value: int
    period: Seconds


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction of ``behavior``, with exactly HPA v2's meaning."""

    stabilization_window: Seconds
    limits: tuple[StepLimit, ...] = ()  # none: no step limit
    select: Select = Select.MAX
    tolerance: float = 0.0  # a wish within this share of the present size is not acted on


@dataclass(frozen=True, slots=True)
class Behavior:
    """Damping, applied last; each cut is recorded beside the uncut wish."""

    scale_up: ScalingRules = field(default_factory=lambda: ScalingRules(Seconds(0.0)))
    scale_down: ScalingRules = field(default_factory=lambda: ScalingRules(Seconds(300.0)))


@dataclass(frozen=True, slots=True)
class Budget:
    """What all variants together may use; an accelerator that is not listed is not limited."""

    accelerator_limits: tuple[tuple[str, int], ...] = ()
    cost_per_hour: float | None = None
    shared_as: str = ""  # policies that say the same name use up these limits together; empty: this policy alone

    @property
    def limits_nothing(self) -> bool:
        """Tell whether any fleet keeps within it."""
        return not self.accelerator_limits and self.cost_per_hour is None


@dataclass(frozen=True, slots=True)
class RatioGuard:
    """Bounds of prefill replicas per decode replica; None: no bound."""

    min_prefill_per_decode: float | None = None
    max_prefill_per_decode: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """How far each role is spread over its variants: without any one of them the others do the rest of its load."""

    max_share: float = 1.0  # of what a role's load requires, that may be left to one variant; 1: no rule


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring time span with a minimum of replicas, or with load expected to be ``load_factor`` times the usual."""

    name: str
    cron: str
    duration: Seconds
    time_zone: str
    min_replicas: tuple[tuple[str, int], ...] = ()
    load_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where the people behind the load live: their days begin at midnight there, and they rest on its holidays."""

    country: str  # ISO 3166-1 code
    time_zone: str
    subdivision: str | None = None  # ISO 3166-2 code without the country; None: holidays of the whole country only


@dataclass(frozen=True, slots=True)
class ScaleDown:
    """How a replica leaves: withdrawn, emptied within the time limit, then removed."""

    drain_timeout: Seconds = Seconds(600.0)
    max_concurrent_drains: int = 2


@dataclass(frozen=True, slots=True)
class ScaleToZero:
    """Whether an idle model may go to zero replicas, and after how long without a request."""

    enabled: bool = False
    idle_after: Seconds = Seconds(1800.0)


class SchedulerKind(StrEnum):
    """Where the endpoint picker reads its members."""

    INFERENCE_POOL = "inferencePool"
    POD_SELECTOR = "podSelector"
    ENDPOINTS_FILE = "endpointsFile"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Scheduler:
    """How pool membership is published. ``selects``: name of the pool, label selector or path of the file."""

    kind: SchedulerKind = SchedulerKind.NONE
    selects: str = ""


class MetricsSource(StrEnum):
    """Which series are read: ``auto`` takes what is there."""

    AUTO = "auto"
    EPP_VLLM = "epp+vllm"
    VLLM = "vllm"
    SGLANG = "sglang"
    DYNAMO = "dynamo"


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where the series of this model come from; ``matchers`` are label equalities added to every query."""

    source: MetricsSource = MetricsSource.AUTO
    matchers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A version of a policy as its resource says it; ``spec``: as JSON."""

    generation: int
    spec: str


@dataclass(frozen=True, slots=True)
class SLOPolicy:
    """The operator's wishes for one model, checked and in domain terms."""

    name: str
    namespace: str
    model: str
    profiles: tuple[RequestProfile, ...]
    variants: tuple[Variant, ...]
    mode: Mode = Mode.RECOMMEND
    budget: Budget = field(default_factory=Budget)
    ratio: RatioGuard = field(default_factory=RatioGuard)
    spread: Spread = field(default_factory=Spread)
    behavior: Behavior = field(default_factory=Behavior)
    schedules: tuple[Schedule, ...] = ()
    calendar: Calendar | None = None  # None: days begin at midnight UTC, and all are alike
    scale_down: ScaleDown = field(default_factory=ScaleDown)
    scale_to_zero: ScaleToZero = field(default_factory=ScaleToZero)
    scheduler: Scheduler = field(default_factory=Scheduler)
    metrics: Metrics = field(default_factory=Metrics)
    tolerated_losses: tuple[tuple[Role, int], ...] = ()  # replicas that each role can spare at any moment; else none

    @property
    def key(self) -> str:
        """Identify this policy among those of one controller: ``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def profile(self, name: str) -> RequestProfile:
        """Return a profile by name."""
        return next(profile for profile in self.profiles if profile.name == name)

    def variant(self, name: str) -> Variant:
        """Return a variant by name."""
        return next(variant for variant in self.variants if variant.name == name)

    def losses(self, role: Role) -> int:
        """Return how many replicas of a role may be lost without a limit being missed."""
        return dict(self.tolerated_losses).get(role, 0)

    def pool(self, role: Role) -> tuple[Variant, ...]:
        """Return the variants of a role."""
        return tuple(variant for variant in self.variants if variant.role is role)
