"""The Prometheus back end against a real server, and against servers that misbehave."""

import asyncio
import base64
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autoscaler.domain.observation import Observation
from autoscaler.domain.signal import GapReason, Missing, is_present
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe import observer
from autoscaler.observe.catalogue import READINGS, Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.files import NoFleet
from autoscaler.observe.fleet import FleetView
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.observe.recording import load_recording
from tests import observing
from tests.conftest import PrometheusFactory

Answer = Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]
NOW = Instant(1795372140.0)
EMPTY = json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode()


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve one answer for every query; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answer(self)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client had enough

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the overridden signature
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def look(connection: Connection, at: Instant = NOW) -> Observation:
    policy = observing.policy(*observing.BY_FAIRNESS)
    source = PrometheusSource(connection, ("llm",), Windows(fast=Seconds(30.0)))
    return asyncio.run(ClusterObserver((policy,), source, observing.one_each()).observe(at))


def quick(url: str, **settings: object) -> Connection:
    """Return a connection that gives up early."""
    return Connection(url, timeout=Seconds(1.0), retries=0, **settings)  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("models", [1, 50])
def test_queries_per_tick_do_not_depend_on_the_number_of_models(models: int) -> None:
    policies = tuple(observing.policy(name=f"p{n}", model=f"m{n}") for n in range(models))
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        asked.append(handler.path)
        return 200, EMPTY

    with serving(answer) as url:
        source = PrometheusSource(Connection(url), observer.namespaces(policies), Windows())
        views = NoFleet(policies)
        seen = asyncio.run(ClusterObserver(policies, source, views).observe(NOW))
    often = [reading for reading in READINGS if not reading.seldom]
    assert len(asked) == source.queries_sent == len(often) == 40
    assert len(seen.models) == models


def test_an_outage_is_unreachable_and_over_with_the_first_answer(
    prometheus_server: PrometheusFactory, tmp_path: Path
) -> None:
    server = prometheus_server()
    load_recording(observing.RECORDING).write_openmetrics(tmp_path / "recording.om")
    server.backfill(tmp_path / "recording.om")
    policy = observing.policy(*observing.BY_FAIRNESS)
    source = PrometheusSource(quick(server.url), ("llm",), Windows(fast=Seconds(30.0)))
    observing_all = ClusterObserver((policy,), source, observing.one_each())

    async def story() -> list[Observation]:
        seen = [await observing_all.observe(NOW)]
        await asyncio.to_thread(server.stop)
        seen.append(await observing_all.observe(Instant(NOW + 15.0)))
        await asyncio.to_thread(server.start)
        seen.append(await observing_all.observe(Instant(NOW + 30.0)))
        return seen

    before, during, after = asyncio.run(story())
    assert before.gaps == after.gaps == ()
    (gap,) = during.gaps
    assert (gap.signal, gap.missing.reason) == ("metrics", GapReason.UNREACHABLE)
    rate = during.models[policy.key].loads["rag"].requests_per_second
    assert isinstance(rate, Missing)
    assert (rate.reason, rate.since) == (GapReason.UNREACHABLE, NOW)
    assert is_present(after.models[policy.key].loads["rag"].requests_per_second)


def test_a_server_without_our_series_is_absent_not_zero(prometheus_server: PrometheusFactory) -> None:
    seen = look(Connection(prometheus_server().url))
    for load in seen.models["llm/h200"].loads.values():
        assert isinstance(load.requests_per_second, Missing)
        assert load.requests_per_second.reason is GapReason.ABSENT


def test_the_scrape_interval_is_read_from_the_samples(prometheus_server: PrometheusFactory, tmp_path: Path) -> None:
    server = prometheus_server()
    recording = load_recording(observing.RECORDING)
    recording.write_openmetrics(tmp_path / "recording.om")
    server.backfill(tmp_path / "recording.om")
    source = PrometheusSource(Connection(server.url), ("llm",), Windows())
    assert asyncio.run(source.scrape_interval(NOW)) == pytest.approx(1.0, abs=0.05)
    assert asyncio.run(recording.source(Windows()).scrape_interval(NOW)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        pytest.param(401, b"", "check the credentials", id="401"),
        pytest.param(403, b"", "check the credentials", id="403"),
        pytest.param(404, b"not here", "HTTP Status Code 404", id="404"),
        pytest.param(503, b"", "503", id="503"),
        pytest.param(200, b"<html>", "no Prometheus answers there", id="another service"),
        pytest.param(200, b'{"data": {"resultType": "vector", "result": {}}}', "Expected `array`", id="no list"),
        pytest.param(
            200,
            b'{"data": {"resultType": "vector", "result": [{"metric": {}}]}}',
            "missing required field `value`",
            id="no value",
        ),
        pytest.param(
            200,
            b'{"data": {"resultType": "vector", "result": [{"metric": {"pod": 1}, "value": [1, "1"]}]}}',
            "cannot be read",
            id="no label",
        ),
    ],
)
def test_a_server_that_cannot_be_used_is_one_gap_with_a_reason(status: int, body: bytes, complaint: str) -> None:
    with serving(lambda _: (status, body)) as url:
        seen = look(quick(url))
    (gap,) = seen.gaps
    assert gap.missing.reason is GapReason.UNREACHABLE
    assert complaint in gap.missing.detail


