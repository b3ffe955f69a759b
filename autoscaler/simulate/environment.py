"""The event kernel: a heap of (time, priority, serial, action, argument); the serial makes ties deterministic."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

Action: TypeAlias = Callable[[Any], object]
"""What happens at a moment; takes the argument it was scheduled with."""

NORMAL = 1
EARLY = 0  # before all else at its moment
LATE = 2  # after all else at its moment: scrapes and decisions see what has happened


class Environment:
    """Virtual time: nothing sleeps, the next event is simply next."""

    __slots__ = ("_heap", "_serial", "now")

    def __init__(self, now: float = 0.0) -> None:
        """Start at a moment, with nothing to happen."""
        self.now = now
        self._heap: list[tuple[float, int, int, Action, Any]] = []
        self._serial = itertools.count()

    def at(self, time: float, action: Action, argument: object = None, priority: int = NORMAL) -> None:
        """Let ``action(argument)`` happen at ``time``.

        Raises:
            ValueError: ``time`` lies in the past.
        """
        if time < self.now:
            msg = f"an event at {time} cannot be scheduled at {self.now}"
            raise ValueError(msg)
        heapq.heappush(self._heap, (time, priority, next(self._serial), action, argument))

    def run(self, until: float) -> None:
        """Let everything happen up to and including ``until``, which is then the present."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            event = pop(heap)
            self.now = event[0]
            event[3](event[4])
        self.now = max(self.now, until)

    def run_while(self, condition: Callable[[], bool], until: float) -> None:
        """Let events happen while the condition holds, none after ``until``."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until and condition():
            event = pop(heap)
            self.now = event[0]
            event[3](event[4])
