"""The hour in the tunnel that ``make demo`` shows: its files can be read, its command can be typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autoscaler.cli.app import app
from autoscaler.domain.policy import SchedulerKind
from autoscaler.policy import load_policies
from autoscaler.simulate.trace_files import read_trace
from examples.tunnel_hour import demo


def test_the_trace_is_the_recorded_hour() -> None:
    trace = read_trace(demo.HERE / demo.TRACE)
    assert len(trace) == 19_366
    assert 57 * 60 < trace.duration_s < 60 * 60


def test_the_policy_drains_through_a_picker() -> None:
    (policy,) = load_policies([demo.HERE / "policy.yaml"]).policies
    assert policy.scheduler.kind is SchedulerKind.INFERENCE_POOL


@pytest.mark.slow
def test_ours_keeps_its_promise_and_every_request_for_less_than_hpa(tmp_path: Path) -> None:
    report = tmp_path / "out.html"
    typed = [*demo.command(report), "--no-bound", "--backend", "sequential", "--output", "json"]
    result = CliRunner().invoke(app, typed)
    assert result.exit_code == 0
    rows = {row["policy"]: row for row in json.loads(result.stdout)["rows"]}
    assert rows["ours"]["attainment"] >= 0.99
    assert rows["ours"]["lost_requests"] == 0 < rows["hpa"]["lost_requests"]
    assert rows["ours"]["cost"] < rows["hpa"]["cost"]
    assert report.exists()
