"""Trains forecasters for a controller that runs elsewhere: ``python -m autoscaler.cli.pupil``.

Takes lessons from stdin and writes what comes of each to stdout, both pickled, until stdin ends. Both are pipes to the
process that started this one; nobody else is at their other ends.
"""

import os
import pickle
import sys
from typing import IO, TYPE_CHECKING

from autoscaler.errors import LessonError

if TYPE_CHECKING:
    from autoscaler.forecast.room import Trained, Training

NICE = 10
"""Lessons have time; ticks have not."""


def main() -> None:
    """Learn until there are no more lessons."""
    os.nice(NICE)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
        learn(sys.stdin.buffer, answers)


def learn(lessons: IO[bytes], answers: IO[bytes]) -> None:
    """Answer lessons one after the other: with what was trained, or with a LessonError."""
    while True:
        try:
            training: Training = pickle.load(lessons)  # noqa: S301 - written by the controller that started this
        except EOFError:
            return
        pickle.dump(_outcome(training), answers)
        answers.flush()


def _outcome(training: "Training") -> "Trained | LessonError":
    try:
        return training.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the controller has to be told
        return LessonError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
