"""Where requests go."""

from dataclasses import dataclass, field

import pytest

from autoscaler.domain.pool import Role
from autoscaler.simulate.engine import Engine
from autoscaler.simulate.environment import Environment
from autoscaler.simulate.prefix import PrefixCache
from autoscaler.simulate.request import Request
from autoscaler.simulate.router import Router, Routing, Scores
from tests.unit.simulate.tunnels import H200


class Deaf:
    """Listens to nothing."""

    def first_token(self, request: Request, time: float) -> None: ...
    def prefilled(self, engine: Engine, request: Request, time: float) -> None: ...
    def reserved(self, engine: Engine, request: Request, time: float) -> None: ...
    def finished(self, engine: Engine, request: Request, time: float) -> None: ...


@dataclass(eq=False)
class Place:
    """An endpoint."""

    engine: Engine
    name: str = "place"
    assigned: set[Request] = field(default_factory=set)


def place(role: Role, *, cached: bool = False) -> Place:
    return Place(Engine(Environment(), H200, role, Deaf(), cache=PrefixCache(512) if cached else None))


def request(prompt: int = 2048, *hashes: int) -> Request:
    made = Request(0, 0.0, prompt, 10, 0)
    made.hashes = hashes
    return made


def routed(router: Router, *requests: Request) -> list[object]:
    for each in requests:
        assert router.route(each)
    return [each.decode_pod for each in requests]


def test_round_robin_takes_turns_also_after_a_member_has_left() -> None:
    router, places = Router(Routing.ROUND_ROBIN), [place(Role.UNIFIED) for _ in range(3)]
    for each in places:
        router.add(Role.UNIFIED, each)
    assert routed(router, *(request() for _ in range(4))) == [*places, places[0]]
    router.remove(Role.UNIFIED, places[1])
    assert set(map(id, routed(router, *(request() for _ in range(4))))) == {id(places[0]), id(places[2])}


@pytest.mark.parametrize("routing", [Routing.LEAST_LOADED, Routing.PICKER])
def test_the_replica_with_least_to_do_is_picked(routing: Routing) -> None:
    router = Router(routing)
    prefills, decodes = [[place(role) for _ in range(3)] for role in (Role.PREFILL, Role.DECODE)]
    for prefill, decode in zip(prefills, decodes, strict=True):
        router.add(Role.PREFILL, prefill)
        router.add(Role.DECODE, decode)
    for i in (0, 2):
        prefills[i].engine.prompts.queued_tokens = 5000
        decodes[i].assigned.add(request())
    picked = request()
    assert router.route(picked)
    assert (picked.prefill_pod, picked.decode_pod) == (prefills[1], decodes[1])


def test_the_picker_prefers_the_replica_that_has_the_prefix() -> None:
    router, places = Router(Routing.PICKER), [place(Role.UNIFIED, cached=True) for _ in range(3)]
    for each in places:
        router.add(Role.UNIFIED, each)
    cache = places[2].engine.cache
    assert cache is not None
    cache.acquire([1, 2, 3])
    assert routed(router, request(2048, 1, 2, 3, 9), request(2048, 1, 2, 3, 8)) == [places[2], places[2]]


def test_a_short_prompt_is_computed_where_it_is_decoded() -> None:
    router = Router(Routing.PICKER, Scores(non_cached_tokens=1000))
    prefill, decode = place(Role.PREFILL), place(Role.DECODE)
    router.add(Role.PREFILL, prefill)
    router.add(Role.DECODE, decode)
    short, long = request(500), request(5000)
    assert router.route(short)
    assert router.route(long)
    assert (short.prefill_pod, long.prefill_pod) == (decode, prefill)


def test_without_members_nothing_is_routed() -> None:
    router = Router()
    assert not router.route(request())
    router.add(Role.PREFILL, place(Role.PREFILL))
    assert not router.route(request())


def test_a_member_counts_once_however_often_it_is_admitted() -> None:
    router, only = Router(Routing.ROUND_ROBIN), place(Role.UNIFIED)
    router.add(Role.UNIFIED, only)
    router.add(Role.UNIFIED, only)
    router.remove(Role.UNIFIED, only)
    assert not router.route(request())


@pytest.mark.parametrize("routing", list(Routing))
def test_unified_replicas_take_their_turn_among_those_that_decode_and_serve_the_whole_request(routing: Routing) -> None:
    router, both = Router(routing), place(Role.UNIFIED)
    prefill, decode = place(Role.PREFILL), place(Role.DECODE)
    for role, each in ((Role.PREFILL, prefill), (Role.DECODE, decode), (Role.UNIFIED, both)):
        router.add(role, each)
    picked = []
    for _ in range(4):
        asked = request()
        assert router.route(asked)
        asked.decode_pod.assigned.add(asked)
        picked.append((asked.prefill_pod, asked.decode_pod))
    assert picked.count((prefill, decode)) == picked.count((both, both)) == 2
    router.remove(Role.UNIFIED, both)
    assert routed(router, request()) == [decode]
