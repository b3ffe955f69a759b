"""The Prometheus that other tests build on: past data come back, targets are scraped, a stop keeps the data."""

import time
from pathlib import Path

import pytest

from tests.conftest import PrometheusFactory
from tests.servers.control_plane import eventually
from tests.servers.exposition import Exposition
from tests.servers.prometheus import Target

LONG_AGO = 1_600_000_000


def recording(folder: Path, *, value: float) -> Path:
    samples = [f'demo_load{{pod="a"}} {value} {LONG_AGO + 15 * tick}' for tick in range(8)]
    path = folder / "recording.txt"
    path.write_text("\n".join(["# TYPE demo_load gauge", *samples, "# EOF", ""]))
    return path


def test_a_backfilled_past_is_served_and_survives_a_stop(prometheus_server: PrometheusFactory, tmp_path: Path) -> None:
    server = prometheus_server()
    server.backfill(recording(tmp_path, value=7.5))
    [series] = server.query("demo_load", at=LONG_AGO + 100)
    assert (series["metric"]["pod"], series["value"][1]) == ("a", "7.5")
    server.stop()
    with pytest.raises(OSError, match="refused"):
        server.query("demo_load")
    server.start()
    assert server.query("demo_load", at=LONG_AGO + 100) == [series]
    assert server.query("demo_load", at=LONG_AGO + 15 * 7 + 301) == []


def test_a_recording_without_its_end_is_refused(prometheus_server: PrometheusFactory, tmp_path: Path) -> None:
    torn = tmp_path / "torn.txt"
    torn.write_text(f"# TYPE demo_load gauge\ndemo_load 1 {LONG_AGO}\n")
    with pytest.raises(ValueError, match="promtool refused"):
        prometheus_server().backfill(torn)


def test_targets_are_scraped_with_their_labels_and_can_change(prometheus_server: PrometheusFactory) -> None:
    with Exposition("demo_queue 3\n") as page:
        server = prometheus_server(scrape_interval_s=0.2)
        assert server.query("up") == []
        server.set_targets([Target(page.address, {"job": "engine", "role": "prefill"})])
        eventually(lambda: bool(server.query('demo_queue{job="engine", role="prefill"} == 3')), what="the first scrape")
        page.text = "demo_queue 4\n"
        eventually(lambda: bool(server.query("demo_queue == 4")), what="the changed page")
        page.text = None
        eventually(lambda: bool(server.query("up == 0")), what="a failed scrape")
        assert server.query("demo_queue", at=time.time()) == []
