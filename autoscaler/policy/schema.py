"""The schema of an SLOPolicy, field by field: what a file and a custom resource may say.

A field's docstring is its description in ``policies/schema.json``, in ``docs/reference/policy.md`` and in the CRD.
What one field alone cannot tell (bounds against each other, names used twice) is in ``checks.py``.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from pydantic.alias_generators import to_camel

from autoscaler.domain.policy import MetricsSource, Mode, Select, StepKind
from autoscaler.policy.types import (
    Accelerator,
    ApiVersion,
    Attainment,
    Count,
    Duration,
    LabelName,
    LargestShare,
    Name,
    ObjectName,
    PositiveCount,
    PositiveNumber,
    Priority,
    Text,
    Tolerance,
    WindowSeconds,
)

API_VERSION = "disagg-autoscaler.io/v1alpha1"
KIND = "SLOPolicy"


class Part(BaseModel):
    """What all parts of the schema share: immutable, camelCase, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, use_attribute_docstrings=True)


class Metadata(Part):
    """Who this policy is."""

    name: Name
    """Name of the policy."""
    namespace: Name = "default"
    """Namespace of the policy and of every workload that it names."""
    labels: dict[str, StrictStr] = {}
    """Labels, as on any Kubernetes object; not read by the autoscaler."""
    annotations: dict[str, StrictStr] = {}
    """Annotations, as on any Kubernetes object."""


class Match(Part):
    """How the metrics tell the requests of a profile; exactly one of the three."""

    model_name: Text | None = Field(None, examples=["qwen-rag"])
    """Model alias that the clients ask for."""
    fairness_id: Text | None = Field(None, alias="fairnessID", examples=["reasoning-team"])
    """Fairness id that the endpoint picker's flow control knows."""
    priority: Priority | None = None
    """Priority that the endpoint picker gave the requests."""


class Slo(Part):
    """What a profile was promised."""

    ttft: Duration = Field(examples=["2s"])
    """Longest time to first token."""
    itl: Duration = Field(examples=["50ms"])
    """Longest mean gap between the output tokens of a request."""
    attainment: Attainment = Field(0.99, examples=[0.99])
    """Share of requests that must keep both limits; failed requests are misses."""


class Profile(Part):
    """A class of requests with one SLO. The profile named ``default`` takes what no other matches."""

    name: Name
    """Name of the profile, as it appears in reasons and metrics."""
    match: Match | None = None
    """Which requests these are; only the profile named ``default`` goes without."""
    slo: Slo
    """Latency limits of these requests."""
    priority: Priority = 0
    """A profile with a larger number is served first when capacity is short."""


class ScaleTargetRef(Part):
    """An object with a ``/scale`` subresource, in the policy's namespace."""

    api_version: ApiVersion = Field(examples=["apps/v1"])
    """API group and version of the workload."""
    kind: Text = Field(examples=["Deployment"])
    """Kind of the workload."""
    name: ObjectName = Field(examples=["qwen-decode-h200"])
    """Name of the workload."""


class Variant(Part):
    """One scalable workload: one accelerator type, parallelism and price."""

    name: Name
    """Name of the variant, unique in the policy."""
    scale_target_ref: ScaleTargetRef
    """The workload whose replicas are scaled."""
    accelerator: Accelerator = Field(examples=["H200-SXM"])
    """Accelerator type; ``budget.acceleratorLimits`` counts by this name."""
    accelerators_per_replica: PositiveCount = 1
    """Accelerators that one replica occupies."""
    cost_per_replica_hour: PositiveNumber = Field(examples=[6.2])
    """Price of one replica for one hour, in any currency; only ratios matter."""
    min_replicas: Count = 1
    """Fewest replicas; 0 for all variants of prefill lets decode serve alone while there is no load."""
    max_replicas: PositiveCount = Field(examples=[12])
    """Most replicas."""
    performance_profile: Text | None = Field(None, examples=["h200-tp1-qwen3-32b"])
    """Name of a measured performance profile; without it a physics prior, corrected by what is observed."""


class Pool(Part):
    """All variants of one role."""

    variants: tuple[Variant, ...] = Field(min_length=1)
    """The workloads of this role."""
    tolerated_losses: Count = 0
    """How many replicas, of whichever variant, may be lost at one moment without a limit being missed."""


class Pools(Part):
    """The model's workloads by role: ``prefill`` and ``decode`` together, ``unified``, or all three."""

    prefill: Pool | None = None
    """Engines that compute prompts."""
    decode: Pool | None = None
    """Engines that generate output tokens."""
    unified: Pool | None = None
    """Engines that do both."""


class Budget(Part):
    """What all variants together may use; of several policies, where they share it."""

    accelerator_limits: dict[Accelerator, Count] = {}
    """Most accelerators by type; a type that is not listed is not limited."""
    cost_per_hour: PositiveNumber | None = None
    """Most cost of all replicas per hour, in the currency of ``costPerReplicaHour``."""
    shared_as: Name | None = Field(None, examples=["cluster"])
    """Policies that state the same name and limits use them up together, those of larger profile ``priority`` first."""


class Ratio(Part):
    """A guard on the balance of the two pools."""

    min_prefill_per_decode: PositiveNumber | None = None
    """Fewest prefill replicas per decode replica."""
    max_prefill_per_decode: PositiveNumber | None = None
    """Most prefill replicas per decode replica."""


class Spread(Part):
    """How far the load of each role is spread over its variants, so that no role depends on one of them alone."""

    max_share: LargestShare = Field(100, examples=[70])
    """Most of a role's load, in per cent, that is left to one variant: the others can do the rest. 100: no rule."""


