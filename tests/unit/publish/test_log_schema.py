"""The published JSON schema of the decision log fits what is written, and nothing else."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import ProfileOutlook
from autoscaler.domain.record import StepFailure
from tools.generate_log_schema import of_type, schema

SCHEMA = schema()
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def flaws(value: Any, rule: Mapping[str, Any], where: str = "$") -> Iterator[str]:  # noqa: ANN401, C901, PLR0912 - one branch per keyword
    """Yield where a value does not fit a schema; knows the keywords that the generator uses."""
    if "$ref" in rule:
        yield from flaws(value, SCHEMA["$defs"][rule["$ref"].rpartition("/")[2]], where)
    for keyword, wanted in (("anyOf", range(1, 99)), ("oneOf", range(1, 2))):
        if keyword in rule:
            fitting = [option for option in rule[keyword] if not [*flaws(value, option, where)]]
            if len(fitting) not in wanted:
                yield f"{where}: {len(fitting)} options of {keyword} fit"
    if "type" in rule:
        kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
        if not any(_is(value, kind) for kind in kinds):
            yield f"{where}: no {kinds}"
            return
    if value not in rule.get("enum", [value]) or value != rule.get("const", value):
        yield f"{where}: {value!r}"
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        yield f"{where}: {value!r} does not match"
    if isinstance(value, list):
        for number, item in enumerate(value):
            part = rule["prefixItems"][number] if "prefixItems" in rule else rule.get("items", {})
            yield from flaws(item, part, f"{where}[{number}]")
    if isinstance(value, dict):
        yield from (f"{where}: no {name}" for name in rule.get("required", ()) if name not in value)
        for name, item in value.items():
            part = rule.get("properties", {}).get(name, rule.get("additionalProperties", {}))
            if part is False:
                yield f"{where}: {name} is not allowed"
            else:
                yield from flaws(item, part, f"{where}.{name}")


def _is(value: object, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def test_every_line_of_a_real_log_fits(log: Path) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"policies", "tick"}
    assert [flaw for line in lines for flaw in flaws(line, SCHEMA)] == []
    assert any(line["plan"] and line["observation"]["models"] for line in lines if line["kind"] == "tick")


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.pop("hash"),
        lambda line: line.update(prompt="Tell me"),
        lambda line: line["observation"].update(at="yesterday"),
        lambda line: line.update(kind="other"),
        lambda line: next(iter(line["plan"].values())).update(note=""),
        lambda line: line["observation"]["models"]["llm/qwen3-32b"]["loads"]["rag"].update(ttft=None),
    ],
    ids=["no hash", "a prompt", "a date", "another kind", "a note", "none for missing"],
)
def test_anything_else_does_not_fit(log: Path, damage: Any) -> None:  # noqa: ANN401 - a function
    line = json.loads(log.read_text().splitlines()[-1])
    damage(line)
    assert [*flaws(line, SCHEMA)]


TEXTS_OF_A_TICK = {
    # names of Kubernetes objects and of the policy
    *("EngineLoad.pod", "Gap.policy", "ModelObservation.policy", "Pod.ip", "Pod.name", "Pod.node", "Pod.uid"),
    *(
        "Pod.others",
        "Pod.others_withdrawn",
        "Pod.variant",
        "ProfileLoad.profile",
        "ProfileOutlook.profile",
        "Workload.variant",
        "Gap.signal",
        "Gap.subject",
    ),
    # names of fields; errors in the words of Prometheus, of the API server and of this program
    *(
        "Membership.pickers",
        "ModelObservation.foreign",
        "ProfileLoad.inferred",
        "Missing.detail",
        "Pod.blocked_by",
        "StepFailure.detail",
        "StepFailure.kind",
    ),
}


def test_every_text_of_a_tick_is_a_name_or_an_error_never_of_a_prompt() -> None:
    """A new field that holds free text fails here: whoever adds it says what it can hold."""
    known: dict[str, Any] = {}
    of_type(Observation, known)
    of_type(ProfileOutlook, known)
    of_type(StepFailure, known)
    texts = {
        f"{kind}.{name}"
        for kind, rule in known.items()
        for name, part in rule.get("properties", {}).items()
        if '{"type": "string"}' in json.dumps(part)
    }
    assert texts <= TEXTS_OF_A_TICK, "say above what the new text can hold; never a part of a request"
