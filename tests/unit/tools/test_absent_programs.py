"""A test whose program is absent skips and says why; in CI it fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("tests", "told"),
    [
        pytest.param(
            ("tests/integration/servers", "prometheus"),
            "not found: prometheus, promtool; run `make servers`",
            id="a server",
        ),
        pytest.param(("tests/unit/publish/test_page.py", "a_browser_shows"), "no Chromium", id="a browser"),
    ],
)
@pytest.mark.parametrize(
    ("ci", "status", "summary"),
    [pytest.param("", 0, r"\d+ skipped", id="at home"), pytest.param("true", 1, r"\d+ errors?|\d+ failed", id="in CI")],
)
def test_absent_programs(tmp_path: Path, tests: tuple[str, str], told: str, ci: str, status: int, summary: str) -> None:
    environment = {"PATH": str(tmp_path), "DISAGG_SERVERS_CACHE": str(tmp_path), "HOME": os.environ["HOME"], "CI": ci}
    # what may be left to the collector at the end of this inner session is no matter of this test
    options = ["-q", "-rs", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]
    folder, words = tests
    command = [sys.executable, "-m", "pytest", *options, folder, "-k", words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert re.search(summary, done.stdout), done.stderr
    assert told in done.stdout
