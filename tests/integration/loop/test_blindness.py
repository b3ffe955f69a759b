"""A Prometheus that is gone, empty or stale: nothing shrinks, everybody can tell, the first look after it is whole."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.loop.conftest import NAMES, Scene, Staging
from tests.integration.loop.controller import Autoscaler
from tests.servers.control_plane import eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MORE_THAN_EIGHT_REPLICAS_CAN_SERVE = 400.0
"""Requests/s. Of a quarter of them fewer than eight would be wanted: so many Prometheus' rate reads behind a gap."""
PATIENCE_S = 20
FULL = dict.fromkeys(NAMES, 8)

BACK = (
    'count(count_over_time(llm_d_epp_request_total{{namespace="{0}"}}[10s]) >= 10) '
    '+ count(count_over_time(vllm:num_requests_running{{namespace="{0}"}}[10s]) >= 10) == 17'
)
"""One picker and 16 pods have been scraped each second through a whole window."""


def requests_of(scene: Scene, tick: dict[str, Any]) -> Any:  # noqa: ANN401 - a number, or why there is none
    return tick["observation"]["models"][scene.key]["loads"]["rag"]["requests_per_second"]


def blind(scene: Scene, reason: str) -> Callable[[list[dict[str, Any]]], bool]:
    """Return what tells whether no load has been known, for a reason, for longer than the policy's patience."""

    def holds(ticks: list[dict[str, Any]]) -> bool:
        since = ticks[-1]["at"] - PATIENCE_S - 5.0 if ticks else 0.0
        last = [requests_of(scene, tick) for tick in ticks if tick["at"] > since]
        missing = [isinstance(rate, dict) and rate["missing"] == reason for rate in last]
        return len(missing) >= 3 and all(missing) and ticks[0]["at"] < since

    return holds


def check_told(controller: Autoscaler, tick: dict[str, Any], reason: str) -> None:
    """Check that log, probes and metrics tell of a gap."""
    eventually(lambda: controller.get("/readyz")[0] == 503, within_s=60, what="/readyz 503")
    assert reason in controller.get("/readyz")[1]
    assert controller.get("/healthz") == (200, "ok\n")
    assert controller.metrics()["autoscaler_missing_signals", (reason,)] >= 1.0
    assert reason in {gap["missing"]["missing"] for gap in tick["observation"]["gaps"]}


def _is_right(rate: Any) -> bool:  # noqa: ANN401 - as ``requests_of`` returns it
    return isinstance(rate, float) and abs(rate / MORE_THAN_EIGHT_REPLICAS_CAN_SERVE - 1.0) < 0.1


def check_whole(scene: Scene, controller: Autoscaler) -> None:
    """Check that the first tick after the data are back is whole, and that readiness follows."""
    query = BACK.format(scene.namespace)
    eventually(lambda: bool(scene.prometheus.query(query)), within_s=60, what="data")
    back = time.time()
    tick = controller.next_tick()
    assert isinstance(requests_of(scene, tick), float), f"no load is known {tick['at'] - back:.1f} s later"
    assert not tick["failures"]
    assert _is_right(requests_of(scene, tick)), "a load that is known is the true one"
    eventually(lambda: controller.get("/readyz")[0] == 200, within_s=60, what="/readyz 200")


def test_nothing_shrinks_while_prometheus_is_gone_empty_or_stale(staging: Staging) -> None:
    """Under a policy whose patience is shorter than each outage: the end shows that it shrinks where load is gone."""
    scene = staging(rate=MORE_THAN_EIGHT_REPLICAS_CAN_SERVE, replicas=8)
    with scene.controller("Auto", patience_s=PATIENCE_S) as controller:
        controller.until(scene.settled, "eight of each, wanted and ready")
        check_whole(scene, controller)
        begun = time.time()

        scene.prometheus.stop()
        check_told(
            controller, controller.until(blind(scene, "unreachable"), "ticks without answers")[-1], "unreachable"
        )
        scene.prometheus.start()
        check_whole(scene, controller)

        scene.discovery.namespace_label = "kubernetes_namespace"
        check_told(controller, controller.until(blind(scene, "absent"), "ticks without series")[-1], "absent")
        scene.discovery.namespace_label = "namespace"
        check_whole(scene, controller)

        scene.prometheus.stop()
        scene.discovery.scrape(on=False)
        scene.prometheus.start()  # it knows the last samples before its end, and nobody marked them as ended
        check_told(controller, controller.until(blind(scene, "stale"), "ticks with stale series")[-1], "stale")
        scene.discovery.scrape(on=True)
        check_whole(scene, controller)

        assert not scene.sizes.falls()
        ticks = [tick for tick in controller.ticks() if tick["at"] > begun]
        assert [scene.wanted(tick) for tick in ticks] == [FULL] * len(ticks)
        assert not [tick["outcome"] for tick in ticks if tick["outcome"]]

        scene.traffic.turn(0.0)
        eventually(lambda: set(scene.sizes.falls()) == set(NAMES), within_s=120, what="a scale-down of what idles")
        assert controller.terminate() == 0


def test_a_gap_of_the_scrapes_is_no_fall_of_a_growing_load(staging: Staging) -> None:
    """Under a policy whose patience is shorter than the gap: no tick behind it reads a load below the one before it."""
    scene = staging(rate=40.0)
    with scene.controller("Auto", patience_s=10) as controller:
        before = scene.wanted(controller.until(scene.settled, "both pools at the wanted size, ready")[-1])
        begun, changes = time.time(), {name: len(scene.sizes.of(name)) for name in NAMES}

        scene.prometheus.stop()
        scene.traffic.turn(80.0)
        controller.until(lambda ticks: ticks[-1]["at"] > begun + 15.0, "ticks without answers")
        scene.prometheus.start()
        back = time.time()

        def grown(ticks: list[dict[str, Any]]) -> bool:
            last = scene.wanted(ticks[-1])
            return ticks[-1]["at"] > back and all(last.get(name, 0) > before[name] for name in NAMES)

        ticks = controller.until(grown, "more of both")
        read = [requests_of(scene, tick) for tick in ticks if tick["at"] > begun]
        missing = [rate["missing"] for rate in read if isinstance(rate, dict)]
        assert "unreachable" in missing
        assert "partial" in missing, "the window is not whole yet when the answers come back"
        assert min(rate for rate in read if isinstance(rate, float)) > 0.9 * 40.0
        since = {name: scene.sizes.of(name)[changes[name] - 1 :] for name in NAMES}
        assert all(counts == sorted(counts) for counts in since.values()), since
        assert controller.terminate() == 0


def test_it_waits_for_a_prometheus_that_comes_later(staging: Staging) -> None:
    scene = staging(rate=80.0)
    scene.prometheus.stop()
    with scene.controller("Auto", window=None) as controller:
        controller.until(lambda ticks: len(ticks) >= 2, "two ticks without answers")
        assert controller.get("/healthz") == (200, "ok\n")
        assert controller.get("/readyz")[0] == 503
        scene.prometheus.start()
        controller.until(lambda ticks: scene.wanted(ticks[-1]).get("prefill", 0) > 1, "more prefill")
        eventually(lambda: controller.get("/readyz")[0] == 200, within_s=60, what="/readyz 200")
        assert controller.terminate() == 0
    assert {"scrape_interval_unknown", "started_cold"} <= {event["event"] for event in controller.events()}
    assert not scene.sizes.falls()
