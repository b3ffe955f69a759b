"""Requests on their way through gateway, sidecar, prefill and decode engines, in virtual time.

A decode pod's sidecar holds a request while its prompt is computed elsewhere; a prefill engine pins the prompt's KV
until the decode engine has pulled it. A pod that ends takes with it every request that it is part of.
"""

import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from autoscaler.simulate.environment import Environment

PROMPTS_AT_ONCE = 2


@dataclass(eq=False)
class Flight:
    """One request."""

    number: int
    began: float
    prefill: str | None
    decode: str
    ended: bool = False
    lost_by: str = ""  # the pod that took it with it


@dataclass
class Engine:
    """What one pod holds."""

    computing: set[int] = field(default_factory=set)
    decoding: set[int] = field(default_factory=set)
    waiting: deque[Flight] = field(default_factory=deque)
    deferred: set[int] = field(default_factory=set)
    pinned: set[int] = field(default_factory=set)
    parts: set[int] = field(default_factory=set)  # all requests that would be lost with this pod, by number

    @property
    def running(self) -> int:
        """Count as ``num_requests_running`` does."""
        return len(self.computing) + len(self.decoding)


class Traffic:
    """All requests and all engines."""

    def __init__(self, env: Environment, chance: random.Random, longest_pull: float = 2.0) -> None:
        """Start without any. ``longest_pull``: until a decode engine has pulled a prompt's KV."""
        self._longest_pull = longest_pull
        self.env = env
        self.chance = chance
        self.engines: dict[str, Engine] = {}
        self.flights: dict[int, Flight] = {}
        self.finished = self.refused = 0
        self.lost: list[Flight] = []
        self._numbers = itertools.count()
        self.ttfts: deque[tuple[float, float]] = deque(maxlen=400)  # when, how long

    def start(self, pod: str) -> None:
        """Begin to serve."""
        self.engines[pod] = Engine()

    def end(self, pod: str) -> None:
        """Abort all that the pod is part of."""
        engine = self.engines.pop(pod, None)
        for number in sorted(engine.parts) if engine else ():
            self._lose(number, pod)

    def send(self, prefill: str | None, decode: str) -> None:
        """Send one request to the pods that were picked; it arrives a little later, whatever happens meanwhile."""
        flight = Flight(next(self._numbers), self.env.now, prefill, decode)
        self.flights[flight.number] = flight
        self._after(self.chance.uniform(0.01, 0.5), flight, self._at_sidecar)

    def _at_sidecar(self, flight: Flight) -> None:
        if self._joined(flight, flight.decode):
            target = flight.prefill or flight.decode
            self._after(self.chance.uniform(0.001, 0.05), flight, lambda each: self._at_prefill(each, target))

    def _at_prefill(self, flight: Flight, pod: str) -> None:
        if self._joined(flight, pod):
            self.engines[pod].waiting.append(flight)
            self._next_prompts(pod)

    def _next_prompts(self, pod: str) -> None:
        engine = self.engines[pod]
        while engine.waiting and len(engine.computing) < PROMPTS_AT_ONCE:
            flight = engine.waiting.popleft()
            if not flight.ended:
                engine.computing.add(flight.number)
                self._after(self.chance.uniform(0.1, 1.0), flight, lambda each: self._computed(each, pod))

    def _computed(self, flight: Flight, pod: str) -> None:
        engine, number = self.engines[pod], flight.number
        engine.computing.discard(number)
        if flight.prefill is not None:
            engine.pinned.add(number)
        self._next_prompts(pod)
        self.engines[flight.decode].deferred.add(number)
        self._after(self.chance.uniform(0.05, self._longest_pull), flight, self._pulled)

    def _pulled(self, flight: Flight) -> None:
        number = flight.number
        if flight.prefill is not None:
            self.engines[flight.prefill].pinned.discard(number)
            self.engines[flight.prefill].parts.discard(number)
        decode = self.engines[flight.decode]
        decode.deferred.discard(number)
        decode.decoding.add(number)
        self.ttfts.append((self.env.now, self.env.now - flight.began))
        self._after(self.chance.expovariate(1 / 12.0), flight, self._finished)

    def _finished(self, flight: Flight) -> None:
        number = flight.number
        decode = self.engines[flight.decode]
        decode.decoding.discard(number)
        decode.parts.discard(number)
        flight.ended = True
        self.finished += 1
        del self.flights[number]

    def _joined(self, flight: Flight, pod: str) -> bool:
        engine = self.engines.get(pod)
        if engine is None:
            self._lose(flight.number, pod)
            return False
        engine.parts.add(flight.number)
        return True

    def _lose(self, number: int, pod: str) -> None:
        flight = self.flights.pop(number)
        flight.ended, flight.lost_by = True, pod
        self.lost.append(flight)
        for engine in self.engines.values():
            for held in (engine.computing, engine.decoding, engine.deferred, engine.pinned, engine.parts):
                held.discard(number)

    def _after(self, seconds: float, flight: Flight, step: Callable[[Flight], None]) -> None:
        """Go on later, unless the request is lost by then."""
        self.env.at(self.env.now + seconds, lambda each: None if each.ended else step(each), flight)
