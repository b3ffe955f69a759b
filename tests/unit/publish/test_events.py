"""Events of a policy: one for what begins or ends, counted when it comes again, cut off when it never stops."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from autoscaler.domain.policy import Mode
from autoscaler.domain.record import Result
from autoscaler.domain.units import Instant
from autoscaler.kube import KubeSession
from autoscaler.publish import status
from autoscaler.publish.k8s_events import BURST, LONGEST_NOTE, EventWriter, Kind, Notice, notices
from autoscaler.publish.status_schema import PolicyStatus
from tests import planning, ticks
from tests.planning import NOW
from tests.unit.kube import fake_api

AUTO = replace(planning.policy(), mode=Mode.AUTO)
WELL = status.of_tick(ticks.tick(AUTO), AUTO, 1, PolicyStatus())
REFUSED = Notice(Kind.WARNING, "WriteRefused", "AbleToScale", "decode: forbidden")


class Policy:
    """What events are about."""

    name, namespace, uid = "model", "llm", "uid-1"


class Server:
    """Keeps Events as an API server does."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.requests = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        name = request.path.rpartition("/events")[2].strip("/")
        if request.method == "POST":
            body = json.loads(await request.read())
            name = body["metadata"]["name"]
            if name in self.events:
                return fake_api.refusal(409)
            self.events[name] = body
        elif name not in self.events:
            return fake_api.refusal(404)
        elif request.method == "PATCH":
            self.events[name] |= json.loads(await request.read())
        return web.json_response(self.events[name])

    @property
    def counts(self) -> list[int]:
        """Return how often each was seen."""
        return [event.get("series", {}).get("count", 1) for event in self.events.values()]


def play(server: Server, folder: Path, *written: tuple[Notice, float], restart: bool = False) -> None:
    async def write(session: KubeSession) -> None:
        writer = EventWriter(session, "pod-1")
        for notice, delay in written:
            writer = EventWriter(session, "pod-2") if restart else writer
            await writer.write(Policy(), notice, Instant(NOW + delay))

    async def run() -> None:
        async with fake_api.serving(server.answer, folder / "kubeconfig") as session:
            await write(session)

    asyncio.run(run())


def test_nothing_new_is_no_event() -> None:
    assert list(notices(PolicyStatus(), WELL)) == []
    assert list(notices(WELL, status.of_tick(ticks.tick(AUTO), AUTO, 1, WELL))) == []


def test_what_begins_and_what_ends() -> None:
    bad = status.of_tick(ticks.tick(AUTO, model=ticks.observed(AUTO, paused=True)), AUTO, 1, WELL)
    assert [(n.kind, n.reason, n.action) for n in notices(WELL, bad)] == [("Warning", "Paused", "AbleToScale")]
    assert [(n.kind, n.reason) for n in notices(bad, WELL)] == [("Normal", "AbleToScale")]


def test_a_refused_policy_is_told() -> None:
    bad = status.of_refused(["spec.model: is missing"], NOW, 1, WELL)
    assert [(n.kind, n.reason, n.note) for n in notices(WELL, bad)] == [
        ("Warning", "PolicyInvalid", "spec.model: is missing")
    ]


def test_decisions_are_told_by_their_result() -> None:
    def told(result: Result) -> list[tuple[str, str]]:
        after = status.of_tick(ticks.tick(AUTO, wanted=3, result=result, detail="so"), AUTO, 1, WELL)
        return [(notice.kind.value, notice.reason) for notice in notices(WELL, after) if notice.action == "Scale"]

    assert told(Result.DONE) == [("Normal", "Scaled")]
    assert told(Result.DRY_RUN) == [("Normal", "Recommended")]
    assert told(Result.UNCHANGED) == []
    for result in (Result.CONFLICT, Result.REFUSED, Result.FAILED):
        assert told(result) == [("Warning", "ScaleNotDone")]


def test_the_same_again_is_counted(tmp_path: Path) -> None:
    server = Server()
    play(server, tmp_path, *((REFUSED, delay) for delay in (0.0, 15.0, 30.0)))
    assert server.counts == [3]
    (event,) = server.events.values()
    assert event["regarding"]["uid"] == "uid-1"
    assert event["series"]["lastObservedTime"] == "1970-01-12T13:47:10.000000Z"


def test_a_restart_repeats_nothing(tmp_path: Path) -> None:
    server = Server()
    play(server, tmp_path, *((REFUSED, delay) for delay in (0.0, 15.0, 30.0)), restart=True)
    assert server.counts == [3]


def test_an_event_that_has_expired_begins_anew(tmp_path: Path) -> None:
    server = Server()
    play(server, tmp_path, (REFUSED, 0.0))
    server.events.clear()
    play(server, tmp_path, (REFUSED, 4000.0), (REFUSED, 4015.0))
    assert server.counts == [2]


def test_a_policy_that_flaps_is_cut_off(tmp_path: Path) -> None:
    server = Server()
    play(server, tmp_path, *((replace(REFUSED, note=f"pod {n}"), 0.1 * n) for n in range(3 * BURST)))
    assert len(server.events) == BURST


def test_a_note_fits_the_api_servers_limit(tmp_path: Path) -> None:
    server = Server()
    play(server, tmp_path, (replace(REFUSED, note="ä€" * LONGEST_NOTE), 0.0))
    (event,) = server.events.values()
    assert len(event["note"].encode()) <= LONGEST_NOTE
    assert event["note"].endswith("…")


def test_a_policy_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    server = Server()

    async def run() -> None:
        async with fake_api.serving(server.answer, tmp_path / "kubeconfig") as session:
            writer = EventWriter(session, "pod-1")
            for number in range(BURST + 5):
                await writer.write(Policy(), replace(REFUSED, note=f"pod {number}"), NOW)
            writer.forget(frozenset())
            await writer.write(Policy(), replace(REFUSED, note="made anew"), NOW)

    asyncio.run(run())
    assert len(server.events) == BURST + 1
