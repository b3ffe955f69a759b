"""The sequences that decode together on one replica: a token for each of them with every step."""

import heapq
from collections.abc import Callable
from operator import itemgetter
from typing import TypeAlias

from autoscaler.simulate.gaps import SlowSteps
from autoscaler.simulate.kv_memory import KvMemory
from autoscaler.simulate.request import EngineMeters, Request
from autoscaler.simulate.speed import Speed, steps_s, whole_steps

SAME_MOMENT = 1e-9  # seconds; sums of floats that should be equal differ by less

Segment: TypeAlias = tuple[float, float, float, int, int]
"""Steps done at once: start, seconds of the first, by how much each later one is longer, how many, batch."""


class Batch:
    """Sequences, the steps they have done, and the counters that rise with every step."""

    __slots__ = (
        "_fresh", "_joined", "_memory", "_meters", "_running", "_slow", "_told", "boundary", "last_start", "segments",
        "size", "speed", "stall", "step",
    )  # fmt: skip

    def __init__(
        self,
        now: float,
        speed: Speed,
        memory: KvMemory,
        meters: EngineMeters,
        first_token: Callable[[Request, float], None],
    ) -> None:
        """Start without sequences; ``first_token`` is told of every request whose first token the user sees."""
        self.speed = speed
        self.size = 0
        self.step = 0  # steps done at the boundary
        self.boundary = now  # time of the last step boundary (may lie in the future: the step is in flight)
        self.last_start = now  # when the step before the boundary began
        self.stall = 0.0  # seconds added to the next step
        self.segments: list[Segment] | None = None  # a list: all steps are noted in it
        self._memory = memory
        self._meters = meters
        self._told = first_token
        self._running: list[tuple[int, int, Request]] = []  # heap by (last step, order of joining)
        self._joined = 0
        self._fresh: list[Request] = []  # joined at the boundary; their first token comes with the next step
        self._slow = SlowSteps()

    def join(self, request: Request) -> None:
        """Take in a sequence at the boundary; its prompt is in memory."""
        self._joined += 1
        self.size += 1
        self._memory.sequences += request.input
        heapq.heappush(self._running, (self.step + request.output, self._joined, request))

    def join_fresh(self, request: Request) -> None:
        """Take in a sequence whose first token, or first after a preemption, comes with the next step."""
        self.join(request)
        self._fresh.append(request)

    @property
    def over(self) -> bool:
        """Tell whether the last token of any sequence is out at the boundary."""
        return bool(self._running) and self._running[0][0] <= self.step

    def leave(self) -> Request:
        """Let go of the sequence that ended first."""
        present = self.step_s()
        last, _, request = heapq.heappop(self._running)
        if request.answer > 1:
            request.long_gap = self._slow.long_gap(request.answer - 1, last, present)
        self.size -= 1
        self._memory.sequences -= request.computed + request.output
        return request

    def preempted(self) -> Request:
        """Take out the sequence that joined last, as a prompt: all it had is to be computed again."""
        youngest = max(self._running, key=itemgetter(1))
        self._running.remove(youngest)
        heapq.heapify(self._running)
        last, _, request = youngest
        if request in self._fresh:
            self._fresh.remove(request)
        left = last - self.step
        held = request.computed + request.output - left
        self.size -= 1
        self._memory.sequences -= held
        request.output, request.left, request.computed, request.cached = left, held, 0, 0
        request.input = held
        return request

    def step_s(self) -> float:
        """Return the seconds of the next step, if it computes no prompt and nothing stalls it."""
        return self.speed.by_batch_s[self.size] + self.speed.per_kv_token_s * self._memory.sequences

    def beside_s(self) -> float:
        """Return the seconds by which the batch makes a step longer that computes prompts."""
        by_batch_s = self.speed.by_batch_s
        return by_batch_s[self.size] - by_batch_s[0] + self.speed.per_kv_token_s * self._memory.sequences

    def _half_growth_s(self) -> float:
        """Return half of the seconds by which each step is longer than the one before it."""
        return 0.5 * self.speed.per_kv_token_s * self.size

    def steps_left(self) -> int:
        """Return how many steps there are until a sequence ends or KV memory runs out; 0: one is to be preempted."""
        return self._memory.steps_within(self._running[0][0] - self.step, self.size)

    def ends_at(self) -> float:
        """Return when that will be, if the batch stays as it is."""
        seconds = steps_s(max(1, self.steps_left()), self.step_s(), self._half_growth_s())
        return self.boundary + self.stall + seconds

    def leap(self, steps: int, now: float) -> bool:
        """Do those of the next ``steps`` steps that end by ``now``; tell whether these are all."""
        first, half = self.step_s(), self._half_growth_s()
        if self.boundary + steps_s(steps, first, half) <= now + SAME_MOMENT:
            self._do_steps(steps, first, half)
            return True
        seconds = now - self.boundary + SAME_MOMENT
        if steps > 1 and seconds >= first:
            whole = min(steps - 1, whole_steps(seconds, first, half))
            if whole:
                self._do_steps(whole, first, half)
        return False

    def _do_steps(self, steps: int, first: float, half: float) -> None:
        """Do ``steps`` steps, of which the first takes ``first`` and each later one ``2 half`` more."""
        batch, start, meters = self.size, self.boundary, self._meters
        took = steps_s(steps, first, half)
        self.boundary = start + took
        self.last_start = start + took - first - 2.0 * half * (steps - 1)
        self.step += steps
        tokens = steps * batch
        self._memory.sequences += tokens
        meters.output_tokens += tokens
        meters.gaps += tokens
        meters.gap_s += took * batch
        if self._fresh:
            self._first_tokens(start + first, first)
        if self.segments is not None:
            self.segments.append((start, first, 2 * half, steps, batch))

    def do_next_step(self) -> None:
        """Do the next step, with what stalls it."""
        stall, self.stall = self.stall, 0.0
        took = self.step_s() + stall
        self.do_step(took, slowed=stall > 0.0)
        self.last_start = self.boundary - took

    def do_step(self, took: float, *, slowed: bool) -> None:
        """Put one step behind: a token for every sequence; ``slowed``: it computed prompts or was stalled."""
        batch, start, meters = self.size, self.boundary, self._meters
        if self.segments is not None:
            self.segments.append((start, took, 0.0, 1, batch))
        self.boundary = time = start + took
        self.step += 1
        if not batch:
            return
        self._memory.sequences += batch
        meters.output_tokens += batch
        meters.gaps += batch
        meters.gap_s += took * batch
        if slowed:
            self._slow.note(self.step, took)
        if self._fresh:
            self._first_tokens(time, took)

    def _first_tokens(self, time: float, took: float) -> None:
        fresh, meters = self._fresh, self._meters
        self._fresh = []
        meters.gaps -= len(fresh)
        meters.gap_s -= took * len(fresh)
        for request in fresh:
            meters.ttft_s += time - request.engine_at
            if request.first < 0:
                request.first = time
                self._told(request, time)