class ScalingPolicy(Part):
    """A limit on the change within a period, as in HorizontalPodAutoscaler v2."""

    type: StepKind
    """Unit of the value."""
    value: PositiveCount
    """Most change within the period, in pods or per cent."""
    period_seconds: int = Field(ge=1, le=1800, strict=True)
    """Length of the period."""


class ScalingRules(Part):
    """Damping of one direction, in the words of HorizontalPodAutoscaler v2."""

    stabilization_window_seconds: WindowSeconds | None = None
    """How far back recommendations count; by default 0 for scaleUp and 300 for scaleDown."""
    policies: tuple[ScalingPolicy, ...] | None = Field(None, min_length=1)
    """Limits on the change; by default none."""
    select_policy: Select = Select.MAX
    """Which of several policies decides; Disabled forbids this direction."""
    tolerance: Tolerance = 0.0
    """A wish within this share of the present size is not acted on."""


class Behavior(Part):
    """Damping, applied last."""

    scale_up: ScalingRules = ScalingRules()
    """Damping of growth."""
    scale_down: ScalingRules = ScalingRules()
    """Damping of shrinkage."""


class Schedule(Part):
    """A recurring time span with a minimum of replicas, or with more load than usual."""

    name: Name
    """Name of the schedule, as it appears in reasons."""
    cron: Text = Field(examples=["0 8 * * 1-5"])
    """Begin of the time span: minute, hour, day of month, month, day of week."""
    duration: Duration = Field(examples=["10h"])
    """Length of the time span."""
    time_zone: Text = "UTC"
    """Time zone of the cron expression, e.g. Europe/Berlin."""
    min_replicas: dict[str, Count] = {}
    """Fewest replicas during the time span, by variant name."""
    load_factor: PositiveNumber = 1.0
    """Expected load during the time span, as a multiple of the usual."""


class Calendar(Part):
    """Days of work and of rest, for forecasts: where the people behind the load live."""

    country: Text = Field(examples=["DE"])
    """ISO 3166-1 code of the country; its weekends and public holidays are days of rest."""
    subdivision: Text | None = Field(None, examples=["BY"])
    """ISO 3166-2 code of a part of the country, without the country, for the holidays that only it has."""
    time_zone: Text = Field(examples=["Europe/Berlin"])
    """Time zone in which a day begins at midnight."""


class ScaleDown(Part):
    """How a replica leaves: withdrawn from the picker, emptied, then removed."""

    drain_timeout: Duration = Field("10m", validate_default=True)
    """Longest wait for the requests of a withdrawn replica."""
    max_concurrent_drains: PositiveCount = 2
    """Most replicas of a variant that drain at one time."""


class ScaleToZero(Part):
    """Whether an idle model may lose its last replica; needs a picker that holds requests meanwhile."""

    enabled: StrictBool = False
    """Whether it may; every variant then has ``minReplicas: 0``."""
    after: Duration = Field("30m", validate_default=True)
    """How long no request must have come, waited or run; ``behavior`` delays what follows."""


class Scheduler(Part):
    """Where the endpoint picker reads its members; exactly one of the four."""

    inference_pool: ObjectName | None = None
    """Name of the InferencePool."""
    pod_selector: Text | None = None
    """Label selector of the pods, as kubectl writes it."""
    endpoints_file: Text | None = None
    """Path of the endpoints file."""
    none: Literal[True] | None = None
    """No membership is published: pods come and go by readiness alone."""


class Metrics(Part):
    """Where the series of this model come from."""

    source: MetricsSource = MetricsSource.AUTO
    """Which series are read; ``auto`` takes what is there."""
    matchers: dict[LabelName, StrictStr] = {}
    """Label equalities added to every query, e.g. ``cluster: eu-1``."""


class Spec(Part):
    """What the operator wants for one model."""

    model: Text = Field(examples=["Qwen/Qwen3-32B"])
    """Served model name, as the metrics say it."""
    mode: Mode = Mode.RECOMMEND
    """``Auto`` acts; ``Recommend`` only says what it would do."""
    profiles: tuple[Profile, ...] = Field(min_length=1)
    """Classes of requests and their SLOs."""
    pools: Pools
    """The workloads."""
    budget: Budget = Budget()
    """Limits on accelerators and cost."""
    ratio: Ratio = Ratio()
    """Limits on the balance of prefill and decode."""
    spread: Spread = Spread()
    """Limit on what a role leaves to one of its variants."""
    behavior: Behavior = Behavior()
    """Damping of both directions."""
    schedules: tuple[Schedule, ...] = ()
    """Time spans known beforehand."""
    calendar: Calendar | None = None
    """Days of work and of rest; without it days begin at midnight UTC and all are alike."""
    scale_down: ScaleDown = ScaleDown()
    """How replicas leave."""
    scale_to_zero: ScaleToZero = ScaleToZero()
    """Whether an idle model may go to zero."""
    scheduler: Scheduler = Scheduler(none=True)
    """How pool membership reaches the endpoint picker; by default ``none: true``."""
    metrics: Metrics = Metrics()
    """Where the series come from."""


class SLOPolicyDocument(Part):
    """SLOs of a model's request profiles and the pools that may be sized to keep them."""

    model_config = ConfigDict(title=KIND)

    api_version: Literal["disagg-autoscaler.io/v1alpha1"]
    """Version of this schema."""
    kind: Literal["SLOPolicy"]
    """Always ``SLOPolicy``."""
    metadata: Metadata
    """Who this policy is."""
    spec: Spec
    """What is wanted."""
