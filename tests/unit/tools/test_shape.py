"""The rules on how code is built are kept here, and told where they are broken elsewhere."""

from pathlib import Path

import pytest

from tools import shape


def package(root: Path, **files: str) -> Path:
    """Write a package of the given modules."""
    folder = root / "autoscaler"
    folder.mkdir()
    (root / "tests").mkdir()
    for name, text in {"__init__": "", **files}.items():
        place = root / "tests" if name.startswith("test_") else folder
        (place / f"{name}.py").write_text(text, encoding="utf-8")
    return root


def function(lines: int, *, docstring: int = 0) -> str:
    """Return a function of so many lines, and a docstring of so many."""
    told = ['    """' + "\n" * (docstring - 1) + '    """'] if docstring else []
    return "\n".join(["def long():", *told, *["    x = 1"] * (lines - 1)]) + "\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"a": function(60, docstring=20)}, "", id="long, and its docstring"),
        pytest.param({"a": function(61)}, "61 lines, at most 60", id="too long"),
        pytest.param({"a": function(31)}, "", id="one of many"),
        pytest.param({"test_a": "from unittest.mock import Mock\n"}, "tests/test_a.py: imports a mock", id="a mock"),
    ],
)
def test_rules(files: dict[str, str], expected: str, tmp_path: Path) -> None:
    many = "".join(f"def short{i}(): pass\n" for i in range(20))
    told = shape.problems(package(tmp_path, many=many, **files))
    assert (len(told) == 1 and expected in told[0]) if expected else not told


def test_most_functions_are_short(tmp_path: Path) -> None:
    (told,) = shape.problems(package(tmp_path, a=function(31) * 2, b="def short(): pass\n" * 8))
    assert told == "90th percentile of function lengths: 31 lines, at most 30"


def test_this_project_keeps_them() -> None:
    assert shape.problems(shape.ROOT) == []
