"""Prints ``manifests/crd/slopolicies.yaml``: the CRD of SLOPolicy, from the pydantic models of policy and status.

The JSON schema of the models is made *structural* (no references, no ``const``, bounds as OpenAPI 3.0 writes them), and
given what a cluster needs besides: sizes of lists, which bound the cost of rules, list keys, and the checks of
``autoscaler/policy/checks.py`` as CEL rules (``tools/crd_rules.py``). Checks that need a warning instead of a refusal,
and fields that are not supported yet, stay with the controller: its conditions tell them.
"""

import sys
from collections.abc import Mapping
from typing import Any

import yaml

from autoscaler.policy.fields import json_schema, schema_of
from autoscaler.policy.schema import API_VERSION, KIND
from autoscaler.publish.status_schema import PolicyStatus
from tools.crd_rules import LIST_KEYS, RULES, SIZES

PLURAL = "slopolicies"
NO_DEFAULT = frozenset({"spec.profiles[].priority"})
"""Defaults that the server must not write down: that a priority is stated means something (see checks.py)."""

HEAD = "# Generated from the models in autoscaler/policy/schema.py and autoscaler/publish/status_schema.py by\n"
HEAD += "# `python -m tools.generate_crd`; do not edit. `make generated` writes it anew.\n"

KEPT = ("type", "description", "format", "pattern", "enum", "minimum", "maximum", "minLength", "maxLength")
COLUMNS: tuple[tuple[str, str, str, int, str], ...] = (
    ("Mode", "string", ".spec.mode", 0, "Whether the controller acts."),
    ("Prefill", "string", ".status.summary.prefill", 0, "Ready and wanted prefill replicas."),
    ("Decode", "string", ".status.summary.decode", 0, "Ready and wanted decode replicas."),
    ("Attainment", "string", ".status.summary.attainment", 0, "Smallest share inside a limit, of all profiles."),
    ("Cost/h", "string", ".status.summary.costPerHour", 0, "Cost of the requested replicas for one hour."),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0, "Whether all is as it should be."),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Since when the policy exists."),
    ("Model", "string", ".spec.model", 1, "Served model name."),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 1, "Why it is ready or not."),
)


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    group, version = API_VERSION.split("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower()}
            | {"shortNames": ["slopol"]},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _root()},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
                }
            ],
        },
    }


def _column(name: str, kind: str, path: str, priority: int, description: str) -> dict[str, Any]:
    wide = {"priority": priority} if priority else {}
    return {"name": name, "type": kind, "jsonPath": path, "description": description, **wide}


def _root() -> dict[str, Any]:
    document, status = json_schema(), schema_of(PolicyStatus)
    spec = _structural(document["properties"]["spec"], document["$defs"], "spec")
    return {
        "type": "object",
        "description": _text(document["description"]),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": _name(document["$defs"])}},
            "spec": spec,
            "status": _structural(status, status["$defs"], "status"),
        },
    }


def _name(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shape of ``metadata.name``, the only part of metadata that a CRD may restrict."""
    return _structural(definitions["Metadata"]["properties"]["name"], definitions, "metadata.name")


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a node in the form that the API server accepts; ``path`` as ``autoscaler.policy.fields`` writes it."""
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", maxsplit=1)[1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    made = {key: node[key] for key in KEPT if key in node}
    if "const" in node:
        made["enum"] = [node["const"]]
        made.setdefault("type", "boolean" if isinstance(node["const"], bool) else "string")
    made |= _bounds(node) | _default(node, path) | dict(SIZES.get(path, {}))
    if "description" in made:
        made["description"] = _text(made["description"])
    if "properties" in node:
        made["properties"] = {
            name: _structural(inner, definitions, f"{path}.{name}") for name, inner in node["properties"].items()
        }
        made |= {"required": node["required"]} if "required" in node else {}
    elif "items" in node:
        made["items"] = _structural(node["items"], definitions, f"{path}[]")
        made |= {key: node[key] for key in ("minItems", "maxItems") if key in node}
    elif "additionalProperties" in node:
        made["additionalProperties"] = _structural(node["additionalProperties"], definitions, f"{path}{{}}")
    if path in LIST_KEYS:
        made |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [LIST_KEYS[path]]}
    elif node.get("type") == "array":
        made["x-kubernetes-list-type"] = "atomic"
    if path in RULES:
        made["x-kubernetes-validations"] = [rule.as_data() for rule in RULES[path]]
    return made


def _bounds(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return exclusive bounds as OpenAPI 3.0 has them: a flag beside the bound."""
    made: dict[str, Any] = {}
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in node:
            made |= {bound: node[exclusive], exclusive: True}
    return made


def _default(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the default that the server writes down; an empty list or mapping stays absent."""
    default = node.get("default")
    stated = default not in (None, [], {}, "", ()) and path not in NO_DEFAULT and not path.startswith("status")
    return {"default": default} if stated else {}


def _text(description: str) -> str:
    return " ".join(description.replace("``", "`").split())


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out instead of pointing at them: the API server's readers know no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def page() -> str:
    """Return the whole file."""
    return HEAD + yaml.dump(crd(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    sys.stdout.write(page())
