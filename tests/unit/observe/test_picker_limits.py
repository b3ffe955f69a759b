"""A picker's page that never ends, or sends the controller elsewhere: no membership, and no harm."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web

from autoscaler.domain.membership import Membership
from autoscaler.domain.policy import Scheduler, SchedulerKind
from autoscaler.domain.signal import Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.kube import KubeSession
from autoscaler.observe import picker
from autoscaler.observe.picker import Pickers, Reached
from tests import observing

POLICY = observing.policy()
PAGE = 'llm_d_epp_per_endpoint_queue_size{name="pool",model_server_endpoint="llm/p0"} 0\n'
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def read(answer: Answer) -> Signal[Membership]:
    """Return what is made of a page."""

    async def play() -> Signal[Membership]:
        application = web.Application()
        application.router.add_get("/metrics", answer)
        application.router.add_get("/elsewhere", good)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
        scheduled = replace(POLICY, scheduler=Scheduler(SchedulerKind.INFERENCE_POOL, "pool"))
        session: KubeSession = None  # type: ignore[assignment] # never asked: the page is named
        try:
            found = await Pickers([scheduled], session, lambda _: (), Reached((url,))).memberships(Instant(0.0))
        finally:
            await runner.cleanup()
        return found[scheduled.key]

    return asyncio.run(play())


async def good(_: web.Request) -> web.StreamResponse:
    return web.Response(text=PAGE)


def test_a_page_is_read() -> None:
    found = read(good)
    assert isinstance(found, Membership)
    assert found.lists("p0")


def test_a_page_beyond_all_bounds_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picker, "MOST_BYTES", 1000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(PAGE.encode())
        return response

    found = read(endless)
    assert isinstance(found, Missing)
    assert "more than 1000 bytes" in found.detail


def test_a_page_that_sends_elsewhere_is_no_picker() -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    found = read(elsewhere)
    assert isinstance(found, Missing)
    assert "HTTP 302" in found.detail
