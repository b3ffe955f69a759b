"""Stands before a Prometheus and can hold its answers back, so that a test knows where in a tick the controller is."""

import threading
import urllib.request
from types import TracebackType

from tests.servers.serving import Answer, Serving

ANSWER_TIMEOUT_S = 30.0


class Gate(Serving):
    """A context manager that passes queries on to ``url``, at an address of its own."""

    def __init__(self, url: str) -> None:
        """Take the server behind."""
        self._behind = url
        self._open = threading.Event()
        self._open.set()
        self._asked = threading.Event()
        super().__init__(self._pass)
        self.url = f"http://{self.address}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End; whoever still waits is let go."""
        self._open.set()
        super().__exit__(kind, error, trace)

    def close(self) -> None:
        """Hold every query back from now on."""
        self._asked.clear()
        self._open.clear()

    def open(self) -> None:
        """Pass on what was held back, and what comes."""
        self._open.set()

    def wait_asked(self, within_s: float) -> None:
        """Wait until a query is held back: then somebody is in the middle of observing."""
        assert self._asked.wait(within_s), f"nobody asked within {within_s:g} s"

    def _pass(self, path: str, body: bytes) -> Answer:
        if not self._open.is_set():
            self._asked.set()
            self._open.wait()
        request = urllib.request.Request(f"{self._behind}{path}", data=body, method="POST")  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - http
            return answer.status, "application/json", answer.read()
