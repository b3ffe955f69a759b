"""The slow steps of an engine, from which the longest gaps between a request's tokens are told."""

from bisect import bisect_right

KEPT = 8192  # longer than any request runs, unless nearly all of its steps are slow


class SlowSteps:
    """The last steps that computed prompts or were stalled, in order, and how long each took."""

    __slots__ = ("_seconds", "_steps")

    def __init__(self) -> None:
        """Remember none."""
        self._steps: list[int] = []
        self._seconds: list[float] = []

    def note(self, step: int, seconds: float) -> None:
        """Remember a step that has just ended: it may be among the longest gaps of the requests that run."""
        self._steps.append(step)
        self._seconds.append(seconds)
        if len(self._steps) > KEPT:
            del self._steps[: KEPT // 2], self._seconds[: KEPT // 2]

    def long_gap(self, gaps: int, last: int, present: float) -> float:
        """Return the 99th percentile of the ``gaps`` before the tokens of the steps up to ``last``.

        Exact where one in a hundred of these steps or more was slow; else a ``present`` step stands for all others.
        """
        rank = -(-gaps // 100)
        steps = self._steps
        slow = self._seconds[bisect_right(steps, last - gaps) : bisect_right(steps, last)]
        return sorted(slow)[-rank] if len(slow) >= rank else present
