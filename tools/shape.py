"""How the code is built: lengths of functions, import cycles, mocks in tests.

    python -m tools.shape --check       # 1 if a rule is broken; part of `make check`

Rules: the 90th percentile of function lengths of the package is at most 30 lines and none has more than 60; no module
imports itself in a circle; no test replaces a part of the product by a mock. Lines are counted without the docstring;
imports for type checking alone do not count.
"""

import argparse
import ast
import graphlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "autoscaler"
MOST_LINES, MOST_LINES_P90 = 60, 30
MOCKS = {"unittest.mock", "mock", "pytest_mock"}


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


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield what a module imports by absolute names when it runs; ``package`` resolves relative ones."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).strip(".")
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
        elif not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield from imported(node, package)


def modules(root: Path, package: str) -> Mapping[str, Path]:
    """Return the files of a package by module name."""
    found = {}
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def cycle(root: Path, package: str) -> list[str]:
    """Return one circle of modules that import each other, empty if there is none."""
    known = modules(root, package)
    graph = {}
    for name, file in known.items():
        within = name if file.stem == "__init__" else name.rpartition(".")[0]
        names = set(imported(ast.parse(file.read_text(encoding="utf-8")), within))
        graph[name] = {each for each in names if each in known and each != name and known[each].stem != "__init__"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def mocking(files: Sequence[Path], root: Path) -> list[str]:
    """Return the tests that import a library of mocks."""
    return [
        str(file.relative_to(root))
        for file in files
        if MOCKS & set(imported(ast.parse(file.read_text(encoding="utf-8")), ""))
    ]


def problems(root: Path, package: str = PACKAGE) -> list[str]:
    """Return every rule that is broken, in words."""
    found = [each for file in modules(root, package).values() for each in functions(file, root)]
    told = [f"{each.place}: {each.lines} lines, at most {MOST_LINES}" for each in found if each.lines > MOST_LINES]
    if p90(found) > MOST_LINES_P90:
        told.append(f"90th percentile of function lengths: {p90(found)} lines, at most {MOST_LINES_P90}")
    if circle := cycle(root, package):
        told.append(f"import cycle: {' > '.join(circle)}")
    mocks = mocking(sorted((root / "tests").rglob("*.py")), root)
    return [*told, *(f"{file}: imports a mock; use a fake of simulate/ or a value" for file in mocks)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; 1 if a rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print broken rules only")
    wanted = parser.parse_args(arguments)
    broken = problems(ROOT)
    if not wanted.check:
        found = [each for file in modules(ROOT, PACKAGE).values() for each in functions(file, ROOT)]
        print(f"{len(found)} functions, 90th percentile {p90(found)} lines, longest:")
        for each in sorted(found, key=lambda function: -function.lines)[:10]:
            print(f"  {each.lines} {each.place}")
    print(*broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
