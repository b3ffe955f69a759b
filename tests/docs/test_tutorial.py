"""Every shell block of the tutorials, one after the other, and that it says what the page says it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, blocks

TUTORIALS = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
SEEN = ("examples", "policies")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder that looks like a clone after `make demo`, and where anything may be written."""
    for name in SEEN:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in TUTORIALS])
def test_every_block_runs_and_says_what_the_page_says(page: Path, clone: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "LC_ALL": "C.UTF-8"}
    output, ran, compared = "", 0, 0
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "sh":
            done = subprocess.run(
                ["/bin/bash", "-euo", "pipefail", "-c", block.text],
                cwd=clone,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.text}\n{done.stdout}"
            output, ran = done.stdout, ran + 1
        elif block.language == "text":
            assert missing(block.text, output) is None, f"not said: {missing(block.text, output)!r}\n{output}"
            compared += 1
    assert ran >= 8
    assert compared >= 8


def missing(expected: str, output: str) -> str | None:
    """Return the first line of a page that the output does not have, in this order; ``…`` stands for anything."""
    said = iter(" ".join(line.split()) for line in output.splitlines())
    for line in filter(None, (" ".join(line.split()) for line in expected.splitlines())):
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in line.split("…")))
        if not any(pattern.fullmatch(found) for found in said):
            return line
    return None


@pytest.mark.parametrize(
    ("expected", "output", "first"),
    [
        ("a … c\nd", "x\na b c\nd", None),
        ("a … c\nd", "d\na b c", "d"),
        ("a (1)", "a (2)", "a (1)"),
        ("exit 1", "exit 12", "exit 1"),
    ],
)
def test_a_line_that_is_not_said_is_found(expected: str, output: str, first: str | None) -> None:
    assert missing(expected, output) == first
