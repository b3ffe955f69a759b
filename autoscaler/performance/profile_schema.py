"""The schema of a performance profile file: YAML whose keys name their units, and values that can be."""

import datetime as dt
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoscaler.domain.pool import Role

Range: TypeAlias = tuple[float, float]

STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StepSection(BaseModel):
    """The step model; zero slopes are allowed, a free step is not."""

    model_config = STRICT
    base_ms: float = Field(gt=0.05, le=2000)
    per_sequence_us: float = Field(ge=0, le=10_000)
    per_kv_token_ns: float = Field(ge=0, le=10_000)
    per_prefill_token_us: float = Field(default=0.0, ge=0, le=10_000)
    knee_sequences: float | None = Field(default=None, gt=0)
    per_sequence_beyond_knee_us: float = Field(default=0.0, ge=0, le=10_000)
    per_root_sequence_us: float = Field(default=0.0, ge=0, le=100_000)


class PrefillSection(BaseModel):
    """The prefill model."""

    model_config = STRICT
    floor_ms: float = Field(gt=0.05, le=5000)
    base_ms: float = Field(ge=0, le=5000)
    per_token_us: float = Field(gt=0.01, le=10_000)
    per_token_squared_ps: float = Field(ge=0, le=10_000_000)
    corner: float | None = Field(default=None, ge=1)


class HandoverSection(BaseModel):
    """The hand-over."""

    model_config = STRICT
    base_ms: float = Field(ge=0, le=60_000)
    per_token_us: float = Field(ge=0, le=10_000)
    stall_per_token_us: float = Field(default=0.0, ge=0, le=10_000)


class LimitsSection(BaseModel):
    """The limits of one engine."""

    model_config = STRICT
    kv_capacity_tokens: float = Field(ge=1000, le=1e9)
    max_sequences: int = Field(default=256, ge=1, le=100_000)
    max_batched_tokens: int = Field(default=8192, ge=16, le=10_000_000)
    block_tokens: int = Field(default=16, ge=1, le=4096)


class ProvenanceSection(BaseModel):
    """Where the figures come from."""

    model_config = STRICT
    kind: Literal["measured", "estimated", "derived"]
    source: str = Field(min_length=1)
    made_by: str = Field(min_length=1)
    itl_error_percent: float | None = Field(default=None, ge=0)
    prefill_error_percent: float | None = Field(default=None, ge=0)


def _rising(bounds: Range) -> Range:
    if bounds[0] > bounds[1]:
        msg = f"a range rises, not {bounds[0]:g} to {bounds[1]:g}"
        raise ValueError(msg)
    return bounds


class ValidSection(BaseModel):
    """Where the model was fitted."""

    model_config = STRICT
    batch: Range | None = None
    context_tokens: Range | None = None
    prompt_tokens: Range | None = None

    @model_validator(mode="after")
    def _ranges_rise(self) -> "ValidSection":
        for bounds in (self.batch, self.context_tokens, self.prompt_tokens):
            if bounds is not None:
                _rising(bounds)
        return self


class EngineSection(BaseModel):
    """The engine that was measured."""

    model_config = STRICT
    name: str = Field(min_length=1)
    version: Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)]


class ProfileFile(BaseModel):
    """The schema of a profile file."""

    model_config = STRICT
    kind: Literal["PerformanceProfile"]
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    roles: tuple[Role, ...] = Field(min_length=1)
    accelerator: str = Field(min_length=1)
    accelerators_per_replica: int = Field(ge=1)
    model: str = Field(min_length=1)
    engine: EngineSection
    date: dt.date
    provenance: ProvenanceSection
    valid: ValidSection = ValidSection()
    step: StepSection | None = None
    prefill: PrefillSection | None = None
    handover: HandoverSection
    limits: LimitsSection

    @model_validator(mode="after")
    def _roles_have_their_model(self) -> "ProfileFile":
        for role in self.roles:
            if role.prefills and self.prefill is None:
                msg = f"role {role} needs the section prefill; add it, or take the role away"
                raise ValueError(msg)
            if role.decodes and self.step is None:
                msg = f"role {role} needs the section step; add it, or take the role away"
                raise ValueError(msg)
        return self
