"""Answers the kubelet's probes and Prometheus' scrapes."""

import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from autoscaler.errors import InputError
from autoscaler.ports import Clock
from autoscaler.publish import page
from autoscaler.publish.board import Board
from autoscaler.publish.health import Health
from autoscaler.settings import Server


@asynccontextmanager
async def serving(
    settings: Server, health: Health, registry: CollectorRegistry, clock: Clock, board: Board | None = None
) -> AsyncIterator[int]:
    """Serve ``/metrics``, ``/healthz`` (the process answers), ``/readyz`` (a tick succeeded lately); yield the port.

    With a board also ``/``, the status page, and ``/status.json``.

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

    application = web.Application(middlewares=[] if settings.token_file is None else [_asking(settings.token_file)])
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", alive), web.get("/readyz", ready)])
    if board is not None:
        application.add_routes(_status_routes(health, clock, board))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await _start(site, settings)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


PROBES = frozenset({"/healthz", "/readyz"})
"""Answered to everybody: a kubelet has no token, and they tell nothing but that all is well."""


def _asking(token_file: Path) -> Middleware:
    """Return what lets only those through who show the token that the file holds now; without one, nobody."""

    @web.middleware
    async def ask(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in PROBES:
            return await handler(request)
        token = _held(token_file)
        shown = request.headers.get("Authorization", "").encode()
        if token and hmac.compare_digest(shown, f"Bearer {token}".encode()):
            return await handler(request)
        return web.Response(status=401, text="show a bearer token\n", headers={"WWW-Authenticate": "Bearer"})

    return ask


def _held(token_file: Path) -> str:
    """Return the token that the file holds now; empty: none, or no file."""
    try:
        return token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _status_routes(health: Health, clock: Clock, board: Board) -> list[web.RouteDef]:
    """Return the routes of the status page and of its data."""

    async def status(request: web.Request) -> web.Response:
        now, chosen = clock.now(), request.query.get("policy")
        shown = page.page(board, health.complaint(now), now, chosen=chosen, refresh="refresh" in request.query)
        return web.Response(text=shown, content_type="text/html", headers=page.HEADERS)

    async def data(_: web.Request) -> web.Response:
        now = clock.now()
        return web.json_response(page.status(board, health.complaint(now), now), headers=page.HEADERS)

    return [web.get("/", status), web.get("/status.json", data)]


async def _start(site: web.TCPSite, settings: Server) -> None:
    try:
        await site.start()
    except OSError as error:
        msg = f"--listen: {settings.host}:{settings.port}: {error.strerror}; name an address that is free"
        raise InputError(msg) from error
