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

While no prompt is to be computed, k steps of B sequences with C tokens in cache take, since C grows by B a step,
``k (step of B and C) + c B k (k - 1) / 2`` seconds: one formula for any k, so a request costs the same whatever its
length. A step that computes prompts takes a prefill pass plus what B sequences and their C tokens add to a step.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass
from operator import itemgetter
from typing import Protocol

import numpy as np

from autoscaler.domain.pool import Role
from autoscaler.performance.step import ReplicaModel
from autoscaler.simulate.environment import Environment
from autoscaler.simulate.gaps import SlowSteps
from autoscaler.simulate.prefix import PrefixCache
from autoscaler.simulate.request import EngineMeters, Request

NEVER = float("inf")
SAME_MOMENT = 1e-9  # seconds; sums of floats that should be equal differ by less


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
        "_ahead", "_base", "_batch", "_boundary", "_budget", "_c", "_chunks", "_context", "_corner", "_duration",
        "_env", "_floor", "_fresh", "_inbound", "_joining", "_joining_next", "_last_start", "_listener", "_memory",
        "_order", "_other", "_p0", "_p1", "_p2", "_planned", "_planned_work", "_posting_s", "_prefilling",
        "_running", "_sequences", "_slow", "_slowed", "_stall", "_step", "_stepping", "_version",
        "_waiting", "_wake_at", "cache", "meters", "model", "queued_tokens", "role", "segments", "transferring",
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
        self.model = model
        self.role = role
        self.cache = cache
        self.meters = EngineMeters()
        self.segments: list[tuple[float, float, float, int, int]] | None = None  # start, first, growth, steps, batch
        self.queued_tokens = 0  # prompt tokens accepted and not computed yet
        self.transferring = 0
        self._env = env
        self._listener = listener
        self._memory = model.limits.kv_capacity_tokens
        self._sequences = model.limits.max_sequences
        self._budget = model.limits.max_batched_tokens
        self.set_speed(1.0)
        self._boundary = env.now  # time of the last step boundary (may lie in the future: the step is in flight)
        self._step = 0  # steps done at the boundary
        self._batch = 0  # sequences decoding
        self._context = 0  # their tokens in KV
        self._other = 0  # tokens held by prompts: being computed, pinned, reserved
        self._running: list[tuple[int, int, Request]] = []  # heap by (last step, order of joining)
        self._order = 0
        self._fresh: list[Request] = []  # joined at the boundary; their first token comes with the next step
        self._waiting: deque[Request] = deque()
        self._prefilling: list[Request] = []
        self._chunks: list[tuple[Request, int]] = []  # in the step in flight
        self._planned: list[tuple[Request, int]] = []  # in the step after it
        self._planned_work = 0.0  # seconds of these, but for the base
        self._duration = 0.0  # of the step in flight
        self._slowed = False  # whether it computes prompts or is stalled
        self._ahead = rules.schedule_ahead
        self._posting_s = rules.posting_share * model.handover.per_token_s  # per token of a pull
        self._stall = 0.0  # added to the next step
        self._slow = SlowSteps()
        self._last_start = env.now  # when the step before the boundary began
        self._stepping = False  # steps are events of their own, because prompts are computed in them
        self._joining: deque[Request] = deque()  # their KV is here
        self._joining_next: deque[Request] = deque()  # of these: planned into the step after the one in flight
        self._inbound: deque[Request] = deque()  # wait for memory
        self._version = 0
        self._wake_at = NEVER

    def set_speed(self, factor: float) -> None:
        """Serve at ``factor`` times the model's speed from the next step on."""
        step, prefill = self.model.step, self.model.prefill
        # seconds of a step, by batch, but for KV
        self._base: list[float] = (step.step_s(np.arange(self._sequences + 2), 0.0) / factor).tolist()
        self._c = step.per_kv_token_s / factor
        self._floor, self._p0, self._corner = prefill.floor_s / factor, prefill.base_s / factor, prefill.corner
        self._p1, self._p2 = prefill.per_token_s / factor, prefill.per_token_squared_s / factor

    # What routers and scrapes read ------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Count the requests in the batch."""
        return self._batch + len(self._prefilling)

    @property
    def waiting(self) -> int:
        """Count the requests that wait for capacity (transfers of KV do not count)."""
        return len(self._waiting) + len(self._joining) + len(self._joining_next) + len(self._inbound)

    @property
    def kv_tokens(self) -> int:
        """Return the KV tokens in use; cached blocks without a user count as free."""
        return self._context + self._other - (self.cache.shared_tokens if self.cache else 0)

    @property
    def kv_use_ratio(self) -> float:
        """Return the share of KV memory in use."""
        return self.kv_tokens / self._memory

    @property
    def idle(self) -> bool:
        """Tell whether nothing is held here: no sequence, no prompt, no pinned KV."""
        return not (self._batch or self._other or self._waiting or self._inbound)

    # Intake -----------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Take a prompt to compute."""
        now = self._env.now
        request.engine_at = now
        self.queued_tokens += request.left
        self._waiting.append(request)
        if not self._stepping:
            self._start_stepping(now)

    def reserve(self, request: Request) -> None:
        """Ask for memory for a prompt whose KV another replica has; ``Listener.reserved`` answers, perhaps later."""
        request.engine_at = now = self._env.now
        if not self._stepping:
            self._to_boundary(now)
        self._inbound.append(request)
        self._reserve_inbound()
        if not self._stepping:
            self._plan_wake()

    def join(self, request: Request) -> None:
        """Decode a request whose KV has arrived."""
        self.transferring -= 1
        if self._stepping:
            self._joining.append(request)
            return
        self._to_open_step(self._env.now)
        self._joining.append(request)
        self._admit(self._joining)
        self._plan_wake()

    def release(self, request: Request) -> None:
        """Free the KV of a prompt that was pulled (prefill)."""
        self._other -= request.input
        if self.cache is not None and request.hashes:
            self.cache.release(request.hashes)
        if self._waiting and not self._stepping:
            self._start_stepping(self._env.now)

    def stop(self) -> None:
        """Do nothing any more: the replica is gone."""
        self._version += 1
        self._stepping = True
        self._wake_at = NEVER

    # Steps without prompts, many at once --------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Bring sequences up to the last step boundary before ``now``."""
        if self._stepping:
            return
        while self._batch:
            if self._stall:
                if self._boundary + self._stall + self._step_s() > now + SAME_MOMENT:
                    return
                self._one_step()
                continue
            batch = self._batch
            first = self._base[batch] + self._c * self._context
            half = 0.5 * self._c * batch
            steps = self._running[0][0] - self._step
            if steps * batch > self._memory - self._other - self._context:
                steps = self._steps_in_memory(steps)
                if not steps:
                    self._preempt()
                    continue
            if self._boundary + steps * (first + half * (steps - 1)) <= now + SAME_MOMENT:
                self._jump(steps, first, half)
                self._finish()
                continue
            seconds = now - self._boundary + SAME_MOMENT
            if steps > 1 and seconds >= first:
                steps = min(steps - 1, _whole_steps(seconds, first, half))
                if steps:
                    self._jump(steps, first, half)
            return

    def _jump(self, steps: int, first: float, half: float) -> None:
        """Do ``steps`` steps, of which the first takes ``first`` and each later one ``2 * half`` more."""
        batch, start, meters = self._batch, self._boundary, self.meters
        took = steps * (first + half * (steps - 1))
        self._boundary = start + took
        self._last_start = start + took - first - 2.0 * half * (steps - 1)
        self._step += steps
        self._context += steps * batch
        meters.output_tokens += steps * batch
        meters.gaps += steps * batch
        meters.gap_s += took * batch
        if self._fresh:
            self._first_tokens(start + first, first)
        if self.segments is not None:
            self.segments.append((start, first, 2 * half, steps, batch))

    def _step_s(self) -> float:
        """Return the seconds of the next step, if it computes no prompt and nothing stalls it."""
        return self._base[self._batch] + self._c * self._context

    def _one_step(self) -> None:
        """Do the next step, with what stalls it."""
        stall, self._stall = self._stall, 0.0
        took = self._base[self._batch] + self._c * self._context + stall
        self._stepped(took, slowed=stall > 0.0)
        self._last_start = self._boundary - took
        if self._running[0][0] <= self._step or self._joining:
            self._finish()

    def _stepped(self, took: float, *, slowed: bool) -> None:
        """Put one step behind: a token for every sequence; ``slowed``: it computed prompts or was stalled."""
        batch, start, meters = self._batch, self._boundary, self.meters
        if self.segments is not None:
            self.segments.append((start, took, 0.0, 1, batch))
        self._boundary = time = start + took
        self._step += 1
        if not batch:
            return
        self._context += batch
        meters.output_tokens += batch
        meters.gaps += batch
        meters.gap_s += took * batch
        if slowed:
            self._slow.note(self._step, took)
        if self._fresh:
            self._first_tokens(time, took)

    def _first_tokens(self, time: float, took: float) -> None:
        fresh, meters = self._fresh, self.meters
        self._fresh = []
        meters.gaps -= len(fresh)
        meters.gap_s -= took * len(fresh)
        told = self._listener.first_token
        for request in fresh:
            meters.ttft_s += time - request.engine_at
            if request.first < 0:
                request.first = time
                told(request, time)

    def _finish(self) -> None:
        """Let go of the sequences whose last token is out at the boundary."""
        running, step, time, pop = self._running, self._step, self._boundary, heapq.heappop
        while running and running[0][0] <= step:
            last, _, request = pop(running)
            if request.answer > 1:
                request.long_gap = self._slow.long_gap(request.answer - 1, last, self._step_s())
            self._batch -= 1
            self._context -= request.computed + request.output
            self.meters.requests += 1
            if self.cache is not None and request.hashes and self.role is not Role.DECODE:
                self.cache.release(request.hashes)
            self._listener.finished(self, request, time)
        if self._inbound:
            self._reserve_inbound()
        if self._joining and not self._stepping:
            self._admit(self._joining)

    def _to_boundary(self, now: float) -> None:
        """Advance to the first step boundary at or after ``now``: the step in flight is over there."""
        self.advance(now)
        if self._batch == 0 and self._boundary < now:
            self._boundary = now
        while self._batch and self._boundary < now - SAME_MOMENT:
            self._one_step()

    def _to_open_step(self, now: float) -> None:
        """Advance to the beginning of the first step that is not formed yet at ``now``."""
        self._to_boundary(now)
        if self._ahead:
            while self._batch and self._last_start < now - SAME_MOMENT:
                self._one_step()

    def _plan_wake(self) -> None:
        """Be woken when the next sequence ends, unless an earlier wake stands."""
        if not self._batch:
            if self._waiting and not self._stepping:
                self._start_stepping(self._env.now)
            return
        batch = self._batch
        steps = self._running[0][0] - self._step
        if steps * batch > self._memory - self._other - self._context:
            steps = max(1, self._steps_in_memory(steps))
        first = self._base[batch] + self._c * self._context
        at = self._boundary + self._stall + steps * (first + 0.5 * self._c * batch * (steps - 1))
        if at < self._wake_at - SAME_MOMENT:
            self._wake_at = at
            self._version += 1
            self._env.at(max(at, self._env.now), self._wake, self._version)

    def _wake(self, version: int) -> None:
        if version != self._version or self._stepping:
            return
        self._wake_at = NEVER
        before = self._batch
        self.advance(self._env.now)
        if self._waiting and self._batch < before:
            self._start_stepping(self._env.now)
        else:
            self._plan_wake()

    def _admit(self, joining: deque[Request]) -> None:
        """Let requests whose KV is here join the batch at the boundary; prompts being computed have their places."""
        running, places = self._running, self._sequences - len(self._prefilling)
        while joining and self._batch < places:
            request = joining.popleft()
            self._other -= request.input
            if request.lost:
                continue
            self._order += 1
            self._batch += 1
            self._context += request.input
            request.computed = request.input
            heapq.heappush(running, (self._step + request.output, self._order, request))
            self._fresh.append(request)
            self.meters.prompt_tokens += request.input

    def _reserve_inbound(self) -> None:
        inbound = self._inbound
        while inbound and self.kv_tokens + inbound[0].input <= self._memory:
            request = inbound.popleft()
            if request.lost:
                continue
            self._other += request.input
            self.transferring += 1
            if self._batch:
                self._stall += self._posting_s * request.input
            self._listener.reserved(self, request, self._env.now)

    # Memory runs out ------------------------------------------------------------------------------------------------

    def _steps_in_memory(self, steps: int) -> int:
        """Return how many of ``steps`` find KV memory; a sequence alone may go on in any case."""
        return steps if self._batch == 1 else min(steps, max(0, int((self._memory - self.kv_tokens) // self._batch)))

    def _preempt(self) -> None:
        """Put back the sequence that joined last; all it had is computed again."""
        youngest = max(self._running, key=itemgetter(1))
        self._running.remove(youngest)
        heapq.heapify(self._running)
        finish_step, _, request = youngest
        if request in self._fresh:
            self._fresh.remove(request)
        left = finish_step - self._step
        held = request.computed + request.output - left
        self._batch -= 1
        self._context -= held
        if self.cache is not None and request.hashes and self.role is not Role.DECODE:
            self.cache.release(request.hashes)
        request.output, request.left, request.computed, request.cached = left, held, 0, 0
        request.input = held
        self.queued_tokens += held
        self.meters.preemptions += 1
        self._waiting.appendleft(request)

    # Steps with prompts, one event each -------------------------------------------------------------------------------

    def _start_stepping(self, now: float) -> None:
        """Compute prompts from the next step on that is not formed yet."""
        planned_by = self._last_start
        self._to_boundary(now)
        self._stepping = True
        self._version += 1
        self._wake_at = NEVER
        if self._boundary <= now + SAME_MOMENT:
            self._next_step()
            return
        open_step = planned_by >= now - SAME_MOMENT  # the step after the boundary is still to be formed
        self._env.at(self._boundary, self._form_open if open_step else self._form, self._version)

    def _form(self, version: int) -> None:
        if version == self._version:
            self._next_step()

    def _form_open(self, version: int) -> None:
        if version == self._version:
            self._plan_chunks()
            self._next_step()

    def _next_step(self) -> None:
        """Begin the next step and form the one after it; without prompts go back to many steps at once."""
        if self._joining_next:
            self._admit(self._joining_next)
        if not self._planned and not (self._ahead and self._batch):
            if self._joining:
                self._admit(self._joining)
            self._plan_chunks()
        while self._batch > 1 and self._memory - self.kv_tokens < self._batch:
            self._preempt()
        chunks, work = self._planned, self._planned_work
        self._planned = []
        if self._ahead:
            if self._joining:
                self._joining_next += self._joining  # behind those that found no place
                self._joining.clear()
            if self._waiting or (self._prefilling and self._prefilling[-1].left):
                self._plan_chunks()
        if not (chunks or self._planned or self._joining_next):
            self._stepping = False
            if self._batch:
                self._plan_wake()
            return
        self._begin(chunks, work)

    def _begin(self, chunks: list[tuple[Request, int]], work: float) -> None:
        """Begin a step: its prompts and its batch together."""
        batch = self._batch
        seconds = self._stall
        if chunks:
            seconds += self._pass_s(self._p0 + work)
            if batch:
                seconds += self._base[batch] - self._base[0] + self._c * self._context
        else:
            seconds += self._step_s() if batch else 0.0
        self._slowed = bool(chunks) or self._stall > 0
        self._stall = 0.0
        self._chunks, self._duration = chunks, seconds
        self._env.at(self._boundary + seconds, self._step_done, self._version)

    def _pass_s(self, work: float) -> float:
        """Return the seconds of a pass over prompts: the smooth maximum of the floor and its work."""
        floor = self._floor
        longer, ratio = (work, floor / work) if work > floor else (floor, work / floor)
        return longer * math.pow(1.0 + math.pow(ratio, self._corner), 1.0 / self._corner)

    def _plan_chunks(self) -> None:
        """Fill a step's budget with chunks of prompts, those begun first."""
        budget = self._budget - self._batch
        work = 0.0
        for request in self._prefilling:
            if budget <= 0:
                break
            if request.left:
                tokens = min(budget, request.left)
                budget -= tokens
                work += self._taken(request, tokens)
        waiting = self._waiting
        while waiting and budget > 0 and self._batch + len(self._prefilling) < self._sequences:
            request = waiting[0]
            if not request.lost and not self._admits_prompt(request):
                break
            waiting.popleft()
            if request.lost:
                self.queued_tokens -= request.left
                continue
            self._prefilling.append(request)
            tokens = min(budget, request.left)
            budget -= tokens
            work += self._taken(request, tokens)
        self._planned_work = work

    def _taken(self, request: Request, tokens: int) -> float:
        """Put a chunk into the planned step; return its seconds."""
        self._planned.append((request, tokens))
        request.pending += 1
        work = tokens * (self._p1 + self._p2 * (tokens + 2 * request.computed))
        request.left -= tokens
        request.computed += tokens
        return work

    def _admits_prompt(self, request: Request) -> bool:
        """Take memory for a prompt, using what the cache has of it; false if there is too little."""
        cache, free = self.cache, self._memory - self.kv_tokens
        if cache is None or not request.hashes:
            if request.input > free and not (self._batch == 0 and self._other == 0):
                return False
        else:
            found = cache.match(request.hashes)
            if request.input - found * cache.block_tokens > free and not (self._batch == 0 and self._other == 0):
                return False
            block = self.model.limits.block_tokens
            cached = min(found * cache.block_tokens, (request.input - 1) // block * block)
            cache.acquire(request.hashes)
            cache.shrink(free - request.input)
            self.queued_tokens -= cached
            request.cached = request.computed = cached
            request.left = request.input - cached
        self._other += request.input
        request.started = self._boundary
        self.meters.queue_s += self._boundary - request.engine_at
        return True

    def _step_done(self, version: int) -> None:
        if version != self._version:
            return
        self._stepped(self._duration, slowed=self._slowed)
        if self._batch:
            self._finish()
        time, meters = self._boundary, self.meters
        chunks, self._chunks = self._chunks, []
        for request, tokens in chunks:
            self.queued_tokens -= tokens
            meters.computed_tokens += tokens
            request.pending -= 1
            if not request.left and not request.pending:
                self._prefilling.remove(request)
                self._prompt_done(request, time)
        self._next_step()

    def _prompt_done(self, request: Request, time: float) -> None:
        meters = self.meters
        meters.prefills += 1
        meters.prefill_s += time - request.started
        meters.prompt_tokens += request.input
        meters.output_tokens += 1
        if request.first < 0:
            meters.ttft_s += time - request.engine_at
        if self.role is Role.PREFILL:
            meters.requests += 1
            self._listener.prefilled(self, request, time)
            return
        if request.first < 0:
            request.first = time
            self._listener.first_token(request, time)
        self._other -= request.input
        request.output -= 1
        if request.output <= 0:
            request.output = 0
            meters.requests += 1
            if self.cache is not None and request.hashes and self.role is not Role.DECODE:
                self.cache.release(request.hashes)
            self._listener.finished(self, request, time)
            return
        self._order += 1
        self._batch += 1
        self._context += request.input
        heapq.heappush(self._running, (self._step + request.output, self._order, request))


def _whole_steps(seconds: float, first: float, half: float) -> int:
    """Return how many steps end within ``seconds >= first``: the root k of ``k first + half k (k - 1) = seconds``."""
    if half * seconds < 1e-12 * first * first:
        return int(seconds / first)
    linear = first - half
    return int((math.sqrt(linear * linear + 4.0 * half * seconds) - linear) / (2.0 * half))
