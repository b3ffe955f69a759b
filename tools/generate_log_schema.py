"""Prints ``docs/reference/decision-log.schema.json``: the lines of the decision log, from the types that make them."""

import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import ProfileOutlook
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.reason import Code
from autoscaler.domain.record import Result, Step, StepFailure
from autoscaler.domain.signal import GapReason, Missing

Schema = dict[str, Any]

NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer"}
TEXT: Schema = {"type": "string"}
MISSING: Schema = {
    "type": "object",
    "description": "A signal that is not there: why, and since when.",
    "properties": {"missing": {"enum": [reason.value for reason in GapReason]}, "since": NUMBER, "detail": TEXT},
    "required": ["missing", "since", "detail"],
    "additionalProperties": False,
}
PRIMITIVES: Mapping[Any, Schema] = {
    float: {"anyOf": [NUMBER, {"enum": ["inf", "-inf", "nan"]}]},
    int: COUNT,
    str: TEXT,
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


def of_type(hint: Any, known: dict[str, Schema]) -> Schema:  # noqa: ANN401, C901, PLR0911 - one return per kind of type
    """Return the schema of a type as ``document.plain`` writes it; dataclasses go to ``known`` by name."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, NewType):
        return of_type(hint.__supertype__, known)
    if hint is Missing:
        known["Missing"] = MISSING
        return {"$ref": "#/$defs/Missing"}
    if hint in PRIMITIVES:
        return PRIMITIVES[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if dataclasses.is_dataclass(hint):
        return _of_dataclass(hint, known)
    if origin in {Union, types.UnionType}:
        return {"anyOf": [of_type(argument, known) for argument in arguments]}
    if origin is frozenset:
        return {"type": "array", "items": of_type(arguments[0], known)}
    if origin is tuple and arguments[-1] is not Ellipsis:
        parts = [of_type(argument, known) for argument in arguments]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    if origin is tuple:
        return {"type": "array", "items": of_type(arguments[0], known)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": of_type(arguments[1], known)}
    msg = f"no schema for {hint}"
    raise TypeError(msg)


def _of_dataclass(kind: Any, known: dict[str, Schema]) -> Schema:  # noqa: ANN401 - a dataclass
    name = kind.__name__
    if name not in known:
        known[name] = {}  # a name first: types may refer to each other
        hints = get_type_hints(kind)
        fields = {field.name: of_type(hints[field.name], known) for field in dataclasses.fields(kind)}
        known[name] = _object(fields)
    return {"$ref": f"#/$defs/{name}"}


def _object(fields: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def _by_name(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


ACTION: Mapping[str, Schema] = {
    "action": {"enum": ["Withdraw", "Readmit", "Scale", "Announce"]},
    "policy": TEXT,
    "variant": TEXT,
    "replicas": COUNT,
    "observed": COUNT,
    "pod": TEXT,
}
OF_SOME_ACTIONS = ("replicas", "observed", "pod")
REASON = _object(
    {
        "code": {"enum": [code.value for code in Code]},
        "message": TEXT,
        "evidence": _by_name({"type": ["number", "string"]}),
    }
)
VARIANT = _object(
    {"wanted": COUNT, "lower": COUNT, "upper": COUNT, "uncapped": COUNT, "reasons": _list(REASON)},
)
SEAL: Mapping[str, Schema] = {
    "seq": {"type": "integer", "minimum": 1, "description": "Number of the line in its chain."},
    "prev": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "hash of the line before."},
    "hash": {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256 over the text of this line without its hash.",
    },
}


def _tick(known: dict[str, Schema]) -> Schema:
    model = {
        "variants": _by_name(VARIANT),
        "actions": _list(_object(ACTION, OF_SOME_ACTIONS)),
        "demand": _list(of_type(ProfileOutlook, known)),
    }
    result = {**ACTION, "result": of_type(Result, known), "detail": TEXT}
    steps = {step.value: NUMBER for step in Step}
    fields = {
        **SEAL,
        "kind": {"const": "tick"},
        "policies": _by_name({**TEXT, "description": "Version of a policy: names its content."}),
        "at": NUMBER,
        "observation": of_type(Observation, known),
        "plan": _by_name(_object(model)),
        "outcome": _list(_object(result, OF_SOME_ACTIONS)),
        "step_seconds": _object(steps, tuple(steps)),
        "failures": _list(of_type(StepFailure, known)),
    }
    return _object(fields)


def _policies(known: dict[str, Schema]) -> Schema:
    fields = {
        **SEAL,
        "kind": {"const": "policies"},
        "versions": _by_name(TEXT),
        "policies": _by_name(of_type(SLOPolicy, known)),
    }
    return _object(fields)


def schema() -> Schema:
    """Return the schema of one line."""
    known: dict[str, Schema] = {}
    lines: list[Callable[[dict[str, Schema]], Schema]] = [_tick, _policies]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of the decision log (autoscaler run --decision-log)",
        "description": "Times are Unix seconds. No field holds any part of a prompt or of an answer.",
        "oneOf": [line(known) for line in lines],
        "$defs": dict(sorted(known.items())),
    }


def main() -> None:
    """Print the schema."""
    print(json.dumps(schema(), indent=1))


if __name__ == "__main__":
    main()
