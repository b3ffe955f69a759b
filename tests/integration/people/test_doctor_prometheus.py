"""``autoscaler doctor`` on a real Prometheus that holds the recorded pair of engines."""

import json
from pathlib import Path
from typing import Any

import pytest

from autoscaler.cli.app import main
from autoscaler.observe.recording import load_recording
from tests.conftest import PrometheusFactory
from tests.observing import RECORDING

AT = "1795372140"


def told(capsys: pytest.CaptureFixture[str], url: str, policy: Path, *arguments: str) -> dict[str, Any]:
    """Return the findings by check."""
    with pytest.raises(SystemExit):
        main(("doctor", "--policy", str(policy), "--prometheus", url, "--at", AT, "-o", "json", *arguments))
    data = json.loads(capsys.readouterr().out)
    return {one["check"]: one["findings"] for one in data["checks"] if one["findings"]}


def test_prometheus_and_recording_are_examined_alike(
    prometheus_server: PrometheusFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = prometheus_server()
    load_recording(RECORDING).write_openmetrics(tmp_path / "recording.om")
    server.backfill(tmp_path / "recording.om")
    policy = RECORDING / "policy.yaml"
    assert told(capsys, server.url, policy, "--fleet", str(RECORDING / "fleet.yaml")) == {}

    other = tmp_path / "policy.yaml"
    other.write_text(policy.read_text().replace("model: m ", "model: qwen3 "))
    found = told(capsys, server.url, other)
    assert found["engine-series"][0]["found"] == "served model names are m, not qwen3"
    assert found["picker-series"][0]["found"] == "served model names are m, not qwen3"

    other.write_text(policy.read_text().replace("namespace: llm", "namespace: prod"))
    assert (
        told(capsys, server.url, other)["engine-series"][0]["found"] == "the model's engine series carry namespace llm"
    )


def test_an_empty_prometheus_is_told(prometheus_server: PrometheusFactory, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, prometheus_server().url, RECORDING / "policy.yaml")
    assert found["engine-series"][0]["found"] == "none in any namespace"
    assert found["picker-series"][0]["found"] == "none in any namespace"
    assert {finding["subject"] for finding in found["demand-signal"]} == {
        "profile rag",
        "profile reasoning",
        "profile chat",
        "profile default",
    }
