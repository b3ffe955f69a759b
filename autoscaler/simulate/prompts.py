"""The prompts that one replica has to compute: those that wait, those begun, and what each step takes of them."""

from collections import deque
from typing import TypeAlias

from autoscaler.performance.step import EngineLimits
from autoscaler.simulate.batch import Batch
from autoscaler.simulate.kv_memory import KvMemory
from autoscaler.simulate.request import EngineMeters, Request

Chunk: TypeAlias = tuple[Request, int]
"""So many tokens of a prompt, computed in one step."""


class Prompts:
    """A queue in order of arrival, cut into chunks by the budget of a step."""

    __slots__ = (
        "_batch", "_limits", "_memory", "_meters", "begun", "planned", "planned_s", "queued_tokens", "waiting",
    )  # fmt: skip

    def __init__(self, limits: EngineLimits, batch: Batch, memory: KvMemory, meters: EngineMeters) -> None:
        """Start without prompts; the ``batch`` goes first: it takes tokens of the budget, and places."""
        self.queued_tokens = 0  # accepted and not computed yet
        self.waiting: deque[Request] = deque()
        self.begun: list[Request] = []  # in memory, and not all computed
        self.planned: list[Chunk] = []  # into the step that is formed next
        self.planned_s = 0.0  # work of these
        self._limits = limits
        self._batch = batch
        self._memory = memory
        self._meters = meters

    def add(self, request: Request) -> None:
        """Let a prompt wait behind all others."""
        self.queued_tokens += request.left
        self.waiting.append(request)

    def put_back(self, request: Request) -> None:
        """Let a sequence that was preempted wait before all others."""
        self.queued_tokens += request.left
        self.waiting.appendleft(request)

    @property
    def unplanned(self) -> bool:
        """Tell whether any prompt has tokens that no step was formed with."""
        return bool(self.waiting) or (bool(self.begun) and self.begun[-1].left > 0)

    def plan(self) -> None:
        """Fill a step's budget with chunks of prompts, those begun first."""
        budget = self._limits.max_batched_tokens - self._batch.size
        self.planned_s = 0.0
        for request in self.begun:
            if budget <= 0:
                break
            if request.left:
                budget -= self._take(request, budget)
        waiting, begun = self.waiting, self.begun
        places = self._limits.max_sequences - self._batch.size
        while waiting and budget > 0 and len(begun) < places:
            request = waiting[0]
            if not request.lost and not self._begin(request):
                break
            waiting.popleft()
            if request.lost:
                self.queued_tokens -= request.left
                continue
            begun.append(request)
            budget -= self._take(request, budget)

    def _begin(self, request: Request) -> bool:
        """Take memory for a prompt, if there is enough for all of it."""
        if not self._memory.admit(request):
            return False
        self.queued_tokens -= request.cached
        request.started = self._batch.boundary
        self._meters.queue_s += request.started - request.engine_at
        return True

    def _take(self, request: Request, budget: int) -> int:
        """Put a chunk into the planned step; return its tokens."""
        tokens = min(budget, request.left)
        self.planned.append((request, tokens))
        self.planned_s += self._batch.speed.chunk_s(tokens, request.computed)
        request.pending += 1
        request.left -= tokens
        request.computed += tokens
        return tokens

    def computed(self, request: Request, tokens: int) -> bool:
        """Count a chunk whose step has ended; tell whether the prompt has, and with it its first token is out."""
        meters = self._meters
        self.queued_tokens -= tokens
        meters.computed_tokens += tokens
        request.pending -= 1
        if request.left or request.pending:
            return False
        self.begun.remove(request)
        time = self._batch.boundary
        meters.prefills += 1
        meters.prefill_s += time - request.started
        meters.prompt_tokens += request.input
        meters.output_tokens += 1
        if request.first < 0:
            meters.ttft_s += time - request.engine_at
        return True
