"""Scenario files as they are written: load, fleet and faults of one flight.

Everything that is not in the file has a stated default; unknown fields are errors. Paths are relative to the file.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from autoscaler.domain.pool import Role
from autoscaler.domain.units import DAY, Seconds
from autoscaler.policy.durations import parse
from autoscaler.simulate import load
from autoscaler.simulate.faults import Fault, FaultKind
from autoscaler.simulate.router import Routing
from autoscaler.simulate.trace import Trace
from autoscaler.simulate.trace_files import read_trace

LONGEST_S = 31 * DAY
HIGHEST_RATE = 1e6
MOST_TOKENS = 10_000_000
"""Bounds of what is drawn: a slip of a unit should be told, not be computed for hours."""


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str):
        msg = f"{value!r} is no duration; write a number with its unit, such as 300ms, 2s, 5m or 1h30m"
        raise ValueError(msg)  # noqa: TRY004 - pydantic makes a message of ValueError
    seconds = parse(value)
    if seconds > LONGEST_S:
        msg = f"{value!r} is longer than the 31 days that a scenario may last"
        raise ValueError(msg)
    return seconds


Duration = Annotated[float, BeforeValidator(_duration)]
Span = Annotated[float, BeforeValidator(_duration), Field(gt=0)]


class Part(BaseModel):
    """A part of a scenario file."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class LengthsPart(Part):
    """Token counts: log-normal about a mean, cut to bounds."""

    mean: float = Field(gt=0, le=MOST_TOKENS)
    variation: float = Field(0.0, ge=0, le=100)
    least: int = Field(1, ge=1, le=MOST_TOKENS)
    most: int = Field(1_000_000, ge=1, le=MOST_TOKENS)

    def built(self) -> load.Lengths:
        """Return the distribution."""
        return load.Lengths(self.mean, self.variation, self.least, self.most)


class StagePart(Part):
    """A rate held for a time."""

    rate: float = Field(ge=0, le=HIGHEST_RATE)
    hold: Duration


class SinePart(Part):
    """A wave between two rates, which begins at its low."""

    low: float = Field(ge=0, le=HIGHEST_RATE)
    high: float = Field(gt=0, le=HIGHEST_RATE)
    period: Span


class RampPart(Part):
    """A straight line from one rate to another over the whole duration."""

    begin: float = Field(ge=0, le=HIGHEST_RATE)
    end: float = Field(ge=0, le=HIGHEST_RATE)


class BurstPart(Part):
    """A rate that jumps for a time."""

    base: float = Field(ge=0, le=HIGHEST_RATE)
    high: float = Field(gt=0, le=HIGHEST_RATE)
    at: Duration
    hold: Duration


