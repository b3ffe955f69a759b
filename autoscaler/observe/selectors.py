"""Label selectors: as objects spell them, and as the ``/scale`` subresource does (``a=b,c in (d,e),!f``)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_SET = re.compile(r"\s*(?P<key>[^\s!=,()]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)\s*(?:,|$)")
_PLAIN = re.compile(
    r"\s*(?P<absent>!?)\s*(?P<key>[^\s!=,()]+)\s*(?:(?P<operator>==?|!=)\s*(?P<value>[^\s,()]*))?\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one label must be. No values: it must only exist, or (``negated``) must not."""

    key: str
    values: frozenset[str] | None = None
    negated: bool = False

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels meet this (a missing label is not in any set)."""
        met = self.key in labels if self.values is None else labels.get(self.key) in self.values
        return met is not self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold; an empty selector selects nothing, since nothing is known by it."""

    requirements: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels meet every requirement."""
        return bool(self.requirements) and all(requirement.holds(labels) for requirement in self.requirements)


def of_object(selector: Mapping[str, Any]) -> Selector:
    """Read ``spec.selector`` of a Deployment and the like."""
    return Selector((*_matched(selector.get("matchLabels") or {}), *_expressed(selector.get("matchExpressions") or ())))


def of_text(text: str) -> Selector:
    """Read ``status.selector`` of a Scale.

    Raises:
        ValueError: the text is not a label selector.
    """
    return Selector(tuple(_parsed(text)))


def _matched(labels: Mapping[str, str]) -> Iterator[Requirement]:
    for key, value in labels.items():
        yield Requirement(key, frozenset({value}))


def _expressed(expressions: Any) -> Iterator[Requirement]:  # noqa: ANN401  # JSON
    for expression in expressions:
        values = frozenset(expression.get("values") or ())
        match expression["operator"]:
            case "In" | "NotIn" as operator:
                yield Requirement(expression["key"], values, negated=operator == "NotIn")
            case operator:
                yield Requirement(expression["key"], negated=operator == "DoesNotExist")


def _parsed(text: str) -> Iterator[Requirement]:
    position = 0
    while position < len(text):
        if found := _SET.match(text, position):
            values = frozenset(value.strip() for value in found["values"].split(","))
            yield Requirement(found["key"], values, negated=found["operator"] == "notin")
        elif found := _PLAIN.match(text, position):
            if found["operator"]:
                yield Requirement(found["key"], frozenset({found["value"]}), negated=found["operator"] == "!=")
            else:
                yield Requirement(found["key"], negated=bool(found["absent"]))
        else:
            msg = f"not a label selector: {text!r}, from character {position} on"
            raise ValueError(msg)
        position = found.end()
