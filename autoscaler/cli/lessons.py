"""Forecasters are trained beside the loop, one lesson at a time; a tick takes in what has come of it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import structlog

from autoscaler.decider import Learnt, Lesson
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.policy import SLOPolicy
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


class Teacher(Protocol):
    """Runs lessons, somewhere beside the loop."""

    def submit(self, lesson: Lesson) -> Future[Learnt]:
        """Begin a lesson."""
        ...

    def rest(self) -> None:
        """Let go of what lessons need: there is none for now."""
        ...


@dataclass(frozen=True, slots=True)
class _Running:
    """A lesson under way, and the policy as it was when the lesson began."""

    policy: SLOPolicy | None
    result: Future[Learnt]


class Learning:
    """Decides as its core does, and lets it learn between two decisions; never waits for a lesson.

    What was learned under a policy that has changed meanwhile is dropped: its profiles may be of other requests now.
    """

    def __init__(self, core: Teachable, teacher: Teacher) -> None:
        """Take who decides, and who runs lessons."""
        self._core = core
        self._teacher = teacher
        self._running: _Running | None = None
        self._not_before = Instant(0.0)
        self._policies: Mapping[str, SLOPolicy] = MappingProxyType({})

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Know of these policies, and no others, from now on."""
        self._policies = MappingProxyType({policy.key: policy for policy in policies})

    def decide(self, observation: Observation) -> Plan:
        """Return what to do now, with what has been learned so far."""
        self._take_in(observation.at)
        plan = self._core.decide(observation)
        if self._running is None:
            self._begin(observation.at)
        return plan

    def _begin(self, at: Instant) -> None:
        """Begin the next lesson, if there is one and the last one did not fail just now."""
        lesson = self._core.lesson() if at >= self._not_before else None
        if lesson is None:
            self._teacher.rest()
        else:
            self._running = _Running(self._policies.get(lesson.policy), self._teacher.submit(lesson))

    def _take_in(self, at: Instant) -> None:
        """Let the core adopt a lesson that has ended."""
        if self._running is None or not self._running.result.done():
            return
        ended, self._running = self._running, None
        problem = ended.result.exception()
        if problem is None:
            learnt = ended.result.result()
            if self._policies.get(learnt.policy) == ended.policy:
                self._core.adopt(learnt)
            else:
                log.info("lesson_outdated", policy=learnt.policy)
            return
        self._not_before = after(at, PAUSE)
        log.warning("lesson_failed", error=type(problem).__name__, detail=str(problem), pause_s=PAUSE)
