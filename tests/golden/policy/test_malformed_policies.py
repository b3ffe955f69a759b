"""Every malformed policy beside this file gets exactly the findings in its ``.txt``, and no traceback.

After a wanted change of words: ``python -m tests.golden.policy.test_malformed_policies`` writes the texts anew; read
the difference before it is committed.
"""

import io
import json
import os
from contextlib import chdir, redirect_stdout
from pathlib import Path

import pytest

from autoscaler.cli.app import main
from autoscaler.errors import PolicyError
from autoscaler.policy import load_policies

HERE = Path(__file__).resolve().parent
CASES = sorted(HERE.glob("*.yaml"))


def checked(case: Path, *options: str) -> tuple[int, str]:
    """Run ``autoscaler policy check`` in the folder of the cases; return exit status and stdout."""
    printed = io.StringIO()
    with chdir(HERE), redirect_stdout(printed), pytest.raises(SystemExit) as left:
        main(["policy", "check", case.name, *options])
    assert isinstance(left.value.code, int)
    return left.value.code, printed.getvalue()


def findings(case: Path) -> str:
    """Return what the check says of a case, one finding a line, in the words of PolicyError."""
    status, printed = checked(case, "--output", "json")
    data = json.loads(printed)
    assert status == 1
    assert not data["ok"]
    lines = [
        f"{found['severity']}: {': '.join(part for part in (_where(found), found['path'], found['message']) if part)}"
        for found in data["findings"]
    ]
    return "".join(f"{line}\n" for line in lines)


def _where(found: dict[str, object]) -> str:
    return str(found["file"]) if found["line"] is None else f"{found['file']}:{found['line']}"


def test_there_are_at_least_forty_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_each_malformed_policy_gets_exactly_its_findings(case: Path) -> None:
    assert findings(case) == case.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_table_shows_each_message_on_one_line(case: Path) -> None:
    status, printed = checked(case)
    expected = case.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert status == 1
    for line in expected:
        message = line.split(f"{case.name}:", maxsplit=1)[1]
        assert message.rsplit(": ", maxsplit=1)[-1].strip() in printed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_loading_raises_the_same_errors(case: Path) -> None:
    expected = [
        line.removeprefix("error: ")
        for line in case.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("error: ")
    ]
    with chdir(HERE), pytest.raises(PolicyError) as refused:
        load_policies([Path(case.name)])
    assert list(refused.value.problems) == expected


def test_no_text_is_left_without_its_case() -> None:
    assert {text.stem for text in HERE.glob("*.txt")} == {case.stem for case in CASES}


if __name__ == "__main__":
    for each in CASES:
        each.with_suffix(".txt").write_text(findings(each), encoding="utf-8")
        print(each.stem, os.linesep, each.with_suffix(".txt").read_text(encoding="utf-8"), sep="")  # noqa: T201 - to be read
