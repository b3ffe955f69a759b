"""Where lessons are given: in a process of its own, which takes scikit-learn with it when nothing is left to learn.

In the controller's process scikit-learn and what it imports would stay for good: 0.15 GB.
"""

import contextlib
import pickle
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from autoscaler.decider import Learnt, Lesson
from autoscaler.errors import LessonError
from autoscaler.forecast.room import Trained


class School:
    """Runs one lesson at a time, each where the one before it ran, as long as there are any."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._desk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lessons")
        self._pupil: subprocess.Popen[bytes] | None = None  # that runs

    def submit(self, lesson: Lesson) -> Future[Learnt]:
        """Begin a lesson, after those that were begun before; its result may be a LessonError."""
        return self._desk.submit(self._learnt, lesson)

    def rest(self) -> None:
        """Let the process go, after what was begun; the next lesson starts another."""
        if self._pupil is not None:
            self._desk.submit(self._dismiss)

    def close(self) -> None:
        """End at once, whatever is under way."""
        self._desk.shutdown(wait=False, cancel_futures=True)
        if self._pupil is not None:
            self._pupil.kill()
        self._desk.shutdown()
        self._dismiss()

    def _learnt(self, lesson: Lesson) -> Learnt:
        lessons, answers = self._pipes()
        try:
            pickle.dump(lesson.training, lessons)
            lessons.flush()
            outcome: Trained | LessonError = pickle.load(answers)  # noqa: S301 - written by our own module, started here
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            status = self._dismiss()
            msg = f"the process that learns has ended with status {status}; a negative one is a signal (9: no memory)"
            raise LessonError(msg) from error
        if isinstance(outcome, LessonError):
            raise outcome
        return Learnt(lesson.policy, outcome)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._pupil is None:
            command = [sys.executable, "-m", "autoscaler.cli.pupil"]
            self._pupil = subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
            )  # a group of its own: Ctrl-C is for the controller, with whose pipe the process ends
        assert self._pupil.stdin is not None  # noqa: S101 - as asked for
        assert self._pupil.stdout is not None  # noqa: S101 - as asked for
        return self._pupil.stdin, self._pupil.stdout

    def _dismiss(self) -> int | None:
        """Let the process end, and return its status; None: there was none."""
        pupil, self._pupil = self._pupil, None
        if pupil is None:
            return None
        for pipe in (pupil.stdin, pupil.stdout):
            with contextlib.suppress(OSError):  # what was not written yet, to a process that is gone
                if pipe is not None:
                    pipe.close()
        return pupil.wait()
