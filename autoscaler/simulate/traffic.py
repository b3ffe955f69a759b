"""Requests on their way: they arrive, wait at the picker, are dispatched, handed over, answered or lost."""

from collections import deque
from collections.abc import Callable, Iterator
from types import MappingProxyType

from autoscaler.domain.fleet import PodState
from autoscaler.domain.membership import Membership
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.simulate.engine import Engine
from autoscaler.simulate.environment import LATE, Environment
from autoscaler.simulate.meters import ProfileMeters
from autoscaler.simulate.pods import SimulatedPod
from autoscaler.simulate.request import Request
from autoscaler.simulate.results import Fate, RequestLog, Results
from autoscaler.simulate.router import Router
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.trace import Trace

ARRIVALS_AT_ONCE = 65_536  # rows turned into Python numbers at a time: memory stays flat for any trace
LEASE_S = 30.0  # how long a prefill replica keeps KV that nobody pulls (vLLM's kv_lease_duration)


class Traffic:
    """The picker, and every request of a trace. Engines tell it what they have done: it is their listener."""

    def __init__(
        self,
        env: Environment,
        trace: Trace,
        settings: ClusterSettings,
        emptied: Callable[[SimulatedPod], None],
    ) -> None:
        """Begin without pods; ``emptied`` happens to a pod that terminates when its last request has left it."""
        self.trace = trace
        self.router = Router(settings.routing, settings.scores)
        self.meters = [ProfileMeters() for _ in trace.profiles]
        self.held: deque[Request] = deque()  # wait at the picker
        self.ended = 0  # requests answered, lost or rejected
        self.lost = 0
        self._env = env
        self._settings = settings
        self._emptied = emptied
        self._picking = True
        self._log = RequestLog(len(trace))
        self._link_free: dict[SimulatedPod, float] = {}
        self._arrivals = self._next_arrivals()

    @property
    def outstanding(self) -> bool:
        """Tell whether any request is still to arrive or to end."""
        return self.ended < len(self.trace)

    def results(self) -> Results:
        """Return what became of every request so far."""
        return self._log.results(self.trace)

    # Arrivals -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Let the first request arrive when it is due; each brings the next."""
        request = next(self._arrivals, None)
        if request is not None:
            self._env.at(request.arrival, self._arrive, request)

    def _next_arrivals(self) -> Iterator[Request]:
        trace = self.trace
        for start in range(0, len(trace), ARRIVALS_AT_ONCE):
            rows = slice(start, start + ARRIVALS_AT_ONCE)
            columns = (trace.arrival_s, trace.input_tokens, trace.output_tokens, trace.profile)
            yield from map(Request, range(start, len(trace)), *(column[rows].tolist() for column in columns))

    def _arrive(self, request: Request) -> None:
        if self._settings.prefix_caching and self.trace.hash_ids is not None:
            request.hashes = self.trace.hash_ids[request.row]
        if self.held or not self._dispatch(request):
            self.held.append(request)
            if self._settings.hold_limit is not None:
                self._env.at(self._env.now + self._settings.hold_limit, self._reject, request)
        self.begin()

    def _reject(self, request: Request) -> None:
        """Answer a request that has waited at the picker for too long."""
        if request in self.held:
            self.held.remove(request)
            self.ended += 1
            self._log.fate[request.row] = Fate.REJECTED

    # The picker -----------------------------------------------------------------------------------------------------

    def admit(self, pod: SimulatedPod) -> None:
        """List a pod: it gets requests from now on."""
        self.router.add(pod.variant.role, pod)
        self._dispatch_held()

    def withdraw(self, pod: SimulatedPod) -> None:
        """List a pod no more; what it has stays there."""
        self.router.remove(pod.variant.role, pod)

    def membership(self) -> Signal[Membership]:
        """Return which pods the picker lists, as its metrics tell."""
        if not self._picking:
            return Missing(GapReason.UNREACHABLE, Instant(self._env.now), "the picker does not answer")
        members = (pod.name for pods in self.router.members.values() for pod in pods)
        return Membership(MappingProxyType({"picker": frozenset(members)}))

    def stop_picker(self) -> None:
        """Dispatch nothing: requests wait."""
        self._picking = False

    def restart_picker(self) -> None:
        """Dispatch again, with counters that begin at zero."""
        self._picking = True
        self.meters[:] = [ProfileMeters() for _ in self.meters]
        self._dispatch_held()

    def _dispatch_held(self) -> None:
        while self.held and self._dispatch(self.held[0]):
            self.held.popleft()

    def _dispatch(self, request: Request) -> bool:
        if not self._picking or not self.router.route(request):
            return False
        meters = self.meters[request.profile]
        meters.requests += 1
        meters.prompt_tokens += request.input
        meters.prompt_squares += request.input * request.input
        prefill, decode = request.prefill_pod, request.decode_pod
        decode.assigned.add(request)
        if prefill is not decode:
            prefill.assigned.add(request)
        prefill.engine.submit(request)
        return True

    # What engines tell ----------------------------------------------------------------------------------------------

    def prefilled(self, engine: Engine, request: Request, time: float) -> None:  # noqa: ARG002  # a port's signature
        """Offer the prompt's KV to the decode replica."""
        if request.lost:
            engine.release(request)
        else:
            request.pinned = True
            request.decode_pod.engine.reserve(request)

    def reserved(self, engine: Engine, request: Request, time: float) -> None:
        """Begin the hand-over: orchestration, then the prefill replica's link, one transfer after another."""
        source: SimulatedPod = request.prefill_pod
        handover = engine.model.handover
        pull = handover.per_token_s * request.input
        on_link = pull * self._settings.handover_is_pull
        begin = max(time, self._link_free.get(source, 0.0))
        self._link_free[source] = begin + on_link
        base = max(0.0, handover.base_s - self._settings.handover_steps * engine.model.step.base_s)
        self._env.at(begin + pull + base, self._pulled, request)

    def _pulled(self, request: Request) -> None:
        prefill: SimulatedPod = request.prefill_pod
        decode: SimulatedPod = request.decode_pod
        if not request.lost:
            request.pinned = False
            prefill.engine.release(request)
            self._leave(request, prefill)
        if not decode.gone:
            decode.engine.join(request)

    def first_token(self, request: Request, time: float) -> None:
        """Note the time to first token."""
        ttft = time - request.arrival
        self._log.ttft_s[request.row] = ttft
        self.meters[request.profile].ttft.add(ttft)

    def finished(self, engine: Engine, request: Request, time: float) -> None:  # noqa: ARG002  # a port's signature
        """Note the end of a request."""
        if request.lost:
            return
        row, log = request.row, self._log
        tokens = request.answer
        itl = (time - request.first) / (tokens - 1) if tokens > 1 else 0.0
        log.itl_s[row] = itl
        log.itl_p99_s[row] = request.long_gap
        log.finish_s[row] = time
        log.fate[row] = Fate.DONE
        meters = self.meters[request.profile]
        meters.finished += 1
        meters.output_tokens += tokens
        meters.output_squares += tokens * tokens
        meters.output_lengths.add(tokens)
        meters.prompt_lengths.add(request.prompt)
        if tokens > 1:
            meters.itl.add(itl, tokens - 1)
        self.ended += 1
        self._leave(request, request.decode_pod)

    def _leave(self, request: Request, pod: SimulatedPod) -> None:
        """Let a request leave a replica; one that terminates ends with its last."""
        pod.assigned.discard(request)
        if pod.state is PodState.TERMINATING and not pod.assigned:
            self._env.at(self._env.now, self._emptied, pod, LATE)

    # Loss -------------------------------------------------------------------------------------------------------------

    def lose(self, pod: SimulatedPod) -> None:
        """Count what a pod still had as lost: it is gone."""
        self._link_free.pop(pod, None)
        for request in sorted(pod.assigned, key=lambda each: each.row):
            self._lose(request)

    def _lose(self, request: Request) -> None:
        """Count a request whose replica went away; the other replica lets go of it when it comes to it."""
        request.lost = True
        self.lost += 1
        self.ended += 1
        self._log.fate[request.row] = Fate.LOST
        prefill: SimulatedPod = request.prefill_pod
        for pod in (prefill, request.decode_pod):
            pod.assigned.discard(request)
        if request.pinned and not prefill.gone:
            self._env.at(self._env.now + LEASE_S, prefill.engine.release, request)
