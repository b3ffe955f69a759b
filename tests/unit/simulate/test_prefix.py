"""The prefix cache."""

import pytest

from autoscaler.domain.pool import Role
from autoscaler.simulate.load import Lengths, Stream, compose, constant
from autoscaler.simulate.prefix import PrefixCache
from autoscaler.simulate.run import stay
from autoscaler.simulate.settings import ClusterSettings
from tests.unit.simulate.tunnels import tunnel


def test_a_prefix_matches_from_the_start_and_without_holes() -> None:
    cache = PrefixCache(512)
    cache.acquire([1, 2, 3])
    assert [cache.match(ids) for ids in ([1, 2, 3, 4], [1, 9, 3], [9, 2, 3], [])] == [3, 1, 0, 0]


def test_blocks_in_use_are_shared_and_never_dropped() -> None:
    cache = PrefixCache(512)
    cache.acquire([1, 2])
    cache.acquire([1, 2, 3])
    assert cache.shared_tokens == 1024
    cache.release([1, 2])
    cache.shrink(0.0)
    assert (cache.match([1, 2, 3]), cache.shared_tokens) == (3, 0)


def test_of_idle_blocks_the_least_recently_used_tail_goes_first() -> None:
    cache = PrefixCache(512)
    for ids in ([1, 2], [3, 4]):
        cache.acquire(ids)
        cache.release(ids)
    cache.acquire([1])
    cache.release([1])
    cache.shrink(2 * 512.0)
    assert (cache.match([1, 2]), cache.match([3, 4])) == (1, 1)


@pytest.mark.parametrize("caching", [True, False])
def test_what_is_cached_is_not_computed(caching: bool) -> None:  # noqa: FBT001 - a case of the table
    stream = Stream("chat", constant(5.0, 100.0), Lengths(500), Lengths(50), shared_prefix_tokens=2048)
    settings = ClusterSettings(prefix_caching=caching)
    world = tunnel(compose([stream], 1), {Role.PREFILL: 1, Role.DECODE: 1}, settings=settings)
    assert stay(world).results.done.all()
    meters = world.fleet.of("prefill")[0].engine.meters
    saved = 1.0 - meters.computed_tokens / meters.prompt_tokens
    assert saved == pytest.approx(2048 / 2548 if caching else 0.0, abs=0.02)
    assert world.fleet.of("prefill")[0].engine.idle
