"""Performance profiles: files that say how fast a replica is, where that is known from, and where it holds.

A profile is YAML with units in its keys; those that ship are package data and are named without path or ending.
"""

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from autoscaler.performance.profile_schema import PrefillSection, ProfileFile, Range, StepSection
from autoscaler.performance.step import EngineLimits, Handover, PrefillModel, ReplicaModel, StepModel
from autoscaler.policy.reading import one_document

NEVER = PrefillModel(math.inf, 0.0, 0.0, 0.0)
"""The prefill of a replica that does none."""


@dataclass(frozen=True, slots=True)
class ValidRange:
    """Where the model was fitted; beyond, it extrapolates."""

    batch: Range | None = None
    context_tokens: Range | None = None
    prompt_tokens: Range | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the figures come from: measured on an engine, estimated by other software, or derived by physics."""

    kind: Literal["measured", "estimated", "derived"]
    source: str
    made_by: str  # the command that made the file
    itl_error: float | None = None  # mean relative error, leave-one-out where measured
    prefill_error: float | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """How fast one replica of a variant is, and how that is known."""

    name: str
    roles: tuple[Role, ...]
    accelerator: str
    accelerators_per_replica: int
    llm: str
    model: ReplicaModel
    provenance: Provenance
    valid: ValidRange
    date: dt.date
    engine: str
    engine_version: str

    def for_role(self, role: Role) -> ReplicaModel:
        """Return the model for replicas of a role.

        Raises:
            InputError: the profile says nothing about the role.
        """
        if role not in self.roles:
            msg = (
                f'performance profile "{self.name}" is for {" and ".join(self.roles)}, not for {role}; '
                f"name one with role {role}, or none to begin from physics"
            )
            raise InputError(msg)
        return self.model


def builtin_names() -> tuple[str, ...]:
    """Return the names of the profiles that ship."""
    folder = resources.files("autoscaler.performance") / "profiles"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def load_profile(source: str | Path) -> Profile:
    """Return the profile in a file, or one that ships by its name.

    Raises:
        InputError: no such profile, not YAML, or values that cannot be; names every problem with field and value.
    """
    if isinstance(source, str) and source in builtin_names():
        shipped = resources.files("autoscaler.performance") / "profiles" / f"{source}.yaml"
        return parse_profile(shipped.read_text(encoding="utf-8"), source)
    path = Path(source)
    try:
        if path.is_file():  # raises where the name is too long for a file, or a folder may not be looked into
            return parse_profile(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"performance profile {source}: cannot be read: {error}"
        raise InputError(msg) from error
    shipped_names = ", ".join(builtin_names())
    msg = f"performance profile {source}: no such file, and none ships by this name; there are {shipped_names}"
    raise InputError(msg)


def parse_profile(text: str, source: str) -> Profile:
    """Return the profile that a YAML text holds; ``source`` names it in errors.

    Raises:
        InputError: as ``load_profile``.
    """
    document = one_document(text.encode(errors="replace"), f"performance profile {source}")
    if not isinstance(document, Mapping):
        msg = f"performance profile {source}: a mapping is expected, not {type(document).__name__}"
        raise InputError(msg)
    try:
        return _profile(ProfileFile.model_validate(document))
    except ValidationError as error:
        problems = "\n".join(_problem(source, dict(entry)) for entry in error.errors())
        raise InputError(problems) from error


def _problem(source: str, error: Mapping[str, object]) -> str:
    """Return one line: place, value, what is wrong, way out."""
    location = error["loc"]
    path = ".".join(str(part) for part in location) if isinstance(location, tuple) else ""
    value = error["input"]
    said = str(error["msg"]).removeprefix("Value error, ")
    shown = f" {value!r}" if isinstance(value, str | int | float) else ""
    hint = "; is it in the unit that the key names?" if path.endswith(("_ms", "_us", "_ns", "_ps")) else ""
    return f"performance profile {source}: {path or 'file'}:{shown} {said[:1].lower()}{said[1:]}{hint}"


def _profile(file: ProfileFile) -> Profile:
    return Profile(
        name=file.name,
        roles=file.roles,
        accelerator=file.accelerator,
        accelerators_per_replica=file.accelerators_per_replica,
        llm=file.model,
        model=ReplicaModel(
            step=_step(file.step),
            prefill=_prefill(file.prefill),
            handover=Handover(
                file.handover.base_ms * 1e-3,
                file.handover.per_token_us * 1e-6,
                file.handover.stall_per_token_us * 1e-6,
            ),
            limits=EngineLimits(**file.limits.model_dump()),
        ),
        provenance=Provenance(
            file.provenance.kind,
            file.provenance.source,
            file.provenance.made_by,
            _share(file.provenance.itl_error_percent),
            _share(file.provenance.prefill_error_percent),
        ),
        valid=ValidRange(file.valid.batch, file.valid.context_tokens, file.valid.prompt_tokens),
        date=file.date,
        engine=file.engine.name,
        engine_version=file.engine.version,
    )


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _step(step: StepSection | None) -> StepModel:
    """Return the step model; a replica that cannot decode takes forever."""
    if step is None:
        return StepModel(math.inf, 0.0, 0.0)
    return StepModel(
        step.base_ms * 1e-3,
        step.per_sequence_us * 1e-6,
        step.per_kv_token_ns * 1e-9,
        step.per_prefill_token_us * 1e-6,
        math.inf if step.knee_sequences is None else step.knee_sequences,
        step.per_sequence_beyond_knee_us * 1e-6,
        step.per_root_sequence_us * 1e-6,
    )


def _prefill(prefill: PrefillSection | None) -> PrefillModel:
    if prefill is None:
        return NEVER
    return PrefillModel(
        prefill.floor_ms * 1e-3,
        prefill.base_ms * 1e-3,
        prefill.per_token_us * 1e-6,
        prefill.per_token_squared_ps * 1e-12,
        math.inf if prefill.corner is None else prefill.corner,
    )
