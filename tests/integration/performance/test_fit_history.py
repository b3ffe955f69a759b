"""``profile fit`` on a real Prometheus that remembers the real recording."""

from pathlib import Path

import pytest

from autoscaler.cli.app import main
from autoscaler.domain.pool import Role
from autoscaler.observe.recording import load_recording
from autoscaler.performance.profile import load_profile, parse_profile
from examples.h200_pd import demo
from tests.conftest import PrometheusFactory


def test_a_profile_is_fitted_from_prometheus(
    prometheus_server: PrometheusFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = load_recording(demo.HERE)
    recording.write_openmetrics(tmp_path / "recording.om")
    server = prometheus_server()
    server.backfill(tmp_path / "recording.om")
    with pytest.raises(SystemExit) as left:
        main(
            (
                *("profile", "fit", "--name", "mine", "--prometheus", server.url, "--variant", "decode-h200"),
                *("--policy", str(demo.HERE / "policy.yaml"), "--pods", "d0", "--window", "15s"),
                *("--from", str(recording.start), "--to", str(recording.end)),
            )
        )
    told = capsys.readouterr()
    assert left.value.code == 0, told.err
    made = parse_profile(told.out, "printed")
    assert made.roles == (Role.DECODE,)
    assert made.provenance.itl_error is not None
    assert made.provenance.itl_error < 0.03
    shipped = load_profile("h200-tp1-qwen3-32b").model.step
    assert float(made.model.step.step_s(16, 24_000)) == pytest.approx(float(shipped.step_s(16, 24_000)), rel=0.04)
