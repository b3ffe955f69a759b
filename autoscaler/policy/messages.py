"""Pydantic's findings in a policy's words: ``path: what is wrong; way out``."""

import difflib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from autoscaler.policy.fields import names_at, schema_at
from autoscaler.policy.problems import Path, Problem, error, shown
from autoscaler.policy.types import REFUSED

Words: TypeAlias = Callable[[ErrorDetails, Path], str]

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping of fields",
    "list": "a list",
}


def problems_of(refusal: ValidationError) -> Iterator[Problem]:
    """Yield the problems that a refusal tells of, each at its path."""
    for details in refusal.errors(include_url=False):
        if details["type"] == "too_short" and details["input"]:
            continue  # pydantic counts only well-formed items; why the others are not stands beside this
        path = _path(details)
        yield error(path, _WORDS.get(details["type"], _expected)(details, path))


def meaningless(refusal: ValidationError) -> frozenset[Path]:
    """Return the paths of unknown fields that resemble no field: without them their part can still be understood."""
    unknown = (_path(details) for details in refusal.errors(include_url=False) if details["type"] == "extra_forbidden")
    return frozenset(path for path in unknown if _meant(path) is None)


def _path(details: ErrorDetails) -> Path:
    return tuple(part for part in details["loc"] if part != "[key]")


def _expected(details: ErrorDetails, _: Path) -> str:
    what = EXPECTED.get(details["type"].split("_", maxsplit=1)[0])
    if what is None:
        return f"{details['msg'][:1].lower()}{details['msg'][1:]}, got {shown(details['input'])}"
    quotes = "; put it in quotes" if what == "text" and isinstance(details["input"], bool | int | float) else ""
    return f"expected {what}, got {shown(details['input'])}{quotes}"


def _missing(_: ErrorDetails, path: Path) -> str:
    part = schema_at(path)
    example = next(iter(part.get("examples", [])), part.get("const"))
    return "is missing; add it" if example is None else f"is missing; add it, for example {example}"


def _unknown(_: ErrorDetails, path: Path) -> str:
    meant = _meant(path)
    if meant is not None:
        return f'unknown field, did you mean "{meant}"?'
    return f"unknown field; remove it, or use one of {', '.join(names_at(path[:-1]))}"


def _meant(path: Path) -> str | None:
    """Return the field that an unknown one resembles most; one of the same letters first."""
    by_lower_case = {name.lower(): name for name in names_at(path[:-1])}
    written = str(path[-1]).replace("_", "").lower()
    close = difflib.get_close_matches(written, by_lower_case)
    anagrams = [name for name in close if sorted(name) == sorted(written)]  # two letters swapped: modle, sepc
    return next((by_lower_case[name] for name in (*anagrams, *close)), None)


def _not_listed(details: ErrorDetails, path: Path) -> str:
    part = schema_at(path)
    allowed = [shown(value).strip('"') for value in part.get("enum", [part.get("const")])]
    choice = f"one of {', '.join(allowed)}" if len(allowed) > 1 else allowed[0]
    return f"{shown(details['input'])} is not allowed; write {choice}"


def _bound(relation: str, key: str, way_out: str) -> Words:
    def words(details: ErrorDetails, _: Path) -> str:
        limit = _context(details)[key]
        return f"{shown(details['input'])} is {relation} {int(limit) if limit == int(limit) else limit}; {way_out}"

    return words


def _context(details: ErrorDetails) -> dict[str, Any]:
    return details.get("ctx", {})


_WORDS: dict[str, Words] = {
    REFUSED: lambda details, _: details["msg"],
    "missing": _missing,
    "extra_forbidden": _unknown,
    "enum": _not_listed,
    "literal_error": _not_listed,
    "greater_than": _bound("not above", "gt", "raise it"),
    "greater_than_equal": _bound("below", "ge", "raise it"),
    "less_than": _bound("not below", "lt", "lower it"),
    "less_than_equal": _bound("above", "le", "lower it"),
    "too_short": lambda _, __: "is empty; name at least one",
    "invalid_key": lambda details, _: f"a key must be text, not {shown(details['input'])}; put it in quotes",
}
