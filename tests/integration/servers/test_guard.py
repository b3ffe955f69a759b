"""No server outlives its test run, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.control_plane import eventually
from tests.servers.guard import survivors

RUN = """
import time
from pathlib import Path
from tests.servers.process import Server
server = Server(["sleep", "600"], log=Path("{log}"), ready=lambda: True)
server.start()
print(server._process.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("death", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_server(tmp_path: Path, death: signal.Signals) -> None:
    code = RUN.format(log=tmp_path / "log")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        server = int(run.stdout.readline())
        assert alive(server)
        run.send_signal(death)
    eventually(lambda: not alive(server), what="the server's end")


def test_a_released_number_is_left_alone() -> None:
    assert survivors(["+1\n", "+2\n", "-1\n"]) == {2}
