"""Start a server as a child process, wait until it answers, and end it surely."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.servers.guard import guard

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 3.0  # the API server may wait for its open watches for ever
POLL_S = 0.05
LOG_LINES = 20


class ServerError(Exception):
    """A server that did not start; the message ends with its log's last lines."""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A child process that can be started again with the same arguments."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take the command line, a file that its output is appended to, a probe for readiness, and more environment."""
        self._command = [str(part) for part in command]
        self._log = log
        self._ready = ready
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Tell whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and return once ready; no harm where it runs already.

        Raises:
            ServerError: the process ended, or was not ready in time.
        """
        if self.running:
            return
        with self._log.open("ab") as output:
            environment = {**os.environ, **self._environment}
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, env=environment)
        guard().watch(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise ServerError(self._story())
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End gently, and by force where that takes too long; no harm where nothing runs."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End by SIGKILL; no harm where nothing runs."""
        if self._process is None:
            return
        self._process.kill()  # does nothing to a process that has ended
        self._process.wait()
        guard().release(self._process.pid)
        self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the process stand still meanwhile: its connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _story(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return f"{Path(self._command[0]).name} did not become ready:\n" + "\n".join(lines)
