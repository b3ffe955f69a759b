"""Prompts whose KV comes from another replica: memory is reserved, KV is pulled, and the sequence joins the batch."""

from collections import deque

from autoscaler.performance.step import EngineLimits
from autoscaler.simulate.batch import Batch
from autoscaler.simulate.kv_memory import KvMemory
from autoscaler.simulate.request import EngineMeters, Request


class Pulls:
    """The requests of one decode replica between the offer of their KV and their place in the batch."""

    __slots__ = ("_batch", "_limits", "_memory", "_meters", "_posting_s", "arrived", "offered", "planned", "under_way")

    def __init__(
        self, limits: EngineLimits, batch: Batch, memory: KvMemory, meters: EngineMeters, posting_s: float
    ) -> None:
        """Start without any; posting a pull stalls the batch by ``posting_s`` a token."""
        self.offered: deque[Request] = deque()  # wait for memory
        self.under_way = 0  # transfers of KV
        self.arrived: deque[Request] = deque()  # their KV is here
        self.planned: deque[Request] = deque()  # of these: planned into the step after the one in flight
        self._limits = limits
        self._batch = batch
        self._memory = memory
        self._meters = meters
        self._posting_s = posting_s

    @property
    def waiting(self) -> int:
        """Count the requests that wait for memory or a place (transfers do not count)."""
        return len(self.offered) + len(self.arrived) + len(self.planned)

    def reserve(self) -> Request | None:
        """Take memory for the next prompt and post its pull; None if there is none, or too little memory for it."""
        offered, memory = self.offered, self._memory
        while offered and memory.used + offered[0].input <= memory.capacity:
            request = offered.popleft()
            if request.lost:
                continue
            memory.prompts += request.input
            self.under_way += 1
            if self._batch.size:
                self._batch.stall += self._posting_s * request.input
            return request
        return None

    def plan(self) -> None:
        """Plan those whose KV is here into the step after the next, behind those that found no place."""
        if self.arrived:
            self.planned += self.arrived
            self.arrived.clear()

    def join(self, whose: deque[Request], begun: int) -> None:
        """Let requests join the batch at the boundary; ``begun`` prompts have their places."""
        batch, places = self._batch, self._limits.max_sequences - begun
        while whose and batch.size < places:
            request = whose.popleft()
            self._memory.prompts -= request.input
            if request.lost:
                continue
            request.computed = request.input
            batch.join_fresh(request)
            self._meters.prompt_tokens += request.input
