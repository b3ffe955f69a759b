"""Performance profiles as they are written: units in the keys, values rounded to what a fit can know."""

import math

import yaml

from autoscaler.performance.profile import Profile, Provenance, ValidRange
from autoscaler.performance.profile_schema import Range
from autoscaler.performance.step import EngineLimits, Handover, PrefillModel, StepModel


def dump_profile(profile: Profile) -> str:
    """Return a profile as the YAML text that ``parse_profile`` reads back."""
    return yaml.safe_dump(_document(profile), sort_keys=False, allow_unicode=True, width=110)


def _document(profile: Profile) -> dict[str, object]:
    model = profile.model
    body: dict[str, object] = {
        "kind": "PerformanceProfile",
        "name": profile.name,
        "roles": [str(role) for role in profile.roles],
        "accelerator": profile.accelerator,
        "accelerators_per_replica": profile.accelerators_per_replica,
        "model": profile.llm,
        "engine": {"name": profile.engine, "version": profile.engine_version},
        "date": profile.date,
        "provenance": _provenance_document(profile.provenance),
        "valid": _valid_document(profile.valid),
        "handover": _handover_document(model.handover),
        "limits": _limits_document(model.limits),
    }
    if math.isfinite(model.step.base_s):
        body["step"] = _step_document(model.step)
    if math.isfinite(model.prefill.floor_s):
        body["prefill"] = _prefill_document(model.prefill)
    return body


def _provenance_document(provenance: Provenance) -> dict[str, object]:
    return _present(
        kind=provenance.kind,
        source=provenance.source,
        made_by=provenance.made_by,
        itl_error_percent=_percent(provenance.itl_error),
        prefill_error_percent=_percent(provenance.prefill_error),
    )


def _valid_document(valid: ValidRange) -> dict[str, object]:
    return _present(
        batch=_listed(valid.batch),
        context_tokens=_listed(valid.context_tokens),
        prompt_tokens=_listed(valid.prompt_tokens),
    )


def _handover_document(handover: Handover) -> dict[str, object]:
    return {
        "base_ms": _digits(handover.base_s * 1e3),
        "per_token_us": _digits(handover.per_token_s * 1e6),
        "stall_per_token_us": _digits(handover.stall_per_token_s * 1e6),
    }


def _limits_document(limits: EngineLimits) -> dict[str, object]:
    return {
        "kv_capacity_tokens": limits.kv_capacity_tokens,
        "max_sequences": limits.max_sequences,
        "max_batched_tokens": limits.max_batched_tokens,
        "block_tokens": limits.block_tokens,
    }


def _prefill_document(prefill: PrefillModel) -> dict[str, object]:
    return _present(
        floor_ms=_digits(prefill.floor_s * 1e3),
        base_ms=_digits(prefill.base_s * 1e3),
        per_token_us=_digits(prefill.per_token_s * 1e6),
        per_token_squared_ps=_digits(prefill.per_token_squared_s * 1e12),
        corner=prefill.corner if math.isfinite(prefill.corner) else None,
    )


def _step_document(step: StepModel) -> dict[str, object]:
    bent = math.isfinite(step.knee_sequences)
    return _present(
        base_ms=_digits(step.base_s * 1e3),
        per_sequence_us=_digits(step.per_sequence_s * 1e6),
        per_kv_token_ns=_digits(step.per_kv_token_s * 1e9),
        per_prefill_token_us=_digits(step.per_prefill_token_s * 1e6),
        knee_sequences=step.knee_sequences if bent else None,
        per_sequence_beyond_knee_us=_digits(step.per_sequence_beyond_knee_s * 1e6) if bent else None,
        per_root_sequence_us=_digits(step.per_root_sequence_s * 1e6) if step.per_root_sequence_s else None,
    )


def _present(**entries: object) -> dict[str, object]:
    return {key: value for key, value in entries.items() if value is not None}


def _listed(bounds: Range | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def _percent(share: float | None) -> float | None:
    return None if share is None else _digits(share * 100, 3)


def _digits(value: float, digits: int = 5) -> float:
    """Return a value rounded to what a fit can know."""
    return float(f"{value:.{digits}g}")
