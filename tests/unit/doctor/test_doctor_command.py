"""``autoscaler doctor`` as a user meets it, on policies alone and on a recording."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from autoscaler.observe.doctor import cluster, metrics
from tests import command

ROOT = Path(__file__).resolve().parents[3]
RECORDING = ROOT / "examples" / "h200_pd"


run = functools.partial(command.run, "doctor")


def spoilt(tmp_path: Path, old: str, new: str) -> str:
    path = tmp_path / "policy.yaml"
    text = (RECORDING / "policy.yaml").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return str(path)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    data["by_check"] = {one["check"]: one["findings"] for one in data["checks"]}
    return data


def test_the_recorded_pair_of_engines_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--policy", str(RECORDING / "policy.yaml"), "--recording", str(RECORDING))
    assert run(*arguments, "--fleet", str(RECORDING / "fleet.yaml"), "-o", "json") == 0
    data = told(capsys)
    assert data["ok"]
    assert len(data["checks"]) >= 20
    assert data["not_looked_at"] == ["cluster: not looked at; give --cluster or --kubeconfig"]


def test_a_wrong_model_name_is_found_in_the_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = spoilt(tmp_path, "model: m ", "model: qwen3 ")
    assert run("--policy", policy, "--recording", str(RECORDING), "-o", "json") == 1
    (finding,) = told(capsys)["by_check"]["engine-series"]
    assert finding["found"] == "served model names are m, not qwen3"


@pytest.mark.parametrize("policy", sorted(path.name for path in (ROOT / "policies").glob("*.yaml")))
def test_the_policies_that_ship_are_healthy_by_themselves(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--policy", str(ROOT / "policies" / policy)) == 0
    assert "metrics: not looked at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        ("minReplicas: 1", "minReplica: 1", "policy-file", 'did you mean "minReplicas"'),
        ("ttft: 4s, itl: 60ms", "ttft: 3ms, itl: 50us", "policy-file", ""),
        ("performanceProfile: h200-tp1-qwen3-32b", "performanceProfile: h9000", "speed", "h9000"),
        ("          performanceProfile: h200-tp1-qwen3-32b\n", "", "speed", "variant prefill-h200"),
        ("itl: 60ms", "itl: 2ms", "slo-feasible", "2ms is below"),
    ],
    ids=["unknown field", "unusable value", "unknown profile", "unknown model shape", "limit out of reach"],
)
def test_mistakes_in_the_policy_alone_are_found(
    tmp_path: Path, old: str, new: str, check: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--policy", spoilt(tmp_path, old, new), "-o", "json") == 1
    findings = told(capsys)["by_check"][check]
    assert findings
    assert any(words in " ".join(f.values()) for f in findings), findings


def test_a_prometheus_that_is_not_there_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    policy = str(RECORDING / "policy.yaml")
    assert run("--policy", policy, "--prometheus", "http://127.0.0.1:9", "-o", "json") == 1
    (finding,) = told(capsys)["by_check"]["metrics"]
    assert "is the URL right" in finding["found"]


def test_findings_are_told_with_their_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--policy", spoilt(tmp_path, "h200-tp1-qwen3-32b", "h9000")) == 1
    shown = capsys.readouterr().out
    assert "speed: variant prefill-h200: " in shown
    assert "\n  -> write the accelerator as one that is known" in shown


def test_the_how_to_names_every_check() -> None:
    page = (ROOT / "docs" / "how-to" / "find-out-why-nothing-happens.md").read_text()
    rows = dict(re.findall(r"^\| (metrics|cluster) \| (.*) \|$", page, re.MULTILINE))
    assert rows["metrics"].split(", ") == [check.name for check in metrics.CHECKS]
    assert rows["cluster"].split(", ") == [check.name for check in cluster.CHECKS]