def test_one_refused_query_takes_only_its_signal() -> None:
    with serving(lambda _: (422, b'{"status":"error","error":"query processing would load too many samples"}')) as url:
        seen = look(quick(url))
    load = seen.models["llm/h200"].loads["rag"].requests_per_second
    assert isinstance(load, Missing)
    assert "too many samples" in load.detail


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"max_response_bytes": 1000}, "larger than 1000 bytes"), ({"max_series": 10}, "at most 10")],
    ids=str,
)
def test_a_flood_is_cut_off(settings: dict[str, int], complaint: str) -> None:
    series = [{"metric": {"pod": f"p{n}"}, "value": [NOW, "1"]} for n in range(100)]
    body = json.dumps({"data": {"resultType": "vector", "result": series}}).encode()
    with serving(lambda _: (200, body)) as url:
        seen = look(quick(url, **settings))
    load = seen.models["llm/h200"].loads["rag"].requests_per_second
    assert isinstance(load, Missing)
    assert complaint in load.detail


def test_labels_that_never_come_again_are_not_kept() -> None:
    """Clients name profiles and pods are replaced: what is remembered of labels is bounded by what a look reads."""
    names = itertools.count()

    def answer(_: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        series = [{"metric": {"pod": f"p{next(names)}"}, "value": [NOW, "1"]} for _ in range(5)]
        return 200, json.dumps({"data": {"resultType": "vector", "result": series}}).encode()

    async def looks(source: PrometheusSource, number: int) -> list[tuple[int, int]]:
        sizes = []
        for _ in range(number):
            found = await source.read(NOW)
            read = sum(len(found.rows(name)) for name in found.readings)
            sizes.append((len(source._labels), read))  # noqa: SLF001 - memory is not to be seen from outside
        return sizes

    with serving(answer) as url:
        sizes = asyncio.run(looks(PrometheusSource(quick(url), ("llm",), Windows()), 6))
    assert all(0 < known <= 2 * read for known, read in sizes), sizes


def test_a_server_that_hangs_costs_no_more_than_the_timeout() -> None:
    released = threading.Event()

    def answer(_: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        released.wait(30.0)
        return 200, EMPTY

    with serving(answer) as url:
        began = time.monotonic()
        seen = look(quick(url))
        took = time.monotonic() - began
        released.set()
    assert "no answer" in seen.gaps[0].missing.detail
    assert took < 5.0


def test_a_brief_failure_is_retried() -> None:
    answers = iter([503, 503])

    def answer(_: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        return next(answers, 200), EMPTY

    with serving(answer) as url:
        seen = look(Connection(url, retries=2, backoff=Seconds(0.01)))
    assert not [gap for gap in seen.gaps if gap.signal == "metrics"]


def test_tokens_and_passwords_are_read_again_for_each_tick(tmp_path: Path) -> None:
    sent: set[str] = set()

    def answer(handler: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        sent.add(handler.headers.get("Authorization", ""))
        return 200, EMPTY

    secret = tmp_path / "secret"
    with serving(answer) as url:
        token = PrometheusSource(Connection(url, token_file=secret), ("llm",), Windows())
        for text in ("first\n", "second\n"):
            secret.write_text(text)
            asyncio.run(token.read(NOW))
        basic = PrometheusSource(Connection(url, username="u", password_file=secret), ("llm",), Windows())
        asyncio.run(basic.read(NOW))
    assert sent == {"Bearer first", "Bearer second", f"Basic {base64.b64encode(b'u:second').decode()}"}


def test_metrics_and_fleet_gone_together_is_an_error() -> None:
    class Nowhere:
        async def fleets(self, now: Instant) -> dict[str, FleetView]:
            message = f"no cluster at {now}"
            raise ObservationError(message)

    with serving(lambda _: (503, b"")) as url:
        source = PrometheusSource(quick(url), ("llm",), Windows())
        both = ClusterObserver((observing.policy(),), source, Nowhere())
        with pytest.raises(ObservationError, match="no cluster"):
            asyncio.run(both.observe(NOW))
