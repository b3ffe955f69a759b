"""Every query of the dashboard, asked of a real Prometheus that scrapes the controller's own metrics."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import Result, Step, StepFailure, TickRecord
from autoscaler.domain.signal import Gap, GapReason, Missing
from autoscaler.publish.metrics import OwnMetrics
from tests import planning, ticks
from tests.conftest import PrometheusFactory
from tests.contract.manifests.rendering import MANIFESTS
from tests.servers.control_plane import eventually
from tests.servers.exposition import Exposition
from tests.servers.prometheus import PrometheusServer, Target

DASHBOARD = json.loads((MANIFESTS / "overlays" / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
VARIABLES = {"$policy": ".*", "$__rate_interval": "10s"}


def record(policy: SLOPolicy) -> TickRecord:
    """Return a tick in which something of everything happened."""
    unread = Missing(GapReason.ABSENT, planning.NOW)
    done = ticks.tick(policy, wanted=3, result=Result.DONE)
    failed = (StepFailure(Step.PUBLISH, "KubeWriteError", ""),)
    return replace(done, observation=replace(done.observation, gaps=(Gap("ttft", "", unread),)), failures=failed)


@pytest.fixture
def server(prometheus_server: PrometheusFactory) -> Iterator[PrometheusServer]:
    """Return a Prometheus that has scraped a controller for some seconds."""
    policy, registry = planning.policy(), CollectorRegistry()
    metrics = OwnMetrics(registry, [policy])
    with Exposition() as page:
        running = prometheus_server(targets=[Target(page.address, {"job": "disagg-autoscaler", "pod": "a"})])

        def ticked() -> bool:
            asyncio.run(metrics.publish(record(policy)))
            page.text = generate_latest(registry).decode()
            return bool(running.query("sum(increase(autoscaler_ticks_total[10s])) > 0"))

        eventually(ticked, within_s=60, what="some scrapes")
        yield running


def queries() -> list[tuple[str, str]]:
    """Return title and query of everything that is drawn."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_every_query_draws_something(server: PrometheusServer) -> None:
    empty = []
    for title, query in queries():
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)  # noqa: PLW2901 - what Grafana does
        assert "$" not in query, title
        if not server.query(query):
            empty.append(f"{title}: {query}")
    assert not empty


def test_the_variable_lists_the_policies(server: PrometheusServer) -> None:
    (variable,) = (each for each in DASHBOARD["templating"]["list"] if each["name"] == "policy")
    assert variable["query"] == "label_values(autoscaler_wanted_replicas, policy)"
    found = server.query("group by (policy) (autoscaler_wanted_replicas)")
    assert [each["metric"]["policy"] for each in found] == [planning.policy().key]


def test_no_two_panels_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
