"""Turns a tick into plain data with stable keys: the decision log, ``recommend --output json``, the status page."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TypeAlias, assert_never

from autoscaler.domain.fleet import Workload
from autoscaler.domain.plan import Action, Announce, ModelPlan, Readmit, Scale, VariantPlan, Withdraw
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Variant
from autoscaler.domain.record import TickRecord
from autoscaler.domain.signal import Gap, Missing

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def plain(value: object) -> Json:
    """Return any domain value as plain JSON data; what JSON has no number for becomes a string."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value  # type: ignore[return-value] # by its type
    if kind is float:
        return value if math.isfinite(value) else str(value)  # type: ignore[arg-type,return-value] # by its type
    names = _fields(kind)  # type: ignore[arg-type] # types can be hashed
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    return _plain(value)


_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


@functools.cache
def _fields(kind: type) -> tuple[str, ...] | None:
    """Return the names of a data class' fields; None for another type. Looked up once: a log line has a million."""
    if kind is Missing or not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind))


def _plain(value: object) -> Json:  # noqa: PLR0911 - one return per kind of value
    match value:
        case None | bool() | str() if not isinstance(value, Enum):
            return value
        case Enum():
            return str(value.value)
        case int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Missing(reason, since, detail):
            return {"missing": reason.value, "since": since, "detail": detail}
        case Mapping():
            return {str(key.value if isinstance(key, Enum) else key): plain(item) for key, item in value.items()}
        case AbstractSet():
            return [plain(item) for item in sorted(value, key=str)]
        case Sequence():
            return [plain(item) for item in value]
        case _:
            msg = f"no plain form for {type(value).__name__}"
            raise TypeError(msg)


def decision(record: TickRecord, policy: SLOPolicy) -> dict[str, Json]:
    """Return one policy's decision as users see it (``recommend --output json``)."""
    model = record.plan.models.get(policy.key, ModelPlan(policy.key, {}))
    return {
        "at": record.observation.at,
        "policy": policy.key,
        "mode": policy.mode.value,
        "variants": [
            _variant(variant, counts(record, policy, variant.name), model.variants.get(variant.name))
            for variant in policy.variants
        ],
        "actions": [action(item) for item in model.actions],
        "demand": [plain(outlook) for outlook in model.outlook.values()],
        "gaps": [gap(item) for item in record.observation.gaps if item.policy in {"", policy.key}],
    }


def _variant(variant: Variant, seen: tuple[int | None, int | None], plan: VariantPlan | None) -> dict[str, Json]:
    requested, ready = seen
    named: dict[str, Json] = {"name": variant.name, "role": variant.role.value}
    return {**named, "requested": requested, "ready": ready, **_wishes(plan)}


def counts(record: TickRecord, policy: SLOPolicy, variant: str) -> tuple[int | None, int | None]:
    """Return a variant's requested and ready replicas as observed; None where that is not known."""
    observed = record.observation.models.get(policy.key)
    workload = observed.fleet.get(variant) if observed else None
    return (workload.requested, workload.ready) if isinstance(workload, Workload) else (None, None)


def _wishes(plan: VariantPlan | None) -> dict[str, Json]:
    if plan is None:
        return {"wanted": None, "lower": None, "upper": None, "uncapped": None, "reasons": []}
    return {
        "wanted": plan.target,
        "lower": plan.lower,
        "upper": plan.upper,
        "uncapped": plan.uncapped,
        "reasons": [
            {"code": reason.code.value, "message": reason.message, "evidence": plain(reason.evidence)}
            for reason in plan.reasons
        ],
    }


def action(item: Action) -> dict[str, Json]:
    """Return an action with its verb."""
    named: dict[str, Json] = {
        "action": type(item).__name__,
        "policy": item.variant.policy,
        "variant": item.variant.variant,
    }
    match item:
        case Scale(_, replicas, observed):
            return named | {"replicas": replicas, "observed": observed}
        case Withdraw(_, pod) | Readmit(_, pod) | Announce(_, pod):
            return named | {"pod": pod}
        case _:
            assert_never(item)


def gap(item: Gap) -> dict[str, Json]:
    """Return a gap: what is missing, of whom, why and since when."""
    return {
        "signal": item.signal,
        "subject": item.subject,
        "reason": item.missing.reason.value,
        "since": item.missing.since,
        "detail": item.missing.detail,
    }


def tick(record: TickRecord) -> dict[str, Json]:
    """Return a whole tick: one line of the decision log."""
    return {
        "at": record.observation.at,
        "observation": plain(record.observation),
        "plan": {key: _model(model) for key, model in record.plan.models.items()},
        "outcome": [
            {**action(result.action), "result": result.result.value, "detail": result.detail}
            for result in record.outcome.results
        ],
        "step_seconds": plain(record.step_seconds),
        "failures": plain(record.failures),
    }


def _model(model: ModelPlan) -> Json:
    return {
        "variants": {name: _wishes(plan) for name, plan in model.variants.items()},
        "actions": [action(item) for item in model.actions],
        "demand": [plain(outlook) for outlook in model.outlook.values()],
    }
