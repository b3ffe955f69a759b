"""All that one tick knows: load per profile, the fleet, what the engines report, and what is missing.

``Observation.at`` is the only "now" the core knows. Every measured value is a ``Signal``: present or ``Missing``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.fleet import Workload
from autoscaler.domain.membership import Membership
from autoscaler.domain.signal import Gap, GapReason, Missing, Signal
from autoscaler.domain.units import Instant


@dataclass(frozen=True, slots=True)
class Moments:
    """First two moments of a positive quantity, e.g. prompt tokens of a request."""

    mean: float
    second: float  # E[X^2], >= mean^2

    @property
    def squared_variation(self) -> float:
        """Return the squared coefficient of variation (variance over squared mean); 0 where the mean is 0."""
        return max(0.0, self.second / self.mean**2 - 1.0) if self.mean > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency over the observation window, in seconds."""

    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    within_slo: float  # share of requests (TTFT) or tokens (ITL) inside the profile's limit, interpolated in its bucket
    count: float  # observations in the window


@dataclass(frozen=True, slots=True)
class ProfileLoad:
    """What one profile offers, and how it is served. Rates are of *offered* load where the source can tell."""

    profile: str
    requests_per_second: Signal[float]
    prompt_tokens_per_second: Signal[float]
    uncached_prompt_tokens_per_second: Signal[float]
    output_tokens_per_second: Signal[float]
    prompt_tokens: Signal[Moments]  # of one request
    output_tokens: Signal[Moments]
    ttft: Signal[Latency]
    itl: Signal[Latency]
    queued_requests: Signal[float]  # held by the endpoint picker (flow control), not yet dispatched
    inferred: tuple[str, ...] = ()  # fields taken from totals of all profiles, for want of series of this one


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What one pod's engine reports over the observation window (data-parallel ranks of the pod taken together)."""

    pod: str
    running: Signal[float]
    waiting: Signal[float]  # for capacity; transfers of KV ("deferred") do not count
    deferred: Signal[float]
    kv_use_ratio: Signal[float]
    kv_capacity_tokens: Signal[float]
    prompt_tokens_per_second: Signal[float]  # prompts finished here, cached or not
    computed_prompt_tokens_per_second: Signal[float]  # of these, computed here
    output_tokens_per_second: Signal[float]
    requests_per_second: Signal[float]  # finished
    itl_mean_s: Signal[float]
    prefill_mean_s: Signal[float]  # service time of a prompt, without queueing
    queue_mean_s: Signal[float]
    ttft_mean_s: Signal[float]
    preemptions_per_second: Signal[float]
    newest_sample: Signal[Instant]


UNREAD = Missing(GapReason.ABSENT, Instant(0.0), "no endpoint picker is read")


@dataclass(frozen=True, slots=True)
class ModelObservation:
    """One policy's part of an observation."""

    policy: str  # SLOPolicy.key
    loads: Mapping[str, ProfileLoad]  # by profile name
    fleet: Mapping[str, Signal[Workload]]  # by variant name
    engines: Mapping[str, EngineLoad]  # by pod name
    unmatched_share: Signal[float]  # share of requests that no profile's match named (they count as default)
    paused: bool = False  # by annotation: hold everything
    paused_scale_down: bool = False
    membership: Signal[Membership] = UNREAD
    foreign: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # who else sizes it, by variant


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one tick knows."""

    at: Instant
    models: Mapping[str, ModelObservation] = field(default_factory=lambda: MappingProxyType({}))  # by SLOPolicy.key
    gaps: tuple[Gap, ...] = ()
