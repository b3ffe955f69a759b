"""A copy survives what watches die of, and stays small."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autoscaler.domain.units import Seconds
from autoscaler.observe import pods
from autoscaler.observe.pods import SeenPod
from autoscaler.observe.watch import Copy, Freshness, Subject
from tests.unit.kube.fake_api import discovery, pod, refusal, serving

SUBJECT = Subject("v1", "Pod", "llm")
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}


class FakePods:
    """Serves pods by list and watch. ``fate`` says what becomes of each watch, by its number from 0."""

    def __init__(self, count: int, fate: Callable[[int], list[dict[str, Any]] | None] = lambda _: None) -> None:
        self.found = [pod(number) for number in range(count)]
        self.version = 1
        self.lists = 0
        self.watches: list[str] = []  # the versions watched from
        self.break_page = False
        self._fate = fate

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1":
            return web.json_response(discovery(("pods", "Pod")))
        return await (self._watch(request) if "watch" in request.query else self._list(request))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        begin, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        if begin and self.break_page:
            self.break_page = False
            return refusal(410, "the continue parameter is too old")
        end = begin + limit
        self.lists += begin == 0
        metadata = {"resourceVersion": str(self.version)} | ({"continue": str(end)} if end < len(self.found) else {})
        return web.json_response({"metadata": metadata, "items": self.found[begin:end]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watches.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        events = self._fate(len(self.watches) - 1)
        if events is None:
            await asyncio.sleep(float(request.query["timeoutSeconds"]))
        for event in events or ():
            await response.write(json.dumps(event).encode() + b"\n")
        return response


@asynccontextmanager
async def copied(api: FakePods, path: Path, freshness: Freshness | None = None) -> AsyncIterator[Copy[SeenPod]]:
    async with serving(api, path / "config") as session:
        copy = Copy(session, SUBJECT, pods.seen, freshness or Freshness(page=3))
        copy.start()
        try:
            async with asyncio.timeout(30):
                await copy.synced.wait()
            yield copy
        finally:
            await copy.close()


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(limited())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # the other side is a server
        await asyncio.sleep(0.01)


def test_a_forgotten_version_leads_to_a_new_list(tmp_path: Path) -> None:
    api = FakePods(5, lambda number: [GONE] if number == 0 else None)

    async def story() -> None:
        async with copied(api, tmp_path) as copy:
            api.found, api.version = [pod(9)], 7
            await until(lambda: set(copy.objects) == {"decode-9"})
            await until(lambda: len(api.watches) == 2)
            assert (api.lists, api.watches) == (2, ["1", "7"])

    play(story)


def test_a_list_that_grew_too_old_between_pages_begins_anew(tmp_path: Path) -> None:
    api = FakePods(7)
    api.break_page = True

    async def story() -> None:
        async with copied(api, tmp_path) as copy:
            assert len(copy.objects) == 7
            assert api.lists == 2

    play(story)


def test_events_change_the_copy_and_a_cut_watch_goes_on_from_the_last(tmp_path: Path) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "12"}}}
    events = [
        {"type": "ADDED", "object": pod(5, version=9)},
        {"type": "DELETED", "object": pod(0, version=10)},
        {"type": "MODIFIED", "object": pod(1, version=11, labels={"changed": "yes"})},
        bookmark,
    ]
    api = FakePods(2, lambda number: events if number == 0 else None)

    async def story() -> None:
        async with copied(api, tmp_path) as copy:
            await until(lambda: len(api.watches) == 2)
            assert set(copy.objects) == {"decode-1", "decode-5"}
            assert copy.objects["decode-1"].labels["changed"] == "yes"
            assert (api.lists, api.watches) == (1, ["1", "12"])

    play(story)


def test_a_server_that_hangs_up_at_once_is_not_hammered(tmp_path: Path) -> None:
    api = FakePods(1, lambda _: [])

    async def story() -> None:
        async with copied(api, tmp_path):
            await asyncio.sleep(1.5)
            assert 2 <= len(api.watches) <= 9

    play(story)


def test_a_copy_is_listed_anew_now_and_then(tmp_path: Path) -> None:
    api = FakePods(1)

    async def story() -> None:
        freshness = Freshness(period=Seconds(1.0), resync=Seconds(1.5))
        async with copied(api, tmp_path, freshness):
            await until(lambda: api.lists == 2)
            assert len(api.watches) >= 1

    play(story)


def test_an_outage_is_remembered_until_others_have_recovered_too(tmp_path: Path) -> None:
    hang_up = asyncio.Event()
    api = FakePods(1, lambda _: [] if hang_up.is_set() else None)

    async def story() -> None:
        async with copied(api, tmp_path, Freshness(recovery=Seconds(1.0))) as copy:
            assert copy.disturbed, "an outage may have been before the start"
            await until(lambda: not copy.disturbed)
        hang_up.set()
        async with copied(api, tmp_path, Freshness(recovery=Seconds(1.0))) as copy:
            await until(lambda: len(api.watches) > 12)
            assert copy.disturbed, "a server that hangs up before the time is about to leave"

    play(story)


def test_one_bad_object_stops_nothing(tmp_path: Path) -> None:
    bad = pod(1) | {"spec": "not a spec"}
    mended = [{"type": "MODIFIED", "object": pod(1, version=2)}]
    mend = asyncio.Event()
    api = FakePods(3, lambda _: mended if mend.is_set() else [])
    api.found[1] = bad

    async def story() -> None:
        async with copied(api, tmp_path) as copy:
            assert (set(copy.objects), set(copy.unreadable)) == ({"decode-0", "decode-2"}, {"decode-1"})
            mend.set()
            await until(lambda: len(copy.objects) == 3)
            assert not copy.unreadable

    play(story)


@pytest.mark.slow
def test_two_thousand_pods_are_quick_and_small(tmp_path: Path) -> None:
    """The bounds are generous for a busy machine; ``pytest -s`` prints what was measured."""
    api = FakePods(2000)

    async def story() -> None:
        begun = time.process_time()
        async with copied(api, tmp_path, Freshness()) as copy:
            listed_s = time.process_time() - begun
            assert (len(copy.objects), api.lists) == (2000, 1)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        held = {found["metadata"]["name"]: pods.seen(json.loads(json.dumps(found))) for found in api.found}
        bytes_per_pod = (tracemalloc.get_traced_memory()[0] - before) / len(held)
        tracemalloc.stop()
        print(f"2000 pods: {listed_s:.2f} s of CPU (server included), {bytes_per_pod:.0f} bytes each")  # noqa: T201
        assert listed_s < 10
        assert bytes_per_pod < 4000

    play(story)
