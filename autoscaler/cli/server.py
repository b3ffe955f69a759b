"""Answers the kubelet's probes and Prometheus' scrapes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from autoscaler.errors import InputError
from autoscaler.ports import Clock
from autoscaler.publish.health import Health
from autoscaler.settings import Server


@asynccontextmanager
async def serving(settings: Server, health: Health, registry: CollectorRegistry, clock: Clock) -> AsyncIterator[int]:
    """Serve ``/metrics``, ``/healthz`` (the process answers), ``/readyz`` (a tick succeeded lately); yield the port.

    Raises:
        InputError: nobody can listen there.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        complaint = health.complaint(clock.now())
        return web.Response(text=f"{complaint or 'ok'}\n", status=503 if complaint else 200)

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", alive), web.get("/readyz", ready)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await _start(site, settings)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _start(site: web.TCPSite, settings: Server) -> None:
    try:
        await site.start()
    except OSError as error:
        msg = f"--listen: {settings.host}:{settings.port}: {error.strerror}; name an address that is free"
        raise InputError(msg) from error
