"""The schema as data: JSON schema, and every field with its path; for messages, the command line and the reference."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from autoscaler.policy.problems import Path, shown
from autoscaler.policy.schema import API_VERSION, SLOPolicyDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Writes optional fields without ``null`` (a null is absence, as in Kubernetes) and fields without titles."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        default = schema.get("default")
        if default is None or isinstance(default, BaseModel):  # the part's own fields tell their defaults
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        keys = self.generate_inner(schema["keys_schema"])
        names = {"propertyNames": keys} if "pattern" in keys else {}
        return {"type": "object", **names, "additionalProperties": self.generate_inner(schema["values_schema"])}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - pydantic's own union of schemas
        del schema
        return False

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": DIALECT, "$id": f"https://{API_VERSION}/slopolicy.json", **super().generate(schema, mode)}


@functools.cache
def json_schema() -> Mapping[str, Any]:
    """Return the JSON schema (draft 2020-12) of a policy document."""
    return schema_of(SLOPolicyDocument)


def schema_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """Return the JSON schema of any part, as Kubernetes means it: what is null is absent."""
    return model.model_json_schema(by_alias=True, schema_generator=_Generator)


def schema_at(path: Path) -> Mapping[str, Any]:
    """Return the part of the schema that describes a path; empty where the schema knows no such path."""
    node = _resolved(json_schema())
    for part in path:
        inner = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        if inner is None:
            inner = node.get("additionalProperties") or {}
        node = _resolved(inner)
    return node


def names_at(path: Path) -> tuple[str, ...]:
    """Return the fields that may stand under a path."""
    return tuple(schema_at(path).get("properties", {}))


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One field as a reader wants it explained."""

    path: str
    type: str
    required: bool
    default: Any  # None: no default, or none that can be written
    description: str

    @property
    def default_text(self) -> str:
        """Return the default as a policy would say it; empty where there is none to write."""
        return "" if self.default is None else shown(self.default).strip('"')


def fields() -> tuple[FieldDoc, ...]:
    """Return every field of the schema, in its order, parents before children."""
    return tuple(_walk(_resolved(json_schema()), ""))


def _walk(node: Mapping[str, Any], prefix: str) -> Iterator[FieldDoc]:
    for name, raw in node.get("properties", {}).items():
        part = _resolved(raw)
        path = f"{prefix}{name}"
        leaf = "properties" not in part
        default = part.get("default") if leaf else None
        yield FieldDoc(path, _type(part), name in node.get("required", ()), default, part.get("description", ""))
        item = _resolved(part.get("items", {}))
        yield from _walk(item, f"{path}[].") if part.get("type") == "array" else _walk(part, f"{path}.")


def _type(part: Mapping[str, Any]) -> str:
    if "const" in part or "enum" in part:
        return " or ".join(shown(value).strip('"') for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        return "list"
    if "properties" in part:
        return "mapping"
    if "additionalProperties" in part:
        return f"mapping, each {_type(_resolved(part['additionalProperties']))}"
    return _duration_or(part)


def _duration_or(part: Mapping[str, Any]) -> str:
    if str(part.get("pattern", "")).endswith("(ms|s|m|h))+$"):
        return "duration"
    lower, upper = part.get("minimum"), part.get("maximum")
    above, below = part.get("exclusiveMinimum"), part.get("exclusiveMaximum")
    bounds = [f">= {lower}" if lower is not None and lower > -1e9 else "", f"> {above}" if above is not None else ""]
    bounds += [f"<= {upper}" if upper is not None and upper < 1e9 else "", f"< {below}" if below is not None else ""]
    return ", ".join(text for text in (str(part.get("type", "any")), *bounds) if text)


def _resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference into ``$defs``; what stands beside the reference wins (a field's own description)."""
    if "$ref" not in node:
        return node
    target = json_schema()["$defs"][node["$ref"].rsplit("/", maxsplit=1)[1]]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}
