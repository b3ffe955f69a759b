"""Stands before a Prometheus and can hold its answers back, so that a test knows where in a tick the controller is."""

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

ANSWER_TIMEOUT_S = 30.0


class Gate:
    """A context manager that passes queries on to ``url``, at an address of its own."""

    def __init__(self, url: str) -> None:
        """Take the server behind."""
        self._behind = url
        self._open = threading.Event()
        self._open.set()
        self._asked = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                gate._pass(self)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the overridden signature
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Pass queries on."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End; whoever still waits is let go."""
        self._open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

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

    def _pass(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if not self._open.is_set():
            self._asked.set()
            self._open.wait()
        request = urllib.request.Request(f"{self._behind}{handler.path}", data=body, method="POST")  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - http
            text, status = answer.read(), answer.status
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(text)))
            handler.end_headers()
            handler.wfile.write(text)
        except OSError:
            handler.close_connection = True  # who asked has been killed meanwhile
