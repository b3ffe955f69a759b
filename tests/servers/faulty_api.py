"""A proxy before the API server on which everything goes wrong: errors, lost answers, slow calls, watches that are cut.

It answers at an address of its own with the API server's certificate; whoever logs in by ``kubeconfig`` comes through.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from tests.servers.process import free_port

REFUSALS = (409, 410, 429, 500, 503, 504)  # answered in place of carrying the call out
LOST = (500, 502, 504)  # answered after it was carried out
HOP_BY_HOP = frozenset({"connection", "content-length", "content-encoding", "host", "transfer-encoding"})


@dataclass(frozen=True)
class Trouble:
    """Which share of the calls meets what."""

    refused: float = 0.05
    lost: float = 0.03
    slow: float = 0.05
    slow_s: float = 0.5  # at most; a slow call is carried out late even if its caller is dead by then
    cut: float = 0.2  # of watches, at some moment of their first seconds
    cut_s: float = 3.0


class FaultyApi:
    """The proxy; use ``running``."""

    def __init__(self, kubeconfig: Path, fresh: Path, chance: random.Random, trouble: Trouble | None = None) -> None:
        """Take who logs in, and where to write the kubeconfig that leads through the proxy."""
        self.kubeconfig = fresh
        self.trouble = trouble or Trouble()
        self.met = 0  # faults
        self._chance = chance
        self._login = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster = self._login["clusters"][0]["cluster"]
        self._server = cluster["server"]
        self._certificate = Path(cluster["certificate-authority"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FaultyApi"]:
        """Serve until left."""
        port = free_port()
        self._login["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        self.kubeconfig.write_text(yaml.safe_dump(self._login), encoding="utf-8")
        own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))
        beyond = ssl.create_default_context(cafile=str(self._certificate))
        connector = aiohttp.TCPConnector(ssl=beyond, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, read_bufsize=2**21) as self._http:
            runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", port, ssl_context=own).start()
                yield self
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body, trouble = await request.read(), self.trouble
        if self._strikes(trouble.slow):
            await asyncio.sleep(self._chance.uniform(0.0, trouble.slow_s))
        if self._strikes(trouble.refused):
            return _fault(self._chance.choice(REFUSALS))
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        try:
            async with self._http.request(
                request.method, f"{self._server}{request.path_qs}", data=body or None, headers=headers
            ) as answer:
                if "watch=1" in request.query_string and answer.status == 200:
                    return await self._watched(request, answer)
                passed = await answer.read()
        except aiohttp.ClientError:  # the API server is away: so is its proxy
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)
        if self._strikes(trouble.lost):
            return _fault(self._chance.choice(LOST))
        return web.Response(status=answer.status, body=passed, headers=_passed(answer))

    async def _watched(self, request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass events on; cut the connection without a word where that is to be."""
        out = web.StreamResponse(headers=_passed(answer))
        await out.prepare(request)
        limit = self._chance.uniform(0.0, self.trouble.cut_s) if self._strikes(self.trouble.cut) else None
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(limit):
                async for chunk in answer.content.iter_any():
                    await out.write(chunk)
                await out.write_eof()
                return out
        if request.transport is not None:
            request.transport.abort()
        return out

    def _strikes(self, share: float) -> bool:
        struck = self._chance.random() < share
        self.met += struck
        return struck


def _passed(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}


def _fault(status: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": status, "message": f"injected: {status}"}, status=status)
