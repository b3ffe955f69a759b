"""Pydantic's findings in a policy's words: ``path: what is wrong; way out``."""

import difflib
from collections.abc import Callable
from typing import Any, TypeAlias

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


def problem_of(details: ErrorDetails) -> Problem:
    """Return the problem that a pydantic error tells of, at its path."""
    path = tuple(part for part in details["loc"] if part != "[key]")
    return error(path, _WORDS.get(details["type"], _expected)(details, path))


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
    known = names_at(path[:-1])
    by_lower_case = {name.lower(): name for name in known}
    close = difflib.get_close_matches(str(path[-1]).replace("_", "").lower(), by_lower_case, n=1)
    if close:
        return f'unknown field, did you mean "{by_lower_case[close[0]]}"?'
    return f"unknown field; remove it, or use one of {', '.join(known)}"


def _not_listed(details: ErrorDetails, path: Path) -> str:
    part = schema_at(path)
    allowed = [shown(value).strip('"') for value in part.get("enum", [part.get("const")])]
    choice = f"one of {', '.join(allowed)}" if len(allowed) > 1 else allowed[0]
    return f"{shown(details['input'])} is not allowed; write {choice}"


def _bound(relation: str, key: str, way_out: str) -> Words:
    return lambda details, _: f"{shown(details['input'])} is {relation} {_context(details)[key]:g}; {way_out}"


def _too_short(_: ErrorDetails, path: Path) -> str:
    part = schema_at(path)
    return f"is empty; name at least one{'' if part.get('default', ...) is ... else ' or leave it out'}"


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
    "too_short": _too_short,
    "invalid_key": lambda details, _: f"a key must be text, not {shown(details['input'])}; put it in quotes",
}
