"""A Prometheus whose certificate an own CA signed: believed with its file, else nothing is sent to it."""

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscaler.domain.signal import GapReason
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.prometheus import PrometheusSource
from tests import observing
from tests.servers.serving import Answer, Serving

NOW = Instant(1795372140.0)
EMPTY = b'{"status": "success", "data": {"resultType": "vector", "result": []}}'


def signed(folder: Path, name: str) -> Path:
    """Return a certificate for 127.0.0.1 that signed itself; its key is beside it."""
    path = folder / f"{name}.crt"
    names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    kind = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    command = ["openssl", "req", *kind, *names, "-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


class Prometheus:
    """Answers at ``url``, by TLS; keeps what was asked."""

    def __init__(self, folder: Path) -> None:
        """Take where to keep certificates."""
        self.asked: list[str] = []
        self.certificate, self.stranger = (signed(folder, name) for name in ("prometheus", "stranger"))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.certificate, self.certificate.with_suffix(".key"))
        self.server = Serving(self._answer, tls=tls)
        self.url = f"https://{self.server.address}"

    def _answer(self, path: str, _: bytes) -> Answer:
        self.asked.append(path)
        return 200, "application/json", EMPTY


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    known = Prometheus(tmp_path)
    with known.server:
        yield known


def gaps(connection: Connection) -> list[str]:
    """Look once; return what was unreachable, and why."""
    source = PrometheusSource(connection, ("llm",), Windows(fast=Seconds(30.0)))
    policy = observing.policy(*observing.BY_FAIRNESS)
    seen = asyncio.run(ClusterObserver((policy,), source, observing.one_each()).observe(NOW))
    return [gap.missing.detail for gap in seen.gaps if gap.missing.reason is GapReason.UNREACHABLE]


@pytest.mark.parametrize("bundle", [False, True], ids=["", "whatever bundle the environment names"])
def test_it_is_believed_by_its_ca(prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch, *, bundle: bool) -> None:
    if bundle:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(prometheus.stranger))
    assert not gaps(Connection(prometheus.url, ca_file=prometheus.certificate, retries=0))
    assert prometheus.asked


@pytest.mark.parametrize("stranger", [False, True], ids=["by the CAs of the system", "by another one"])
def test_without_its_ca_nothing_is_sent(prometheus: Prometheus, *, stranger: bool) -> None:
    ca_file = prometheus.stranger if stranger else None
    (why,) = gaps(Connection(prometheus.url, ca_file=ca_file, retries=0))
    assert "--prometheus-ca-file" in why
    assert not prometheus.asked
