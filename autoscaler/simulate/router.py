"""Where a request goes: round robin, least loaded, and a picker that scores like llm-d's.

Rules (names are used where results are compared with other pickers):

- ``members-only``: a pod that is not Ready, is withdrawn or is being deleted gets nothing new (R1, R4 of the picker).
- ``picks-stand``: prefill and decode replica are picked together on arrival; later changes of membership do not move a
  request that was picked (R6).
- ``no-prefill-pod``: without a prefill member the decode replica computes the prompt itself.
- ``all-decoders``: decode and unified members are picked from as one; a request that a unified replica gets it serves
  whole.
- ``no-decode-pod``: without a decode (or unified) member requests wait at the picker, in order of arrival.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from autoscaler.domain.pool import Role
from autoscaler.simulate.engine import Engine
from autoscaler.simulate.request import Request


class Endpoint(Protocol):
    """A pod as the picker sees it."""

    name: str
    engine: Engine
    assigned: set[Request]  # requests that are on their way to it or on it


class Routing(StrEnum):
    """How replicas are picked."""

    ROUND_ROBIN = "round-robin"
    LEAST_LOADED = "least-loaded"
    PICKER = "picker"


@dataclass(frozen=True, slots=True)
class Scores:
    """Weights of the picker's scorers (the defaults of llm-d's guides), and its P/D decision."""

    queue: float = 2.0
    kv: float = 2.0
    prefix: float = 3.0
    non_cached_tokens: int = 0  # a prompt with fewer uncached tokens is computed on the decode replica


class Router:
    """Picks among the members of each role."""

    def __init__(self, routing: Routing = Routing.ROUND_ROBIN, scores: Scores | None = None) -> None:
        """Start without members."""
        self.members: dict[Role, list[Endpoint]] = {role: [] for role in Role}
        self._decoders: list[Endpoint] = []  # members that generate tokens, in order of admission
        self._among = {role: self._decoders if role.decodes else self.members[role] for role in Role}
        self.scores = scores or Scores()
        self._turn = dict.fromkeys(Role, 0)
        pick: dict[Routing, Callable[[Role, Request], Endpoint]] = {
            Routing.ROUND_ROBIN: self._next,
            Routing.LEAST_LOADED: self._least_loaded,
            Routing.PICKER: self._best,
        }
        self._pick = pick[routing]
        self._decides = routing is Routing.PICKER and self.scores.non_cached_tokens > 0

    def add(self, role: Role, endpoint: Endpoint) -> None:
        """Admit a member."""
        if endpoint not in self.members[role]:
            self.members[role].append(endpoint)
            if role.decodes:
                self._decoders.append(endpoint)

    def remove(self, role: Role, endpoint: Endpoint) -> None:
        """Drop a member; requests in flight are not touched."""
        if endpoint in self.members[role]:
            self.members[role].remove(endpoint)
            if role.decodes:
                self._decoders.remove(endpoint)

    def route(self, request: Request) -> bool:
        """Set the request's pods; false if there is nowhere to send it yet."""
        if not self._decoders:
            return False
        request.decode_pod = decode = self._pick(Role.DECODE, request)
        if decode.engine.role is Role.UNIFIED or not self.members[Role.PREFILL]:
            request.prefill_pod = decode
            return True
        request.prefill_pod = prefill = self._pick(Role.PREFILL, request)
        if self._decides and request.input - _cached(prefill, request) < self.scores.non_cached_tokens:
            request.prefill_pod = decode
        return True

    def _next(self, role: Role, _: Request) -> Endpoint:
        members = self._among[role]
        turn = self._turn[role] % len(members)
        self._turn[role] = turn + 1
        return members[turn]

    def _least_loaded(self, role: Role, _: Request) -> Endpoint:
        """Pick by prompt tokens that wait (prefill) or requests on the replica (others); ties in turn."""
        members = self._among[role]
        if len(members) == 1:
            return members[0]
        turn = self._turn[role] = (self._turn[role] + 1) % len(members)
        loads = (
            [pod.engine.queued_tokens for pod in members]
            if role is Role.PREFILL
            else [len(pod.assigned) for pod in members]
        )
        least = min(loads)
        try:
            return members[loads.index(least, turn)]
        except ValueError:
            return members[loads.index(least)]

    def _best(self, role: Role, request: Request) -> Endpoint:
        """Pick the highest weighted sum of scores in 0..1; ties in turn."""
        members, scores = self._among[role], self.scores
        if len(members) == 1:
            return members[0]
        turn = self._turn[role] = (self._turn[role] + 1) % len(members)
        queues = [pod.engine.queued_tokens if role is Role.PREFILL else len(pod.assigned) for pod in members]
        shortest, longest = min(queues), max(queues)
        span = (longest - shortest) or 1
        best, best_score = members[turn], -1.0
        for i in range(len(members)):
            at = (turn + i) % len(members)
            pod = members[at]
            score = scores.queue * (longest - queues[at]) / span + scores.kv * (1.0 - pod.engine.kv_use_ratio)
            if request.hashes:
                score += scores.prefix * _cached(pod, request) / request.input
            if score > best_score:
                best, best_score = pod, score
        return best


def _cached(pod: Endpoint, request: Request) -> int:
    """Return how many of the request's prompt tokens the replica has."""
    cache = pod.engine.cache
    return cache.match(request.hashes) * cache.block_tokens if cache is not None and request.hashes else 0
