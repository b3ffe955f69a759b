"""What the schema knows and the autoscaler does not do yet: refused, never accepted and ignored.

Work that brings a behaviour deletes its lines here; nothing else in the policy room changes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from autoscaler.policy.problems import Path, Problem, error, shown

Test: TypeAlias = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A place in a policy, which of its values are not supported yet, and what to write instead."""

    path: Path
    refuses: Test
    way_out: str
    which: str = ""  # the refused values, in words; empty: all


def _given(value: object) -> bool:
    return value is not None


def _any_of(*values: str) -> Test:
    return lambda value: value in values


UNSUPPORTED = (
    Unsupported(
        ("spec", "metrics", "source"), _any_of("sglang", "dynamo"), "write auto, epp+vllm or vllm", "sglang, dynamo"
    ),
    Unsupported(("metadata", "annotations", "disagg-autoscaler.io/paused"), _given, "write mode: Recommend to pause"),
    Unsupported(
        ("metadata", "annotations", "disagg-autoscaler.io/paused-scale-down"),
        _given,
        "write behavior: {scaleDown: {selectPolicy: Disabled}}",
    ),
)


def refusals(raw: Any, table: tuple[Unsupported, ...]) -> Iterator[Problem]:  # noqa: ANN401 - any document
    """Yield an error for every value in a document that the table refuses."""
    for entry in table:
        value = _at(raw, entry.path)
        if value is not None and entry.refuses(value):
            said = "" if isinstance(value, dict | list) else f"{shown(value)} is "
            yield error(entry.path, f"{said}not supported yet; {entry.way_out}")


def _at(value: Any, path: Path) -> Any:  # noqa: ANN401 - any document
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value
