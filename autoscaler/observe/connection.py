"""How to reach a Prometheus: address, credentials, patience, and how large an answer may be."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.observe import answers
from autoscaler.observe.answers import Answer


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a Prometheus, and how much of it to bear.

    Credentials are files, read again for each request: tokens of service accounts change every hour.
    """

    url: str
    token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    client_certificate: tuple[Path, Path] | None = None  # certificate, key
    verify: bool = True
    timeout: Seconds = Seconds(5.0)  # of one request
    retries: int = 2
    backoff: Seconds = Seconds(0.25)  # doubled with each retry
    parallel: int = 4
    max_response_bytes: int = 64 * 2**20
    max_series: int = 50_000  # of one answer

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"prometheus: {self.url!r} is no http(s) URL; write http://HOST:9090"
            raise InputError(msg)
        if parts.username or parts.password:
            msg = "prometheus: the URL holds credentials, which end up in logs; give a user name and a password file"
            raise InputError(msg)
        if self.token_file and self.username:
            msg = "prometheus: a token file and a user name exclude each other; give one of them"
            raise InputError(msg)
        if bool(self.username) != bool(self.password_file):
            msg = "prometheus: a user name and a password file belong together; give both or neither"
            raise InputError(msg)

    @property
    def name(self) -> str:
        """Name the server in messages."""
        return f"prometheus {self.url.rstrip('/')}"


class TooLargeError(Exception):
    """An answer larger than allowed."""


class TokenFile(AuthBase):
    """Sends the token that the file holds now."""

    def __init__(self, path: Path) -> None:
        """Take the file; it may change."""
        self._path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request."""
        request.headers["Authorization"] = f"Bearer {self._path.read_text().strip()}"
        return request


class PasswordFile(AuthBase):
    """Sends the user name and the password that the file holds now."""

    def __init__(self, username: str, path: Path) -> None:
        """Take the user's name and the file; it may change."""
        self._username = username
        self._path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request."""
        return HTTPBasicAuth(self._username, self._path.read_text().strip())(request)


class WholeResponse(requests.Response):
    """A response of which all is there. Its JSON is typed; the client looks into it by these two names."""

    def json(self, **_: object) -> Mapping[str, Mapping[str, Answer]]:
        """Return the answer that it holds; see ``answers.decoded``."""
        return {"data": {"result": answers.decoded(self.content)}}


class BoundedSession(requests.Session):
    """Reads no more of an answer than allowed, and not for longer."""

    def __init__(self, max_bytes: int, timeout: Seconds) -> None:
        """Take the limits of one answer."""
        super().__init__()
        self._max_bytes = max_bytes
        self._patience = timeout

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - as requests
        """Send, then read the whole answer within the limits.

        Raises:
            TooLargeError: the answer is longer than allowed.
            requests.Timeout: it took too long, though each piece may have come in time.
        """
        response = super().send(request, **{**kwargs, "stream": True})
        deadline = time.monotonic() + self._patience
        body = bytearray()
        for piece in response.iter_content(65536):
            body += piece
            if len(body) > self._max_bytes:
                response.close()
                msg = f"answer larger than {self._max_bytes} bytes"
                raise TooLargeError(msg)
            if time.monotonic() > deadline:
                response.close()
                msg = f"answer not complete after {self._patience:g} s"
                raise requests.Timeout(msg)
        whole = WholeResponse()
        whole.__setstate__({**response.__getstate__(), "_content": bytes(body)})  # as if it had been pickled meanwhile
        return whole


def session(connection: Connection) -> requests.Session:
    """Return a session with the connection's certificates and limits."""
    bounded = BoundedSession(connection.max_response_bytes, connection.timeout)
    bounded.verify = str(connection.ca_file) if connection.ca_file else connection.verify
    if connection.client_certificate:
        certificate, key = connection.client_certificate
        bounded.cert = (str(certificate), str(key))
    return bounded


def credentials(connection: Connection) -> AuthBase | None:
    """Return what signs each request, if anything does."""
    if connection.token_file:
        return TokenFile(connection.token_file)
    if connection.password_file:
        return PasswordFile(connection.username, connection.password_file)
    return None
