"""The simulator's engines behind real HTTP: a request flows gateway -> decode pod's sidecar -> prefill -> decode.

Every pod listens on an address of its own. The sidecar of a decode pod has the prompt computed by the prefill pod that
a header names; then its engine reserves memory, pulls the KV (which until then stays pinned there), and decodes. A pod
that ends cuts its connections: whoever waits there gets a network error, and that is what counts as lost.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.performance.profile import load_profile
from autoscaler.simulate.engine import Engine
from autoscaler.simulate.environment import Environment
from autoscaler.simulate.expositions import engine_exposition
from autoscaler.simulate.pods import SimulatedPod
from autoscaler.simulate.request import Request
from tests.emulator.world import Sample

MODEL = load_profile("h200-tp1-llama-3.1-8b").model
PREFILLER = "x-prefiller-host-port"
LEASE_S = 30.0  # a prompt's KV that nobody pulls is let go
PROMPT, ANSWER = (500, 4000), (100, 3000)  # tokens
PATIENCE = aiohttp.ClientTimeout(total=60.0)
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


@dataclass(eq=False)
class Lost:
    """A request that its client got no answer to, and why."""

    number: int
    lost_by: str
    why: str


class Leg(Request):
    """A request inside one engine; whoever waits for its next stage awaits a future."""

    __slots__ = ("stage",)

    def __init__(self, number: int, now: float, prompt: int, answer: int) -> None:
        super().__init__(number, now, prompt, answer, 0)
        self.stage: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def reached(self) -> None:
        """Wake who waits, if anybody still does."""
        if not self.stage.done():
            self.stage.set_result(None)

    async def next_stage(self) -> None:
        """Wait until the engine has got on."""
        await self.stage
        self.stage = asyncio.get_running_loop().create_future()


class PodServer:
    """One pod: an engine, and what stands before it."""

    def __init__(self, traffic: "HttpTraffic", name: str, role: Role, host: str) -> None:
        """Take where to listen; ``open`` begins."""
        self.name = name
        self.address = f"{host}:{traffic.port}"
        self.parts: set[int] = set()  # requests that would be lost with this pod
        self.opened = asyncio.Event()
        self._traffic = traffic
        self._host = host
        self._pinned: dict[int, Leg] = {}
        engine = Engine(traffic.env, MODEL, role, self)
        variant = Variant(role.value, role, ScaleTarget("", "", "", role.value), "H200-SXM", 1, 1.0, 1, 6)
        self._pod = SimulatedPod(name, variant, traffic.env.now, engine)
        self._engine = engine
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.001)

    async def open(self) -> None:
        """Listen; the address may still be held by the pod that had it before."""
        await self._runner.setup()
        while True:
            try:
                await web.TCPSite(self._runner, self._host, self._traffic.port).start()
            except OSError:
                await asyncio.sleep(0.05)
            else:
                break
        self.opened.set()

    async def close(self) -> None:
        """End, as vLLM does on SIGTERM: all that is here is cut off."""
        self._engine.stop()
        self.opened.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/metrics":
            self._engine.advance(self._traffic.env.now)
            return web.Response(text=engine_exposition(self._pod, "m"))
        asked = await request.json()
        number: int = asked["number"]
        if request.path == "/kv":
            self._let_go(number)
            return web.json_response({})
        self.parts.add(number)
        try:
            if self._engine.role is Role.PREFILL:
                await self._prefill(number, asked["prompt"])
            else:
                await self._decode(number, asked, request.headers[PREFILLER])
        except aiohttp.ClientError as error:  # the other pod has gone
            return web.Response(status=HTTPStatus.BAD_GATEWAY, text=repr(error))
        finally:
            if number not in self._pinned:
                self.parts.discard(number)
        return web.json_response({"number": number})

    async def _prefill(self, number: int, prompt: int) -> None:
        leg = Leg(number, self._traffic.env.now, prompt, 1)
        self._engine.submit(leg)
        await leg.next_stage()

    async def _decode(self, number: int, asked: dict[str, int], prefiller: str) -> None:
        """Play the sidecar, then decode."""
        began = self._traffic.env.now
        await self._traffic.post(prefiller, "/v1/completions", asked)
        leg = Leg(number, self._traffic.env.now, asked["prompt"], asked["answer"])
        self._engine.reserve(leg)
        await leg.next_stage()
        await asyncio.sleep(MODEL.handover.per_token_s * asked["prompt"] / self._traffic.speed)
        await self._traffic.post(prefiller, "/kv", asked)
        self._engine.join(leg)
        await leg.next_stage()  # the first token
        self._traffic.ttfts.append((self._traffic.env.now, self._traffic.env.now - began))
        await leg.next_stage()

    def _let_go(self, number: int) -> None:
        leg = self._pinned.pop(number, None)
        if leg is not None:
            self._engine.release(leg)
            self.parts.discard(number)

    # What the engine tells --------------------------------------------------------------------------------------------

    def first_token(self, request: Request, time: float) -> None:  # noqa: ARG002 - a port's signature
        """Wake the sidecar."""
        _leg(request).reached()

    def prefilled(self, engine: Engine, request: Request, time: float) -> None:  # noqa: ARG002 - a port's signature
        """Keep the prompt's KV until it is pulled or its lease runs out."""
        leg = _leg(request)
        self._pinned[leg.row] = leg
        self._traffic.env.at(self._traffic.env.now + LEASE_S, lambda _: self._let_go(leg.row))
        leg.reached()

    def reserved(self, engine: Engine, request: Request, time: float) -> None:  # noqa: ARG002 - a port's signature
        """Wake the sidecar."""
        _leg(request).reached()

    def finished(self, engine: Engine, request: Request, time: float) -> None:  # noqa: ARG002 - a port's signature
        """Wake the sidecar."""
        asyncio.get_running_loop().call_soon(_leg(request).reached)  # after it has seen the first token


