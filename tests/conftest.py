"""Fixtures for tests against real servers, and the rule what an absent program means.

A test that uses one of them is marked ``integration`` by that fact. Where a binary is absent it skips and says why, as
others do without a browser or a C compiler. With CI set in the environment every skip is a failure, so that nothing
passes there unseen; but for tests marked ``upstream``, whose programs CI cannot have.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from tests.servers.control_plane import ControlPlane
from tests.servers.kubelet import kubelet_in_thread
from tests.servers.prometheus import PrometheusServer, Target
from tools.servers import find

SERVER_FIXTURES = frozenset({"control_plane", "kubelet", "namespace", "prometheus_server"})


class PrometheusFactory(Protocol):
    """Starts Prometheus servers that end with the test."""

    def __call__(self, *, targets: Sequence[Target] = (), scrape_interval_s: float = 1.0) -> PrometheusServer:
        """Return a started server."""
        ...


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use a server."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # sees what the others made of xfail
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure in CI."""
    report = yield
    expected = hasattr(report, "wasxfail")
    if report.skipped and not expected and os.environ.get("CI") and not item.get_closest_marker("upstream"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not accept: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Return a running control plane, one for the whole session; tests keep to a namespace of their own."""
    _require(find.CONTROL_PLANE_BINARIES)
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def kubelet(control_plane: ControlPlane) -> Iterator[None]:
    """Look after the pods of the control plane."""
    with kubelet_in_thread(control_plane.kubeconfig()):
        yield


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """Return the name of a fresh namespace, deleted with all in it after the test.

    The API server runs before and after the test, whatever outage the test made or failed in.
    """
    control_plane.start_api_server()
    name = f"test-{uuid4().hex[:8]}"
    control_plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    control_plane.start_api_server()
    control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def prometheus_server(tmp_path: Path) -> Iterator[PrometheusFactory]:
    """Return a factory of Prometheus servers, each with empty data."""
    _require(find.PROMETHEUS_BINARIES)
    numbers = count()
    with ExitStack() as servers:

        def start(*, targets: Sequence[Target] = (), scrape_interval_s: float = 1.0) -> PrometheusServer:
            folder = tmp_path / f"prometheus-{next(numbers)}"
            folder.mkdir()
            server = PrometheusServer(folder, targets=targets, scrape_interval_s=scrape_interval_s)
            return servers.enter_context(server)

        yield start


def _require(binaries: Sequence[str]) -> None:
    """Skip the test where a binary is absent."""
    try:
        find.locate(binaries)
    except find.MissingServersError as error:
        pytest.skip(str(error))
