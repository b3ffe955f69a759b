"""Forecasters are trained beside the loop: one lesson at a time, in a thread; a tick takes in what has come of it."""

from concurrent.futures import Executor, Future
from typing import Protocol

import structlog

from autoscaler.decider import Learnt, Lesson
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.units import Instant, Seconds, after

log = structlog.get_logger("autoscaler")

PAUSE = Seconds(3600.0)
"""After a lesson that failed: the last good models speak on, and the data will have changed by then."""


class Teachable(Protocol):
    """A core whose forecasters can be trained."""

    def decide(self, observation: Observation) -> Plan:
        """Return what to do now."""
        ...

    def lesson(self) -> Lesson | None:
        """Return what should be learned next."""
        ...

    def adopt(self, learnt: Learnt) -> None:
        """Use what was learned."""
        ...


class Learning:
    """Decides as its core does, and lets it learn between two decisions; never waits for a lesson."""

    def __init__(self, core: Teachable, executor: Executor) -> None:
        """Take who decides, and where lessons are run."""
        self._core = core
        self._executor = executor
        self._running: Future[Learnt] | None = None
        self._not_before = Instant(0.0)

    def decide(self, observation: Observation) -> Plan:
        """Return what to do now, with what has been learned so far."""
        self._take_in(observation.at)
        plan = self._core.decide(observation)
        if self._running is None and observation.at >= self._not_before:
            lesson = self._core.lesson()
            self._running = None if lesson is None else self._executor.submit(lesson.run)
        return plan

    def _take_in(self, at: Instant) -> None:
        """Let the core adopt a lesson that has ended."""
        if self._running is None or not self._running.done():
            return
        ended, self._running = self._running, None
        problem = ended.exception()
        if problem is None:
            self._core.adopt(ended.result())
            return
        self._not_before = after(at, PAUSE)
        log.warning("lesson_failed", error=type(problem).__name__, detail=str(problem), pause_s=PAUSE)
