"""Training beside the loop: never waited for, taken in when done, paused after a failure."""

from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from autoscaler.cli.lessons import PAUSE, Learning
from autoscaler.decider import Learnt, Lesson
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.units import Instant
from autoscaler.forecast.learned import Kind, TrainingJob
from autoscaler.forecast.room import Training
from tests import planning

LESSON = Lesson(
    "llm/model", Training("chat", "requests", TrainingJob(Kind.RIDGE, np.ones(4000), np.ones(4000, bool), 0))
)
HOPELESS = Lesson("llm/model", Training("chat", "requests", TrainingJob(Kind.RIDGE, np.ones(9), np.ones(9, bool), 0)))


class Later:
    """Runs lessons when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Learnt], Lesson]] = []
        self.rested = 0

    def submit(self, lesson: Lesson) -> Future[Learnt]:
        future: Future[Learnt] = Future()
        self.waiting.append((future, lesson))
        return future

    def rest(self) -> None:
        assert not self.waiting
        self.rested += 1

    def run(self) -> None:
        """Run all that waits."""
        for future, lesson in self.waiting:
            try:
                future.set_result(lesson.run())
            except Exception as problem:  # noqa: BLE001 - as teachers do
                future.set_exception(problem)
        self.waiting = []


@dataclass
class Core:
    """Decides nothing and always has something to learn."""

    due: Lesson | None
    adopted: list[Learnt] = field(default_factory=list)

    def decide(self, observation: Observation) -> Plan:
        return Plan(observation.at)

    def lesson(self) -> Lesson | None:
        return self.due

    def adopt(self, learnt: Learnt) -> None:
        self.adopted.append(learnt)


def at(seconds: float) -> Observation:
    return Observation(Instant(seconds))


def test_a_lesson_runs_between_ticks_and_counts_from_the_next_on() -> None:
    core, later = Core(LESSON), Later()
    learning = Learning(core, later)
    assert learning.decide(at(15.0)).at == 15.0
    assert len(later.waiting) == 1
    learning.decide(at(30.0))
    assert (len(later.waiting), core.adopted) == (1, []), "one lesson at a time, and nobody waits for it"
    later.run()
    core.due = None
    learning.decide(at(45.0))
    (learnt,) = core.adopted
    assert (learnt.policy, learnt.trained.profile, learnt.trained.model.kind) == ("llm/model", "chat", Kind.RIDGE)
    assert (later.waiting, later.rested) == ([], 1), "what lessons need is let go when there are none"


def test_a_lesson_that_fails_is_not_tried_again_for_an_hour() -> None:
    core, later = Core(HOPELESS), Later()
    learning = Learning(core, later)
    learning.decide(at(0.0))
    later.run()
    learning.decide(at(15.0))
    assert (core.adopted, later.waiting, later.rested) == ([], [], 1)
    learning.decide(at(15.0 + PAUSE))
    assert len(later.waiting) == 1


def test_what_was_learned_under_another_version_of_the_policy_is_dropped() -> None:
    core, later = Core(LESSON), Later()
    learning = Learning(core, later)
    policy = planning.policy()
    lesson_of = replace(LESSON, policy=policy.key)
    core.due = lesson_of
    learning.follow([policy])
    learning.decide(at(15.0))
    learning.follow([replace(policy, model="another")])
    later.run()
    core.due = None
    learning.decide(at(30.0))
    assert core.adopted == [], "its profiles may be of other requests now"
    core.due = lesson_of
    learning.decide(at(45.0))
    later.run()
    learning.decide(at(60.0))
    assert len(core.adopted) == 1


def test_what_was_learned_of_a_policy_that_is_gone_is_dropped() -> None:
    core, later = Core(LESSON), Later()
    learning = Learning(core, later)
    policy = planning.policy()
    core.due = replace(LESSON, policy=policy.key)
    learning.follow([policy])
    learning.decide(at(15.0))
    learning.follow([])
    later.run()
    learning.decide(at(30.0))
    assert core.adopted == []
