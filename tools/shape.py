"""How the code is built: lengths of functions, and no mocks in tests.

    python -m tools.shape --check       # 1 if a rule is broken; part of `make check`

Rules: the 90th percentile of function lengths of the package is at most 30 lines and none has more than 60, without the
docstring; no test imports a library of mocks. Import cycles are the import linter's matter.
"""

import argparse
import ast
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "autoscaler"
MOST_LINES, MOST_LINES_P90 = 60, 30

MOCK = re.compile(r"^\s*(from|import) (unittest\.mock|unittest import .*mock|mock|pytest_mock)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its lines, without its docstring."""

    place: str
    lines: int


def functions(file: Path, root: Path) -> Iterator[Function]:
    """Yield every function of a file, nested ones as well."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            told = node.body[0]
            said = ast.get_docstring(node, clean=False) is not None
            docstring = (told.end_lineno or told.lineno) - told.lineno + 1 if said else 0
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring
            yield Function(f"{file.relative_to(root)}:{node.lineno} {node.name}", lines)


def p90(found: Sequence[Function]) -> int:
    """Return the length that nine in ten functions do not exceed."""
    return sorted(each.lines for each in found)[math.ceil(0.9 * len(found)) - 1] if found else 0


def measured(root: Path, package: str = PACKAGE) -> list[Function]:
    """Return every function of a package."""
    return [each for file in sorted((root / package).rglob("*.py")) for each in functions(file, root)]


def problems(root: Path, package: str = PACKAGE) -> list[str]:
    """Return every rule that is broken, in words."""
    found = measured(root, package)
    told = [f"{each.place}: {each.lines} lines, at most {MOST_LINES}" for each in found if each.lines > MOST_LINES]
    if p90(found) > MOST_LINES_P90:
        told.append(f"90th percentile of function lengths: {p90(found)} lines, at most {MOST_LINES_P90}")
    return told + [
        f"{file.relative_to(root)}: imports a mock; use a fake of simulate/ or a value"
        for file in sorted((root / "tests").rglob("*.py"))
        if MOCK.search(file.read_text(encoding="utf-8"))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; 1 if a rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print broken rules only")
    wanted = parser.parse_args(arguments)
    broken = problems(ROOT)
    if not wanted.check:
        found = measured(ROOT)
        print(f"{len(found)} functions, 90th percentile {p90(found)} lines, longest:")
        for each in sorted(found, key=lambda function: -function.lines)[:10]:
            print(f"  {each.lines} {each.place}")
    print(*broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
