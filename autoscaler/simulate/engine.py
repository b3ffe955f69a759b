"""One replica: continuous batching as vLLM v1 does it, advanced from event to event, never token by token.

Rules (names are used where results are compared with other engines):

- ``decode-first``: every step generates one token for each running sequence; prompts share what is left of the budget.
- ``chunked-prefill``: prompts are taken in order of arrival and cut where the budget of a step ends; all prompts of a
  step return at its end.
- ``whole-prompt-fits``: a prompt is admitted only if KV memory for all of it is free.
- ``preempt-last``: when a step finds no KV memory, the sequence that joined last is put back and computed again.
- ``pin-until-pulled``: a prefill replica keeps a prompt's KV until the decode replica has it.
- ``schedule-ahead`` (asynchronous scheduling): a step is formed when the one before it begins, so what arrives during a
  step waits for the rest of it and for all of the next. An engine without work forms a step at once.
- ``posting-stalls-decode``: the decode step in which a pull is posted is longer by the time that posting takes.
- ``pull-then-join``: a decode replica reserves memory before it pulls, and joins at the next step boundary; its first
  step yields the first token that the user sees.

What it has stands in ``batch.py`` (sequences that decode), ``prompts.py`` (to be computed), ``pulls.py`` (KV that comes
from elsewhere) and ``kv_memory.py``; how long a step takes in ``speed.py``. Here is when what happens: while no prompt
is to be computed, many steps at once and one event for the next end of a sequence; else one event a step.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from autoscaler.domain.pool import Role
from autoscaler.performance.step import ReplicaModel
from autoscaler.simulate.batch import SAME_MOMENT, Batch
from autoscaler.simulate.environment import Environment
from autoscaler.simulate.kv_memory import KvMemory
from autoscaler.simulate.prefix import PrefixCache
from autoscaler.simulate.prompts import Chunk, Prompts
from autoscaler.simulate.pulls import Pulls
from autoscaler.simulate.request import EngineMeters, Request
from autoscaler.simulate.speed import Speed

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class EngineRules:
    """Which of the rules that engines differ in hold."""

    schedule_ahead: bool = True  # vLLM's default since 0.14
    posting_share: float = 0.95  # of the hand-over's time per token: 18 ms a pull of 1,270 tokens at 15 us (NIXL, H200)


class Listener(Protocol):
    """Is told what an engine has done. A time may lie up to one step before or after the present."""

    def first_token(self, request: Request, time: float) -> None:
        """The user sees the first token."""
        ...

    def prefilled(self, engine: "Engine", request: Request, time: float) -> None:
        """A prefill replica has computed a prompt and keeps its KV until ``release``."""
        ...

    def reserved(self, engine: "Engine", request: Request, time: float) -> None:
        """A decode replica has memory for a prompt: the transfer may start, ``join`` ends it."""
        ...

    def finished(self, engine: "Engine", request: Request, time: float) -> None:
        """The last token is out."""
        ...


class Engine:
    """One replica's engine."""

    __slots__ = (
        "_ahead", "_chunks", "_duration", "_env", "_listener", "_memory", "_pulls", "_slowed", "_stepping", "_version",
        "_wake_at", "batch", "meters", "model", "prompts", "role",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        model: ReplicaModel,
        role: Role,
        listener: Listener,
        *,
        cache: PrefixCache | None = None,
        rules: EngineRules | None = None,
    ) -> None:
        """Start an idle engine with an empty cache (``cache``: None switches prefix caching off)."""
        rules = rules or EngineRules()
        limits = model.limits
        self.model = model
        self.role = role
        self.meters = EngineMeters()
        self._env = env
        self._listener = listener
        self._ahead = rules.schedule_ahead
        self._memory = KvMemory(limits, cache)
        self.batch = Batch(env.now, Speed(model), self._memory, self.meters, listener.first_token)
        self.prompts = Prompts(limits, self.batch, self._memory, self.meters)
        posting_s = rules.posting_share * model.handover.per_token_s
        self._pulls = Pulls(limits, self.batch, self._memory, self.meters, posting_s)
        self._stepping = False  # steps are events of their own, because prompts are computed in them
        self._chunks: list[Chunk] = []  # in the step in flight
        self._duration = 0.0  # of the step in flight
        self._slowed = False  # whether it computes prompts or is stalled
        self._version = 0  # events of an earlier one are void
        self._wake_at = NEVER

    def set_speed(self, factor: float) -> None:
        """Serve at ``factor`` times the model's speed from the next step on."""
        self.batch.speed = Speed(self.model, factor)

    # What routers and scrapes read ------------------------------------------------------------------------------

    @property
    def cache(self) -> PrefixCache | None:
        """Return the prefix cache, if there is one."""
        return self._memory.cache

    @property
    def queued_tokens(self) -> int:
        """Return the prompt tokens that were accepted and are not computed yet."""
        return self.prompts.queued_tokens

    @property
    def running(self) -> int:
        """Count the requests in the batch."""
        return self.batch.size + len(self.prompts.begun)

    @property
    def waiting(self) -> int:
        """Count the requests that wait for capacity (transfers of KV do not count)."""
        return len(self.prompts.waiting) + self._pulls.waiting

    @property
    def transferring(self) -> int:
        """Count the requests whose KV is under way."""
        return self._pulls.under_way

    @property
    def kv_tokens(self) -> int:
        """Return the KV tokens in use; cached blocks without a user count as free."""
        return self._memory.used

    @property
    def kv_use_ratio(self) -> float:
        """Return the share of KV memory in use."""
        return self._memory.used / self._memory.capacity

    @property
    def idle(self) -> bool:
        """Tell whether nothing is held here: no sequence, no prompt, no pinned KV."""
        return not (self.batch.size or self._memory.prompts or self.prompts.waiting or self._pulls.offered)

    # Intake -----------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Take a prompt to compute."""
        request.engine_at = now = self._env.now
        self.prompts.add(request)
        if not self._stepping:
            self._start_stepping(now)

    def reserve(self, request: Request) -> None:
        """Ask for memory for a prompt whose KV another replica has; ``Listener.reserved`` answers, perhaps later."""
        request.engine_at = now = self._env.now
        if not self._stepping:
            self._to_boundary(now)
        self._pulls.offered.append(request)
        self._post_pulls()
        if not self._stepping:
            self._plan_wake()

    def join(self, request: Request) -> None:
        """Decode a request whose KV has arrived."""
        pulls = self._pulls
        pulls.under_way -= 1
        if self._stepping:
            pulls.arrived.append(request)
            return
        self._to_open_step(self._env.now)
        pulls.arrived.append(request)
        self._admit(pulls.arrived)
        self._plan_wake()

    def release(self, request: Request) -> None:
        """Free the KV of a prompt that was pulled (prefill)."""
        self._memory.prompts -= request.input
        self._memory.unshare(request)
        if self.prompts.waiting and not self._stepping:
            self._start_stepping(self._env.now)

    def stop(self) -> None:
        """Do nothing any more: the replica is gone."""
        self._version += 1
        self._stepping = True
        self._wake_at = NEVER

    # Many steps at once, without prompts -----------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Bring sequences up to the last step boundary before ``now``."""
        if self._stepping:
            return
        batch = self.batch
        while batch.size:
            if batch.stall:
                if batch.boundary + batch.stall + batch.step_s() > now + SAME_MOMENT:
                    return
                self._one_step()
                continue
            steps = batch.steps_left()
            if not steps:
                self._preempt()
            elif batch.leap(steps, now):
                self._finish()
            else:
                return

    def _one_step(self) -> None:
        self.batch.do_next_step()
        if self.batch.over or self._pulls.arrived:
            self._finish()

    def _to_boundary(self, now: float) -> None:
        """Advance to the first step boundary at or after ``now``: the step in flight is over there."""
        self.advance(now)
        batch = self.batch
        if batch.size == 0 and batch.boundary < now:
            batch.boundary = now
        while batch.size and batch.boundary < now - SAME_MOMENT:
            self._one_step()

    def _to_open_step(self, now: float) -> None:
        """Advance to the beginning of the first step that is not formed yet at ``now``."""
        self._to_boundary(now)
        if self._ahead:
            while self.batch.size and self.batch.last_start < now - SAME_MOMENT:
                self._one_step()

    def _plan_wake(self) -> None:
        """Be woken when the next sequence ends, unless an earlier wake stands."""
        batch = self.batch
        if not batch.size:
            if self.prompts.waiting and not self._stepping:
                self._start_stepping(self._env.now)
            return
        at = batch.ends_at()
        if at < self._wake_at - SAME_MOMENT:
            self._wake_at = at
            self._version += 1
            self._env.at(max(at, self._env.now), self._wake, self._version)

    def _wake(self, version: int) -> None:
        if version != self._version or self._stepping:
            return
        self._wake_at = NEVER
        before = self.batch.size
        self.advance(self._env.now)
        if self.prompts.waiting and self.batch.size < before:
            self._start_stepping(self._env.now)
        else:
            self._plan_wake()

    # At a boundary ------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Let go of the sequences whose last token is out, and use what they leave free."""
        batch, pulls = self.batch, self._pulls
        while batch.over:
            self._answered(batch.leave())
        if pulls.offered:
            self._post_pulls()
        if pulls.arrived and not self._stepping:
            self._admit(pulls.arrived)

    def _answered(self, request: Request) -> None:
        self.meters.requests += 1
        if self.role is not Role.DECODE:  # what a decode replica pulled it does not share
            self._memory.unshare(request)
        self._listener.finished(self, request, self.batch.boundary)

    def _post_pulls(self) -> None:
        while (request := self._pulls.reserve()) is not None:
            self._listener.reserved(self, request, self._env.now)

    def _admit(self, whose: deque[Request]) -> None:
        self._pulls.join(whose, len(self.prompts.begun))

    def _preempt(self) -> None:
        """Put back the sequence that joined last."""
        request = self.batch.preempted()
        if self.role is not Role.DECODE:
            self._memory.unshare(request)
        self.prompts.put_back(request)
        self.meters.preemptions += 1

    # One event a step, with prompts ---------------------------------------------------------------------------------

    def _start_stepping(self, now: float) -> None:
        """Compute prompts from the next step on that is not formed yet."""
        planned_by = self.batch.last_start
        self._to_boundary(now)
        self._stepping = True
        self._version += 1
        self._wake_at = NEVER
        if self.batch.boundary <= now + SAME_MOMENT:
            self._next_step()
            return
        open_step = planned_by >= now - SAME_MOMENT  # the step after the boundary is still to be formed
        self._env.at(self.batch.boundary, self._form_open if open_step else self._form, self._version)

    def _form(self, version: int) -> None:
        if version == self._version:
            self._next_step()

    def _form_open(self, version: int) -> None:
        if version == self._version:
            self.prompts.plan()
            self._next_step()

    def _next_step(self) -> None:
        """Begin the next step and form the one after it; without prompts go back to many steps at once."""
        batch, prompts, pulls = self.batch, self.prompts, self._pulls
        if pulls.planned:
            self._admit(pulls.planned)
        if not prompts.planned and not (self._ahead and batch.size):
            if pulls.arrived:
                self._admit(pulls.arrived)
            prompts.plan()
        while batch.size > 1 and self._memory.free < batch.size:
            self._preempt()
        chunks, chunks_s = prompts.planned, prompts.planned_s
        prompts.planned = []
        if self._ahead:
            pulls.plan()
            if prompts.unplanned:
                prompts.plan()
        if chunks or prompts.planned or pulls.planned:
            self._begin(chunks, chunks_s)
            return
        self._stepping = False
        if batch.size:
            self._plan_wake()

    def _begin(self, chunks: list[Chunk], chunks_s: float) -> None:
        """Begin a step: its prompts and its batch together."""
        batch = self.batch
        seconds, self._slowed = batch.stall, bool(chunks) or batch.stall > 0
        batch.stall = 0.0
        if chunks:
            seconds += batch.speed.pass_s(chunks_s)
            if batch.size:
                seconds += batch.beside_s()
        elif batch.size:
            seconds += batch.step_s()
        self._chunks, self._duration = chunks, seconds
        self._env.at(batch.boundary + seconds, self._step_done, self._version)

    def _step_done(self, version: int) -> None:
        if version != self._version:
            return
        self.batch.do_step(self._duration, slowed=self._slowed)
        if self.batch.size:
            self._finish()
        chunks, self._chunks = self._chunks, []
        for request, tokens in chunks:
            if self.prompts.computed(request, tokens):
                self._prompt_done(request, self.batch.boundary)
        self._next_step()

    def _prompt_done(self, request: Request, time: float) -> None:
        """Tell of a prompt that is computed, and its first token; decode it, unless that is for another replica."""
        if self.role is Role.PREFILL:
            self.meters.requests += 1
            self._listener.prefilled(self, request, time)
            return
        if request.first < 0:
            request.first = time
            self._listener.first_token(request, time)
        self._memory.prompts -= request.input
        request.output -= 1
        if request.output <= 0:
            request.output = 0
            self._answered(request)
        else:
            self.batch.join(request)
