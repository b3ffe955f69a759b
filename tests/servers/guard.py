"""Ends servers that outlive a test run which was killed: a small process that holds the other end of a pipe.

It reads lines ``+PID`` and ``-PID``; when its input ends, by whatever death of the writer, it kills what is left.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import cache


class Guard:
    """The writer's side."""

    def __init__(self) -> None:
        """Start the process, in a session of its own: Ctrl-C must not reach it before the tests have cleaned up."""
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        atexit.register(self._close)

    def watch(self, pid: int) -> None:
        """Kill this process when the tests are no more."""
        self._say(f"+{pid}")

    def release(self, pid: int) -> None:
        """Leave this process alone: it has ended, its number may go to another."""
        self._say(f"-{pid}")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def guard() -> Guard:
    """Return the one of this test process."""
    return Guard()


def survivors(lines: Iterable[str]) -> set[int]:
    """Return what was watched and not released."""
    watched = set[int]()
    for line in lines:
        pid = int(line[1:])
        if line.startswith("+"):
            watched.add(pid)
        else:
            watched.discard(pid)
    return watched


if __name__ == "__main__":
    for survivor in survivors(sys.stdin):
        with contextlib.suppress(ProcessLookupError):
            os.kill(survivor, signal.SIGKILL)
