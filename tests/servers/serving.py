"""A small HTTP server of a test: one function answers whatever is asked."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self, TypeAlias

Answer: TypeAlias = tuple[int, str, bytes]
"""Status, content type and body."""

TEXT = "text/plain; version=0.0.4"


class Serving:
    """A context manager that serves at ``address`` while it is open; ``answer`` gets the path and the body sent."""

    def __init__(
        self,
        answer: Callable[[str, bytes], Answer],
        listen: tuple[str, int] = ("127.0.0.1", 0),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take who answers, which is called in a thread for each request, and where to listen; port 0 is a free one."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, kind, text = answer(self.path, body)
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    self.close_connection = True  # who asked has gone meanwhile

            do_POST = do_GET  # noqa: N815 - the name that is called

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the overridden signature
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(listen, Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.address = f"{listen[0]}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
