"""``autoscaler policy`` as a user meets it: exit status, stdout, stderr."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from autoscaler.policy import json_schema
from autoscaler.policy.fields import fields
from tests.command import run

ROOT = Path(__file__).resolve().parents[3]
GOOD = str(ROOT / "policies" / "chat.yaml")


@pytest.fixture
def doubtful(tmp_path: Path) -> str:
    path = tmp_path / "doubtful.yaml"
    path.write_text(Path(GOOD).read_text(encoding="utf-8").replace("itl: 40ms", "itl: 2s"), encoding="utf-8")
    return str(path)


def test_a_good_policy_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "check", GOOD) == 0
    assert capsys.readouterr().out == "0 error(s), 0 warning(s); usable policies: llm/chat\n"


def test_warnings_fail_only_if_strict(doubtful: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "check", doubtful) == 0
    assert "2s is above ttft 800ms; are the two swapped?\n" in capsys.readouterr().out
    assert run("policy", "check", "--strict", doubtful) == 1


@pytest.mark.parametrize("parse", [("json", json.loads), ("yaml", yaml.safe_load)], ids=["json", "yaml"])
def test_programs_get_stable_keys(
    doubtful: str, capsys: pytest.CaptureFixture[str], parse: tuple[str, Callable[[str], object]]
) -> None:
    form, read = parse
    assert run("policy", "check", doubtful, "--output", form) == 0
    data = read(capsys.readouterr().out)
    assert isinstance(data, dict)
    (finding,) = data.pop("findings")
    assert data == {"ok": True, "policies": ["llm/chat"], "errors": 0, "warnings": 1}
    assert finding == {
        "severity": "warning",
        "file": doubtful,
        "line": 10,
        "path": "spec.profiles[0].slo.itl",
        "message": "2s is above ttft 800ms; are the two swapped?",
    }


@pytest.mark.parametrize(
    "arguments",
    [("policy", "check"), ("policy", "check", GOOD, "--output", "xml"), ("policy", "chekc"), ("--colour",)],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("policy",), ("policy", "check"), ("policy", "schema")], ids=" ".join)
def test_every_help_has_an_example(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments, "--help") == 0
    assert "Example: autoscaler " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("autoscaler 0.")


def test_the_committed_schema_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "schema") == 0
    assert capsys.readouterr().out == (ROOT / "policies" / "schema.json").read_text(encoding="utf-8")


def test_every_field_of_the_schema_is_described() -> None:
    assert [field.path for field in fields() if not field.description.endswith(".")] == []
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert '"null"' not in json.dumps(json_schema())


def test_the_schema_as_a_table_has_a_line_for_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy", "schema", "--output", "table") == 0
    head, _rule, *rows = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert head.split() == ["field", "type", "default", "meaning"]
    assert [row.split()[0] for row in rows] == [field.path for field in fields()]
