"""A test whose server is absent skips and says why; in CI it fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("ci", "status", "summary"),
    [pytest.param("", 0, r"\d+ skipped", id="at home"), pytest.param("true", 1, r"\d+ errors", id="in CI")],
)
def test_absent_servers(tmp_path: Path, ci: str, status: int, summary: str) -> None:
    environment = {"PATH": str(tmp_path), "DISAGG_SERVERS_CACHE": str(tmp_path), "HOME": os.environ["HOME"], "CI": ci}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/integration/servers"]
    done = subprocess.run(
        [*command, "-k", "prometheus"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert re.search(summary, done.stdout)
    assert "not found: prometheus, promtool; run `make servers`" in done.stdout
