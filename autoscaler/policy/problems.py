"""What is wrong with a policy, and where: a value that prints as ``file:line: path: what is wrong; way out``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a document: keys and list indices from the root."""

SHOWN_CHARACTERS = 60


class Severity(StrEnum):
    """Whether a policy can be used in spite of a problem."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. ``file`` is empty for a policy that came from elsewhere, ``line`` None where it is not known."""

    path: Path
    message: str
    severity: Severity = Severity.ERROR
    file: str = ""
    line: int | None = None

    @property
    def where(self) -> str:
        """Return ``file:line``, as far as they are known."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @property
    def field(self) -> str:
        """Return the path as people write it: ``spec.profiles[0].slo``; empty for the whole document."""
        return dotted(self.path)

    def located(self, file: str, lines: Mapping[Path, int]) -> "Problem":
        """Return this problem with its file, and the line of its path or of the nearest part around it."""
        nearest = next(
            (lines[self.path[:end]] for end in range(len(self.path), -1, -1) if self.path[:end] in lines), None
        )
        return replace(self, file=file, line=nearest if self.line is None else self.line)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.field, self.message) if part)


def error(path: Path, message: str) -> Problem:
    """Return a problem that makes a policy unusable."""
    return Problem(path, message)


def warning(path: Path, message: str) -> Problem:
    """Return a problem that leaves a policy usable, but is hardly meant."""
    return Problem(path, message, Severity.WARNING)


def errors(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Return the problems that make a policy unusable."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def warnings(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Return the problems that leave a policy usable."""
    return tuple(problem for problem in problems if problem.severity is Severity.WARNING)


def dotted(path: Path) -> str:
    """Write a path as people do: ``spec.pools.prefill.variants[0].maxReplicas``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Write a value as it would stand in a policy, shortened where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