class StreamPart(Part):
    """The load of one profile; exactly one of ``rate``, ``stages``, ``sine``, ``ramp``, ``burst``."""

    profile: str
    rate: float | None = Field(None, gt=0, le=HIGHEST_RATE)
    stages: tuple[StagePart, ...] | None = None
    sine: SinePart | None = None
    ramp: RampPart | None = None
    burst: BurstPart | None = None
    prompt: LengthsPart
    output: LengthsPart
    squared_variation: float = Field(1.0, ge=0, le=1000)
    shared_prefix_tokens: int = Field(0, ge=0, le=MOST_TOKENS)
    prefix_groups: int = Field(1, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_shape(self) -> "StreamPart":
        shapes = (self.rate, self.stages, self.sine, self.ramp, self.burst)
        if sum(shape is not None for shape in shapes) != 1:
            msg = "give exactly one of rate, stages, sine, ramp, burst"
            raise ValueError(msg)
        return self

    def built(self, seconds: float) -> load.Stream:
        """Return the stream over a scenario's duration."""
        return load.Stream(
            self.profile, self._rate(seconds), self.prompt.built(), self.output.built(), self.squared_variation,
            self.shared_prefix_tokens, self.prefix_groups,
        )  # fmt: skip

    def _rate(self, seconds: float) -> load.Rate:
        if self.stages is not None:
            return load.steps([(stage.rate, stage.hold) for stage in self.stages])
        if self.sine is not None:
            return load.sine(self.sine.low, self.sine.high, self.sine.period, seconds)
        if self.ramp is not None:
            return load.Rate(((0.0, self.ramp.begin), (seconds, self.ramp.end)))
        if self.burst is not None:
            return load.burst(self.burst.base, self.burst.high, self.burst.at, self.burst.hold, seconds)
        return load.constant(self.rate or 0.0, seconds)


class TracePart(Part):
    """A recorded trace, perhaps cut, scaled and jittered."""

    file: Path
    profile: str = "default"
    start: Duration = 0.0
    volume: float = Field(1.0, gt=0)
    speed: float = Field(1.0, gt=0)
    jitter: Duration = 0.0

    def read(self, folder: Path, seconds: float | None, seed: int) -> Trace:
        """Return the trace."""
        trace = read_trace(folder / self.file, profile=self.profile)
        if self.jitter:
            trace = trace.jittered(self.jitter, seed)
        if self.speed != 1:
            trace = trace.faster(self.speed)
        if self.start or seconds is not None:
            end = trace.duration_s + 1.0 if seconds is None else self.start + seconds
            trace = trace.between(self.start, end)
        return trace if self.volume == 1 else trace.scaled(self.volume, seed)


class LoadPart(Part):
    """Either a trace or streams."""

    trace: TracePart | None = None
    streams: tuple[StreamPart, ...] = ()

    @model_validator(mode="after")
    def _either(self) -> "LoadPart":
        if (self.trace is None) == (not self.streams):
            msg = "give either trace or streams"
            raise ValueError(msg)
        return self


class SloPart(Part):
    """Limits of a profile."""

    ttft: Span
    itl: Span
    attainment: float = Field(0.99, gt=0, lt=1)


class ProfilePart(Part):
    """One request profile."""

    name: str
    slo: SloPart


class VariantPart(Part):
    """One variant, for scenarios without a policy file."""

    name: str
    role: Role
    accelerator: str = "H200-SXM"
    accelerators_per_replica: int = Field(1, ge=1)
    cost_per_replica_hour: float = Field(1.0, gt=0)
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(20, ge=1)


class StartUpPart(Part):
    """How long replicas take to become ready."""

    median: Duration = 120.0
    spread: float = Field(1.0, ge=1)
    failing_share: float = Field(0.0, ge=0, lt=1)
    warm_up: Duration = 0.0


class SupplyPart(Part):
    """What stands behind a variant."""

    variant: str
    performance: str | None = None  # name or path of a performance profile; none: the policy's
    initial: int = Field(ge=0)
    inventory: int | None = Field(None, ge=0)
    start_up: StartUpPart = StartUpPart()


class ClusterPart(Part):
    """How the cluster behaves beside its engines."""

    routing: Routing = Routing.LEAST_LOADED
    prefix_caching: bool = False
    grace: Duration = 0.0
    hold_limit: Duration | None = None
    scrape_interval: Span = 15.0
    scrape_delay: Duration = 0.0
    window: Span = 60.0
    stale_after: Duration = 60.0


class FaultPart(Part):
    """One fault; which fields matter depends on its kind."""

    kind: FaultKind
    at: Duration
    hold: Duration = 0.0
    variant: str = ""
    factor: float = Field(1.0, gt=0)
    share: float = Field(1.0, gt=0, le=1)
    replicas: int = Field(0, ge=0)
    every: Span = 30.0

    def built(self) -> Fault:
        """Return the fault."""
        return Fault(
            self.kind, Seconds(self.at), Seconds(self.hold), self.variant, self.factor, self.share, self.replicas,
            Seconds(self.every),
        )  # fmt: skip


class ScenarioFile(Part):
    """A whole file."""

    kind: Literal["Scenario"]
    name: str
    about: str = ""
    seed: int = Field(0, ge=0)
    duration: Span | None = None
    period: Span = 15.0
    policy: Path | None = None
    profiles: tuple[ProfilePart, ...] = ()
    variants: tuple[VariantPart, ...] = ()
    load: LoadPart
    supply: tuple[SupplyPart, ...]
    cluster: ClusterPart = ClusterPart()
    faults: tuple[FaultPart, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "ScenarioFile":
        if (self.policy is None) == (not self.profiles and not self.variants):
            msg = "give either policy, or profiles and variants"
            raise ValueError(msg)
        if self.load.streams and self.duration is None:
            msg = "duration: streams need one, such as 30m"
            raise ValueError(msg)
        return self
