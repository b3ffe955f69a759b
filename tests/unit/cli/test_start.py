"""The command line starts quickly: what is not called is not imported, and is told truly all the same."""

import subprocess
import sys

import pytest

from autoscaler.cli import app

HEAVY = {"kubernetes_asyncio", "numpy", "pandas", "scipy", "sklearn"}


def imported_by(*arguments: str) -> set[str]:
    """Return the packages and modules that a fresh process has imported when a command ends."""
    script = (
        "import sys\nfrom autoscaler.cli import app\n"
        "try:\n    app.main(sys.argv[1:])\nfinally:\n    print('', *sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own words
    return {*done.stderr.split()}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)], ids=" ".join)
def test_help_imports_nothing_that_takes_long(arguments: tuple[str, ...]) -> None:
    imported = imported_by(*arguments)
    assert "autoscaler" in imported
    assert not imported & HEAVY


def test_checking_a_policy_trains_nothing() -> None:
    assert not imported_by("policy", "check", "policies/rag-and-reasoning.yaml") & {"pandas", "sklearn"}


def test_a_controller_does_not_begin_with_what_few_ticks_need() -> None:
    imported = imported_by("run", "--help")
    assert "scipy.special" in imported
    assert not imported & {"pandas", "scipy.optimize", "scipy.sparse", "sklearn"}


@pytest.mark.parametrize("name", app.COMMANDS)
def test_the_line_of_each_command_is_how_its_own_help_begins(name: str) -> None:
    told = app.command(name).help
    assert " ".join(told.split("\n\n")[0].split()) == app.COMMANDS[name]


def test_a_command_that_is_not_known_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        app.main(["recmmend"])
    assert left.value.code == 2
    assert "recommend" in capsys.readouterr().err
