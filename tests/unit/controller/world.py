"""A world that implements every port of the controller, under virtual time; a test scripts what goes wrong in it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import looptime

from autoscaler.controller import Controller
from autoscaler.domain.observation import ModelObservation, Observation, ProfileLoad
from autoscaler.domain.plan import Action, ModelPlan, Plan, Scale, VariantPlan, VariantRef
from autoscaler.domain.record import ActionResult, Outcome, Result, TickRecord
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds

T = TypeVar("T")
POLICY = "llm/model"
REF = VariantRef(POLICY, "decode")
PERIOD = Seconds(15.0)

Fault = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Let a step pass."""


async def hang() -> None:
    """Let a step never end."""
    await asyncio.Event().wait()


def failing(error: Exception) -> Fault:
    """Let a step fail."""

    async def fail() -> None:
        raise error

    return fail


def lasting(seconds: float) -> Fault:
    """Let a step take its time."""

    async def last() -> None:
        await asyncio.sleep(seconds)

    return last


def load(rate: float = 1.0) -> ProfileLoad:
    """Return the load of the default profile; what does not matter here is missing."""
    unknown = Missing(GapReason.NOT_A_NUMBER, Instant(0.0))
    return ProfileLoad("default", rate, *(unknown,) * 8)


@dataclass
class World:
    """Clock, Observer, Decides, Actuator and Publisher in one; ``requested`` is what the last write left behind."""

    wanted: int = 2
    requested: int = 2
    observing: Fault = nothing
    deciding: Callable[[], None] = lambda: None
    acting: Fault = nothing
    publishing: Fault = nothing
    log: list[TickRecord] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)

    def now(self) -> Instant:
        """Return the virtual time."""
        return Instant(asyncio.get_running_loop().time())

    async def sleep(self, duration: Seconds) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(duration)

    async def observe(self, now: Instant) -> Observation:
        """See one model with some load."""
        self.began.append(now)
        self.at_once["observing"] += 1
        assert self.at_once["observing"] == 1, "two ticks at once"
        try:
            await self.observing()
        finally:
            self.at_once["observing"] -= 1
        model = ModelObservation(POLICY, MappingProxyType({"default": load()}), MappingProxyType({}), {}, 0.0)
        return Observation(now, MappingProxyType({POLICY: model}))

    def decide(self, observation: Observation) -> Plan:
        """Want ``wanted``, of a model that was seen."""
        self.deciding()
        if POLICY not in observation.models:
            return Plan(observation.at)
        actions = () if self.wanted == self.requested else (Scale(REF, self.wanted, self.requested),)
        model = ModelPlan(POLICY, MappingProxyType({"decode": VariantPlan.of(self.wanted)}), actions)
        return Plan(observation.at, MappingProxyType({POLICY: model}))

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Resize."""
        await self.acting()
        for action in actions:
            assert isinstance(action, Scale)
            self.requested = action.replicas
        return Outcome(tuple(ActionResult(action, Result.DONE) for action in actions))

    async def publish(self, record: TickRecord) -> None:
        """Keep the record."""
        await self.publishing()
        self.log.append(record)

    def controller(self, deadline: Seconds = Seconds(10.0)) -> Controller:
        """Return a controller of this world."""
        return Controller(clock=self, observer=self, decider=self, actuator=self, publisher=self, deadline=deadline)


def virtually(story: Coroutine[Any, Any, T]) -> T:
    """Run a story in virtual time, from second 0; what it left running at its end is an error."""

    async def whole() -> T:
        result = await story
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still running: {left}"
        return result

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(whole())


async def lived(controller: Controller, until: float, **settings: Any) -> None:  # noqa: ANN401 - as run takes them
    """Run a controller until a moment of virtual time."""
    running = asyncio.ensure_future(controller.run(PERIOD, **settings))
    await asyncio.sleep(until - asyncio.get_running_loop().time())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
