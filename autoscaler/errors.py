"""Errors, sorted by what to do about them.

AutoscalerError
├── PolicyError       the policy file is wrong: fix it; nothing starts
├── InputError        another input is wrong (trace, profile, recording, option): fix it
├── ObservationError  a source of observations failed: hold every count, look again next tick
├── ActuationError    a write failed: the next tick plans again from what is there
└── LessonError       a forecaster was not trained: the last good models speak on, it is tried again
"""

from collections.abc import Sequence


class AutoscalerError(Exception):
    """Base of all errors that are told to the user without a traceback."""


class InputError(AutoscalerError):
    """A file or an option that cannot be used; the message names field, value and way out."""


class PolicyError(InputError):
    """All that is wrong with a policy, at once."""

    def __init__(self, problems: Sequence[str], source: str = "") -> None:
        """Take every problem found, each ``path: what is wrong; way out``, and the file they are in."""
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(f"{source}: {problem}" if source else problem for problem in self.problems))


class ObservationError(AutoscalerError):
    """A source did not answer, or answered nonsense."""


class ActuationError(AutoscalerError):
    """A write to the cluster did not succeed."""


class LessonError(AutoscalerError):
    """A forecaster could not be trained."""
