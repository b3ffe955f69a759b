"""The loop: observe, decide, act, publish. A step that fails leaves a hold behind, never a half-done decision."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Protocol, TypeAlias, TypeVar

from autoscaler import collector
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.record import Outcome, Step, StepFailure, TickRecord
from autoscaler.domain.signal import Gap, GapReason, Missing
from autoscaler.domain.units import Instant, Seconds, after, elapsed
from autoscaler.ports import Actuator, Clock, Observer, Publisher

T = TypeVar("T")

UNREADY_AFTER_PERIODS = 3


Span: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Opens a span of a trace around what is done inside; an error that leaves it is the span's."""


def no_span(_: str) -> AbstractContextManager[None]:
    """Trace nothing."""
    return contextlib.nullcontext()


class Decides(Protocol):
    """The pure core as the loop sees it."""

    def decide(self, observation: Observation) -> Plan:
        """Return what to do now."""
        ...


class Controller:
    """Joins the core to the world; holds no opinion of its own."""

    def __init__(
        self,
        *,
        clock: Clock,
        observer: Observer,
        decider: Decides,
        actuator: Actuator,
        publisher: Publisher,
        deadline: Seconds = Seconds(10.0),
        span: Span = no_span,
    ) -> None:
        """Join ports and core.

        ``deadline``: the longest that observing, acting or publishing may take; ``span``: traces a tick and its steps.
        """
        self._clock = clock
        self._observer = observer
        self._decider = decider
        self._actuator = actuator
        self._publisher = publisher
        self._deadline = deadline
        self._stopping = asyncio.Event()
        self._span = span
        self._published = _Steps(clock, span)

    async def tick(self) -> TickRecord:
        """Go once through the loop.

        Returns:
            The record as published. How its publication went is known only afterwards: the next record tells it.
        """
        with self._span("tick"), collector.paused():  # what became garbage is looked for between ticks
            return await self._tick()

    async def _tick(self) -> TickRecord:
        steps = _Steps(self._clock, self._span, before=self._published)
        now = self._clock.now()
        observation, plan, outcome = blind(now), Plan(now), Outcome()
        with steps.timed(Step.OBSERVE):
            observation = await self._in_time(self._observer.observe(now))
        with steps.timed(Step.DECIDE):
            plan = self._decider.decide(observation)
        with steps.timed(Step.ACT):
            outcome = await self._in_time(self._actuator.apply(plan.actions))
        record = steps.record(observation, plan, outcome)
        self._published = _Steps(self._clock, self._span)
        with self._published.timed(Step.PUBLISH):
            await self._in_time(self._publisher.publish(record))
        return record

    async def run(self, period: Seconds, jitter: Callable[[], float] = lambda: 0.0) -> None:
        """Tick every ``period`` until stopped; a tick that is late delays the next, it never doubles it.

        Args:
            period: from the begin of one tick to the begin of the next.
            jitter: draws a share of the period by which a tick is put off, so that many controllers do not march
                in step against one Prometheus.
        """
        due = self._clock.now()
        while not self._stopping.is_set():
            await self.tick()
            due = after(due, period)
            now = self._clock.now()
            due = max(due, now)
            await self._rest(Seconds(elapsed(now, due) + period * jitter()))

    def stop(self) -> None:
        """End ``run`` after the tick in progress."""
        self._stopping.set()

    async def _rest(self, duration: Seconds) -> None:
        """Sleep, but wake at once when asked to stop."""
        sleeping = asyncio.ensure_future(self._clock.sleep(duration))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
            await asyncio.gather(sleeping, stopping, return_exceptions=True)

    async def _in_time(self, work: Awaitable[T]) -> T:
        async with asyncio.timeout(self._deadline):
            return await work


class _Steps:
    """Times the steps of one tick and remembers which failed, beside what remained to be told from ``before``."""

    def __init__(self, clock: Clock, span: Span, *, before: "_Steps | None" = None) -> None:
        self._clock = clock
        self._span = span
        self.seconds: dict[Step, Seconds] = dict(before.seconds) if before else {}
        self.failures: list[StepFailure] = list(before.failures) if before else []

    @contextlib.contextmanager
    def timed(self, step: Step) -> Iterator[None]:
        start = self._clock.now()
        try:
            with self._span(step.value):
                yield
        except Exception as error:  # noqa: BLE001 - the one broad except: whatever goes wrong ends in a hold
            self.failures.append(StepFailure(step, type(error).__name__, str(error) or "took too long"))
        finally:
            self.seconds[step] = elapsed(start, self._clock.now())

    def record(self, observation: Observation, plan: Plan, outcome: Outcome) -> TickRecord:
        seconds = MappingProxyType(dict(self.seconds))
        return TickRecord(observation, plan, outcome, seconds, tuple(self.failures))


def blind(now: Instant) -> Observation:
    """Return the observation of a tick that saw nothing: every model is unknown, so every count is held."""
    return Observation(now, gaps=(Gap("observation", "", Missing(GapReason.UNREACHABLE, now)),))