def _leg(request: Request) -> Leg:
    if not isinstance(request, Leg):
        raise TypeError(request)
    return request


@dataclass
class HttpTraffic:
    """All requests and all pods; to the cluster it looks as ``engines.Traffic`` does."""

    env: Environment
    chance: random.Random
    speed: float
    port: int  # of every pod
    engines: dict[str, PodServer] = field(default_factory=dict)
    finished: int = 0
    lost: list[Lost] = field(default_factory=list)
    ttfts: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=400))  # when, how long

    def __post_init__(self) -> None:
        """Begin without requests."""
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve until left."""
        async with aiohttp.ClientSession(timeout=PATIENCE, connector=aiohttp.TCPConnector(limit=0)) as self._http:
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(
                    *self._tasks, *(pod.close() for pod in self.engines.values()), return_exceptions=True
                )

    def begin(self, pod: str, role: Role, host: str) -> None:
        """Begin to serve."""
        self.engines[pod] = PodServer(self, pod, role, host)
        self._task(self.engines[pod].open())

    def end(self, pod: str) -> None:
        """Cut off all that is at the pod."""
        ended = self.engines.pop(pod, None)
        if ended is not None:
            self._task(ended.close())

    def send(self, prefill: str | None, decode: str) -> None:
        """Send one request to the pods that were picked."""
        self._task(self._sent(next(self._numbers), prefill or "", decode))

    async def _sent(self, number: int, prefill: str, decode: str) -> None:
        asked = {"number": number, "prompt": self.chance.randint(*PROMPT), "answer": self.chance.randint(*ANSWER)}
        picked = time.monotonic()
        await asyncio.sleep(self.chance.uniform(0.01, 0.5) / self.speed)  # it is on its way
        try:
            for name in (prefill, decode):
                await self.engines[name].opened.wait()  # Ready pods listen; here the socket may come a moment later
            await self.post(self.engines[decode].address, "/v1/completions", asked, self.engines[prefill].address)
        except (aiohttp.ClientError, TimeoutError, KeyError) as error:
            gone = [name for name in (prefill, decode) if name not in self.engines]
            later = self.speed * (time.monotonic() - picked)
            self.lost.append(
                Lost(number, ", ".join(gone) or f"{prefill} or {decode}", f"{error!r} after {later:.1f} s")
            )
        else:
            self.finished += 1

    async def post(self, address: str, path: str, asked: dict[str, int], prefiller: str = "") -> None:
        """Ask a pod; an answer other than 200 raises."""
        headers = {PREFILLER: prefiller} if prefiller else {}
        async with self._http.post(f"http://{address}{path}", json=asked, headers=headers) as answer:
            await answer.read()
            if answer.status != HTTPStatus.OK:
                msg = f"{path}: HTTP {answer.status}"
                raise aiohttp.ClientError(msg)

    async def sampled(self) -> dict[str, Sample]:
        """Scrape every pod."""
        pods = list(self.engines.values())
        pages = await asyncio.gather(*(self._scraped(pod) for pod in pods))
        return {pod.name: page for pod, page in zip(pods, pages, strict=True) if page is not None}

    async def _scraped(self, pod: PodServer) -> Sample | None:
        at = self.env.now  # what is shown is at least as new
        try:
            async with self._http.get(f"http://{pod.address}/metrics") as answer:
                page = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return None
        found = {it.name: it.value for family in text_string_to_metric_families(page) for it in family.samples}
        running, waiting, used = (found[name] for name in GAUGES)
        return (at, running, waiting, 0.0, used)

    def _task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
