"""The ``status`` of an SLOPolicy resource, field by field; the CRD is generated from these models too.

Absent means not known: a count that could not be read is left out, never 0.
"""

from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from autoscaler.policy.schema import Part

DECISIONS_KEPT = 10
LONGEST_MESSAGE = 1024
LONGEST_SPEC = 1 << 17
"""Characters of the spec in office; the API server takes objects of 1.5 MiB."""


class ConditionType(StrEnum):
    """What a condition is about; each policy has all of them."""

    READY = "Ready"
    METRICS_AVAILABLE = "MetricsAvailable"
    SCHEDULER_IN_SYNC = "SchedulerInSync"
    ABLE_TO_SCALE = "AbleToScale"
    WITHIN_BUDGET = "WithinBudget"
    RECOMMENDATION_PROVIDED = "RecommendationProvided"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionReason(StrEnum):
    """Why a condition is as it is. Bounded and stable; ``docs/reference/conditions.md`` tells what to do about each."""

    AS_WANTED = "AsWanted"
    NOT_OBSERVED = "NotObserved"
    POLICY_INVALID = "PolicyInvalid"
    METRICS_MISSING = "MetricsMissing"
    WORKLOAD_UNKNOWN = "WorkloadUnknown"
    STEP_FAILED = "StepFailed"
    SERIES_FRESH = "SeriesFresh"
    SERIES_ABSENT = "SeriesAbsent"
    SERIES_STALE = "SeriesStale"
    SERIES_PARTIAL = "SeriesPartial"
    SERIES_CONTRADICT = "SeriesContradict"
    SOURCE_UNREACHABLE = "SourceUnreachable"
    NOT_MANAGED = "NotManaged"
    NOT_CONFIRMED = "NotConfirmed"
    IN_SYNC = "InSync"
    OUT_OF_SYNC = "OutOfSync"
    RECOMMEND_ONLY = "RecommendOnly"
    WRITABLE = "Writable"
    FOREIGN_WRITER = "ForeignWriter"
    WRITE_CONFLICT = "WriteConflict"
    WRITE_REFUSED = "WriteRefused"
    WRITE_FAILED = "WriteFailed"
    PAUSED = "Paused"
    NO_BUDGET = "NoBudget"
    BUDGET_SUFFICES = "BudgetSuffices"
    BUDGET_SHORT = "BudgetShort"
    DECIDED = "Decided"
    PARTLY_HELD = "PartlyHeld"
    HELD = "Held"


class Stated(Part):
    """What all parts of a status share: written by their Python names here, by their camelCase names in a resource."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class Condition(Stated):
    """One statement about the policy, as Kubernetes' own conditions are."""

    type: ConditionType
    """What this is about."""
    status: ConditionStatus
    """Whether it holds."""
    reason: ConditionReason
    """Why, as one of a bounded set."""
    message: str = Field("", max_length=LONGEST_MESSAGE)
    """Why, in words, with the way out."""
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    """When the status last changed."""
    observed_generation: int = Field(0, ge=0)
    """Generation of the policy that this was seen with."""


class VariantStatus(Stated):
    """One workload: what it has and what it should have."""

    name: str
    """Name of the variant."""
    role: Literal["prefill", "decode", "unified"]
    """What its engines do."""
    requested: int | None = Field(None, ge=0)
    """Replicas that the workload's spec asks for."""
    ready: int | None = Field(None, ge=0)
    """Replicas that serve now."""
    draining: int | None = Field(None, ge=0)
    """Replicas withdrawn from the picker."""
    wanted: int | None = Field(None, ge=0)
    """Replicas that the plan asks for."""
    uncapped: int | None = Field(None, ge=0)
    """Replicas that load asks for, before bounds, budget and damping."""
    reasons: tuple[str, ...] = Field((), max_length=16)
    """Codes of the reasons for the wanted count, in the order in which they applied."""


class ProfileStatus(Stated):
    """One class of requests: how well it is served."""

    name: str
    """Name of the profile."""
    target: float
    """Share of requests that must keep both limits."""
    ttft: float | None = None
    """Share of requests inside the TTFT limit."""
    itl: float | None = None
    """Share of tokens inside the ITL limit."""


class Decision(Stated):
    """A count that was decided anew, and what became of it."""

    at: str = Field(json_schema_extra={"format": "date-time"})
    """When."""
    variant: str
    """Name of the variant."""
    observed: int = Field(ge=0)
    """Replicas requested before."""
    wanted: int = Field(ge=0)
    """Replicas wanted from then on."""
    result: str
    """What became of it: done, unchanged, dry-run, conflict, refused or failed."""
    reasons: tuple[str, ...] = Field((), max_length=16)
    """Codes of the reasons."""
    message: str = Field("", max_length=LONGEST_MESSAGE)
    """The reasons in words."""


class Summary(Stated):
    """What the columns of ``kubectl get`` show."""

    prefill: str | None = None
    """Ready and wanted prefill replicas, such as 2/3; ? where unknown."""
    decode: str | None = None
    """Ready and wanted decode replicas."""
    unified: str | None = None
    """Ready and wanted unified replicas."""
    attainment: str | None = None
    """The smallest share of requests (TTFT) or tokens (ITL) inside its limit, of all profiles."""
    cost_per_hour: str | None = None
    """Cost of the requested replicas for one hour, in the policy's currency."""


class InOffice(Stated):
    """The version of the policy that is decided for; a restart goes on with it while a newer one cannot be used."""

    generation: int = Field(0, ge=0)
    """Generation of the policy that said it."""
    spec: str = Field(max_length=LONGEST_SPEC)
    """Its spec, as JSON."""


class PolicyStatus(Stated):
    """What the controller says of a policy."""

    observed_generation: int = Field(0, ge=0)
    """Generation of the policy that this was seen with."""
    in_office: InOffice | None = None
    """The version that is decided for; absent: none, or it is too large to be repeated here."""
    summary: Summary = Summary()
    """What the columns of ``kubectl get`` show."""
    variants: tuple[VariantStatus, ...] = Field((), max_length=48)
    """Every workload."""
    profiles: tuple[ProfileStatus, ...] = Field((), max_length=64)
    """Every class of requests."""
    decisions: tuple[Decision, ...] = Field((), max_length=DECISIONS_KEPT)
    """The last decisions that changed a wanted count, newest first."""
    conditions: tuple[Condition, ...] = Field((), max_length=16)
    """What holds and what does not."""
