"""``run`` ends cleanly, also before its first tick; a file that it cannot write is told before it begins."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import run
from tests.unit.cli.test_commands import KUBECONFIG, POLICY


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG, encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_while_it_still_waits_for_prometheus_it_ends_with_0(
    kubeconfig: Path, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as prometheus:  # accepts, and never answers
        url = f"http://127.0.0.1:{prometheus.getsockname()[1]}"
        options = ("--policy", POLICY, "--prometheus", url, "--kubeconfig", str(kubeconfig), "--listen", "127.0.0.1:0")
        command = [sys.executable, "-m", "autoscaler", "run", *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own words
        try:
            prometheus.settimeout(60.0)
            asking, _ = prometheus.accept()
            process.send_signal(number)
            asking.close()
            prometheus.close()
            _, told = process.communicate(timeout=60.0)
        finally:
            process.kill()
    assert process.returncode == 0, told
    assert '"stopped"' in told.splitlines()[-1]
    assert "Traceback" not in told


def test_a_decision_log_that_cannot_be_written_is_told(
    kubeconfig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kubeconfig" / "decisions.jsonl"  # below a file: no folder
    where = ("--prometheus", "http://127.0.0.1:9", "--kubeconfig", str(kubeconfig), "--listen", "127.0.0.1:0")
    assert run("run", "--policy", POLICY, *where, "--decision-log", path) == 1
    told = capsys.readouterr().err
    assert f"error: --decision-log: {path}: File exists; name a file that can be written" in told
    assert "Traceback" not in told
