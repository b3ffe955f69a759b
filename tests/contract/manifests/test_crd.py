"""The CRD says what the models say: every field, its type, its bounds, its default."""

from collections.abc import Iterator
from typing import Any

from autoscaler.policy.fields import fields
from tools import generate_crd
from tools.crd_rules import LIST_KEYS, RULES, SIZES


def walked(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of the CRD with its path, as ``autoscaler.policy.fields`` writes paths."""
    for name, part in node.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, part
        yield from walked(part.get("items", {}), f"{path}[].") if part["type"] == "array" else walked(part, f"{path}.")


def schema() -> dict[str, Any]:
    (version,) = generate_crd.crd()["spec"]["versions"]
    root: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return root


def test_both_have_the_same_fields_and_require_the_same() -> None:
    of_models = {field.path: field for field in fields() if field.path.startswith("spec.")}
    of_crd = dict(walked(schema()["properties"]["spec"], "spec."))
    assert of_crd.keys() == of_models.keys()
    for path in of_crd:
        parent = of_crd.get(path.rpartition(".")[0].removesuffix("[]"), schema()["properties"]["spec"])
        holder = parent.get("items", parent)
        assert (path.rpartition(".")[2] in holder.get("required", [])) == of_models[path].required, path


def test_a_default_is_the_models_or_left_out_for_a_reason() -> None:
    of_crd = dict(walked(schema()["properties"]["spec"], "spec."))
    for field in fields():
        if field.path.startswith("spec.") and field.default not in (None, [], {}):
            expected = None if field.path in generate_crd.NO_DEFAULT else field.default
            assert of_crd[field.path].get("default") == expected, field.path


def test_the_schema_is_structural() -> None:
    def check(node: object, path: str) -> None:
        if isinstance(node, dict):
            assert not node.keys() & {"$ref", "$defs", "const", "anyOf", "oneOf", "propertyNames", "title"}, path
            assert not (node.keys() & {"properties"} and node.keys() & {"additionalProperties"}), path
            assert node.get("type") != "null", path
            for key, inner in node.items():
                check(inner, f"{path}.{key}")

    check(schema(), "")


def test_every_rule_size_and_key_has_its_place() -> None:
    """A path that no field has would be a rule that never holds anything."""
    root = schema()
    known = {"spec", "status"}
    for part in ("spec", "status"):
        for path, node in walked(root["properties"][part], f"{part}."):
            known |= {path, f"{path}[]" if node["type"] == "array" else f"{path}{{}}"}
    assert (RULES.keys() | SIZES.keys() | LIST_KEYS.keys()) <= known


def test_the_columns_are_the_promised_ones() -> None:
    shown = [name for name, _, _, priority, _ in generate_crd.COLUMNS if not priority]
    assert shown == ["Mode", "Prefill", "Decode", "Attainment", "Cost/h", "Ready", "Age"]
