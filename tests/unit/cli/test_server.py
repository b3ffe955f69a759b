"""What probes and Prometheus get from the controller."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.cli import options
from autoscaler.cli.server import serving
from autoscaler.domain.observation import ModelObservation, Observation, ProfileLoad
from autoscaler.domain.plan import Plan
from autoscaler.domain.record import Step, StepFailure, TickRecord
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.publish.board import Board
from autoscaler.publish.health import Health
from autoscaler.settings import Server

Get = Callable[[str], Awaitable[tuple[int, str]]]


@dataclass
class Hands:
    """A clock that stands where it was put."""

    at: float = 1000.0

    def now(self) -> Instant:
        return Instant(self.at)

    async def sleep(self, duration: Seconds) -> None:
        self.at += duration


def tick(at: float, *failures: StepFailure) -> TickRecord:
    """Return a tick that saw some load."""
    unknown = Missing(GapReason.NOT_A_NUMBER, Instant(at))
    load = ProfileLoad("default", 1.0, *(unknown,) * 8)
    model = ModelObservation("llm/model", {"default": load}, {}, {}, 0.0)
    return TickRecord(Observation(Instant(at), {"llm/model": model}), Plan(Instant(at)), failures=failures)


def served(story: Callable[[Get, Health, Hands], Awaitable[None]], registry: CollectorRegistry | None = None) -> None:
    """Play a story in front of a server whose health has 45 s of patience."""

    async def play() -> None:
        health, clock = Health(Seconds(45.0)), Hands()
        server = serving(Server("127.0.0.1", 0), health, registry or CollectorRegistry(), clock)
        async with server as port, aiohttp.ClientSession() as client:

            async def get(path: str) -> tuple[int, str]:
                async with client.get(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, await answer.text()

            await story(get, health, clock)

    asyncio.run(play())


def test_ready_is_who_lately_had_a_good_tick() -> None:
    async def story(get: Get, health: Health, clock: Hands) -> None:
        assert await get("/readyz") == (503, "no tick yet\n")
        await health.publish(tick(1000.0))
        assert await get("/readyz") == (200, "ok\n")
        clock.at = 1045.0
        assert await get("/readyz") == (200, "ok\n")
        clock.at = 1045.1
        assert await get("/readyz") == (503, "the last tick is too long ago\n")
        await health.publish(tick(1045.0, StepFailure(Step.ACT, "OSError", "no route")))
        assert await get("/readyz") == (503, "act: OSError: no route\n")
        await health.publish(tick(1045.0))
        assert await get("/readyz") == (200, "ok\n")

    served(story)


def test_one_bad_tick_is_no_reason_to_be_unready() -> None:
    async def story(get: Get, health: Health, clock: Hands) -> None:
        await health.publish(tick(1000.0))
        clock.at = 1015.0
        await health.publish(tick(1015.0, StepFailure(Step.OBSERVE, "TimeoutError", "took too long")))
        assert (await get("/readyz"))[0] == 200

    served(story)


def test_alive_is_who_answers() -> None:
    async def story(get: Get, health: Health, clock: Hands) -> None:
        await health.publish(tick(1000.0))
        clock.at = 9999.0
        assert ((await get("/readyz"))[0], await get("/healthz")) == (503, (200, "ok\n"))

    served(story)


def test_metrics_can_be_parsed() -> None:
    registry = CollectorRegistry()
    Counter("autoscaler_ticks", "Ticks.", registry=registry).inc(3)

    async def story(get: Get, *_: object) -> None:
        status, text = await get("/metrics")
        families = {family.name: family.samples for family in text_string_to_metric_families(text)}
        assert status == 200
        assert [s.value for s in families["autoscaler_ticks"] if s.name.endswith("_total")] == [3.0]

    served(story, registry)


def test_an_address_that_is_taken_is_said_so() -> None:
    async def play() -> None:
        health, registry, clock = Health(Seconds(45.0)), CollectorRegistry(), Hands()
        async with serving(Server("127.0.0.1", 0), health, registry, clock) as port:
            with pytest.raises(InputError, match=rf"^--listen: 127.0.0.1:{port}: .*; name an address that is free$"):
                async with serving(Server("127.0.0.1", port), health, registry, clock):
                    pass

    asyncio.run(play())


@pytest.mark.parametrize(
    ("held", "shown", "status"),
    [
        pytest.param("s3cret\n", "Bearer s3cret", 200, id="the token"),
        pytest.param("s3cret", "", 401, id="none"),
        pytest.param("s3cret", "Bearer s3cre", 401, id="a part of it"),
        pytest.param("s3cret", "Basic s3cret", 401, id="another scheme"),
        pytest.param("s3cret", "Bearer s3cr\u00e9t", 401, id="not ASCII"),
        pytest.param("", "Bearer ", 401, id="the file was emptied: nobody may"),
        pytest.param(None, "Bearer s3cret", 401, id="the file is gone: nobody may"),
    ],
)
def test_all_but_probes_ask_for_a_token(tmp_path: Path, held: str | None, shown: str, status: int) -> None:
    token = tmp_path / "token"

    async def play() -> dict[str, int]:
        server = Server("127.0.0.1", 0, token)
        board, clock = Board(), Hands()
        if held is not None:
            token.write_text(held, encoding="utf-8")
        headers = {"Authorization": shown} if shown else {}
        found: dict[str, int] = {}
        serves = serving(server, Health(Seconds(45.0)), CollectorRegistry(), clock, board)
        async with serves as port, aiohttp.ClientSession(headers=headers) as client:
            for path in ("/metrics", "/", "/status.json", "/healthz", "/readyz", "/nothing"):
                async with client.get(f"http://127.0.0.1:{port}{path}") as answer:
                    found[path] = answer.status
        return found

    found = asyncio.run(play())
    assert {found[path] for path in ("/metrics", "/", "/status.json")} == {status}
    assert (found["/healthz"], found["/readyz"]) == (200, 503), "probes have no token"
    assert found["/nothing"] == (404 if status == 200 else 401)


@pytest.mark.parametrize("content", [None, " \n"])
def test_a_token_that_nobody_can_show_is_refused_at_the_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="--listen-token-file"):
        options.server("127.0.0.1:0", path)
