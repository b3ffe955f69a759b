"""Lessons in a process of their own: what comes back, what a failure leaves, and that nothing stays behind."""

import contextlib
import io
import os
import pickle
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from autoscaler.cli import pupil
from autoscaler.cli.school import School
from autoscaler.decider import Learnt, Lesson
from autoscaler.errors import LessonError
from autoscaler.forecast.learned import Kind, TrainingJob
from autoscaler.forecast.room import Trained, Training
from tests.servers.control_plane import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux tells them"),
]

PATIENCE_S = 120.0
MINUTES = np.random.default_rng(7).uniform(50.0, 150.0, 5000)


def training(minutes: int = len(MINUTES)) -> Training:
    return Training("chat", "requests", TrainingJob(Kind.RIDGE, MINUTES[:minutes], np.ones(minutes, bool), 0))


def lesson(minutes: int = len(MINUTES)) -> Lesson:
    return Lesson("llm/model", training(minutes))


HOPELESS = lesson(9)


@pytest.fixture
def school() -> Iterator[School]:
    opened = School()
    yield opened
    opened.close()


def answers(*lessons: Training) -> list[Trained | LessonError]:
    told, given = io.BytesIO(), io.BytesIO(b"".join(map(pickle.dumps, lessons)))
    pupil.learn(given, told)
    end = told.tell()
    told.seek(0)
    found = []
    while told.tell() < end:
        found.append(pickle.load(told))  # noqa: S301 - written above
    return found


def test_every_lesson_is_answered_until_there_are_no_more() -> None:
    first, second, third = answers(training(), training(9), training())
    assert isinstance(first, Trained)
    assert isinstance(second, LessonError)
    assert isinstance(third, Trained)
    assert answers() == []


def test_what_is_learned_elsewhere_is_what_would_be_learned_here(school: School) -> None:
    learnt, here = school.submit(lesson()).result(PATIENCE_S), lesson().run()
    assert (learnt.policy, learnt.trained.profile, learnt.trained.signal) == ("llm/model", "chat", "requests")
    there, own = learnt.trained.model.linear, here.trained.model.linear
    assert there is not None
    assert own is not None
    assert there.weights.tolist() == own.weights.tolist()
    assert there.intercepts.tolist() == own.intercepts.tolist()


def test_a_lesson_that_fails_says_why_and_does_not_end_the_others(school: School) -> None:
    failing, next_one = school.submit(HOPELESS), school.submit(lesson())
    with pytest.raises(LessonError, match="ValueError: "):
        failing.result(PATIENCE_S)
    assert next_one.result(PATIENCE_S).policy == "llm/model"


def children() -> set[int]:
    """Return the processes that this one has started and that still run or were not waited for."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            parent = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(int(process.name))
    return found


def test_the_process_goes_when_nothing_is_left_to_learn_and_another_comes(school: School) -> None:
    before = children()
    school.rest()
    assert children() == before, "nothing is started before there is a lesson"
    school.submit(lesson()).result(PATIENCE_S)
    (first,) = children() - before
    school.submit(lesson()).result(PATIENCE_S)
    assert children() - before == {first}, "the same for all lessons in a row"
    school.rest()
    eventually(lambda: children() == before, within_s=PATIENCE_S, what="no process")
    school.submit(lesson()).result(PATIENCE_S)
    assert first not in children()


def test_a_process_that_is_killed_fails_its_lesson_and_no_other(school: School) -> None:
    before = children()
    school.submit(lesson()).result(PATIENCE_S)
    (first,) = children() - before
    os.kill(first, signal.SIGKILL)
    with pytest.raises(LessonError, match="status -9"):
        school.submit(lesson()).result(PATIENCE_S)
    assert school.submit(lesson()).result(PATIENCE_S).policy == "llm/model"


def test_closing_ends_a_lesson_under_way() -> None:
    before, school = children(), School()
    school.submit(lesson()).result(PATIENCE_S)
    under_way: list[Future[Learnt]] = [school.submit(lesson()) for _ in range(50)]
    school.close()
    assert children() == before
    assert all(each.done() for each in under_way)
