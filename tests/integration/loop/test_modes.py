"""The whole loop as a process, against a real API server and a real Prometheus: it acts in Auto, and only then."""

import pytest

from tests.integration.loop.conftest import Staging
from tests.servers.control_plane import CONTROLLER_AUTO, CONTROLLER_RECOMMEND, eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MORE_THAN_ONE_REPLICA_CAN_SERVE = 80.0  # requests/s


def test_in_auto_two_deployments_reach_the_wanted_replicas(staging: Staging) -> None:
    scene = staging(rate=MORE_THAN_ONE_REPLICA_CAN_SERVE)
    with scene.controller("Auto") as controller:
        controller.until(scene.settled, "both pools at the wanted size, ready")
        eventually(lambda: controller.get("/readyz") == (200, "ok\n"), within_s=60, what="readiness")
        metrics = controller.metrics()
        assert controller.terminate() == 0

    for name, replicas in scene.ready().items():
        assert replicas > 1
        for count in ("wanted", "requested", "ready"):
            assert metrics[f"autoscaler_{count}_replicas", (scene.key, name, name)] == replicas
    for step in ("observe", "decide", "act", "publish"):
        assert metrics["autoscaler_step_seconds_count", (step,)] >= 5
    assert 60.0 < metrics["autoscaler_demand_requests_per_second", (scene.key, "rag")] < 160.0
    assert metrics["autoscaler_actions_total", ("Scale", "done")] >= 2
    assert not scene.sizes.falls()
    assert {
        (e.verb, e.resource, e.code) for e in scene.plane.writes(CONTROLLER_AUTO) if e.namespace == scene.namespace
    } == {("patch", "deployments/scale", 200)}
    assert [event["event"] for event in controller.events()][-1] == "stopped"


def test_in_recommend_the_audit_log_holds_no_write(staging: Staging) -> None:
    scene = staging(rate=MORE_THAN_ONE_REPLICA_CAN_SERVE)
    with scene.controller("Recommend") as controller:

        def wished(ticks: list[dict[str, object]]) -> bool:
            """Tell whether at least five ticks wanted more than there is."""
            return sum(any(count > 1 for count in scene.wanted(tick).values()) for tick in ticks) >= 5

        ticks = controller.until(wished, "five ticks that want more")
        assert controller.terminate() == 0

    def audited(verb: str) -> set[str]:
        events = scene.plane.audit_events(CONTROLLER_RECOMMEND)
        return {event.resource for event in events if (event.verb, event.namespace) == (verb, scene.namespace)}

    eventually(lambda: audited("list") >= {"deployments", "pods"}, what="the audit events")
    assert not scene.plane.writes(CONTROLLER_RECOMMEND)
    outcomes = [result for tick in ticks for result in tick["outcome"]]
    assert {result["result"] for result in outcomes} == {"dry-run"}
    assert scene.sizes.now() == {"prefill": 1, "decode": 1}
