"""Each safeguard is needed: with one of them taken out, the emulated cluster shows what it prevents."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from autoscaler.domain.membership import Membership
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Seconds
from autoscaler.plan import drain
from autoscaler.publish import membership
from tests.emulator.world import Counts, Rules, World

pytestmark = pytest.mark.slow

BUSY = Rules(period=5.0, blindness=0.08, outages=0.02, kill_share=0.1, requests_per_second=6.0, drain_timeout=120.0)
QUIET = replace(BUSY, requests_per_second=0.2)  # engines are idle between two requests
SLOW = replace(BUSY, requests_per_second=0.3, longest_pull=60.0)  # idle engines that still pin a prompt's KV


def play(rules: Rules, *, seeds: int = 4, seconds: float = 4000.0) -> tuple[int, Counts]:
    """Return the requests lost in some runs, and what the last run shows."""
    lost = 0
    for seed in range(seeds):
        world, chance = World(seed, rules), random.Random(seed)  # noqa: S311 - a test that can be repeated
        while world.env.now < seconds:
            world.targets = {name: chance.randint(1, 6) for name in world.targets}
            world.run(chance.uniform(30.0, 200.0))
        lost += len(world.traffic.lost)
        world.close()
    return lost, world.counts


def no_confirmation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "drops", lambda *_: True)


def no_wait_for_work(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drain, "idle", lambda *_: True)


def no_wait_for_pinned_memory(patch: pytest.MonkeyPatch) -> None:
    whole = drain.idle
    patch.setattr(drain, "idle", lambda engine, _: whole(engine, Role.DECODE))


def no_order_among_victims(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(membership, "COST_EMPTY", "0")
    patch.setattr(membership, "COST_DRAINING", "0")


def no_wait_for_removals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drain._Pool, "_going", lambda *_: False)  # noqa: SLF001 - a safeguard that is taken out


@pytest.mark.parametrize("rules", [BUSY, QUIET, SLOW], ids=["busy", "quiet", "slow"])
def test_with_all_of_them_nothing_is_lost(rules: Rules) -> None:
    lost, counts = play(rules)
    assert (lost, counts.wrong, counts.dark) == (0, [], [])
    assert counts.lowered > 5


@pytest.mark.parametrize(
    ("take_out", "rules"),
    [
        (no_confirmation, QUIET),
        (no_wait_for_work, BUSY),
        (no_wait_for_pinned_memory, SLOW),
        (no_order_among_victims, BUSY),
        (no_wait_for_removals, replace(BUSY, outages=0.1)),
    ],
)
def test_without_one_of_them_requests_are_lost(
    take_out: Callable[[pytest.MonkeyPatch], None], rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    lost, _ = play(rules)
    assert lost > 0


def test_without_a_deadline_pods_stay_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "expired", lambda *_: False)
    monkeypatch.setattr(drain, "SETTLE", Seconds(10_000.0))  # nothing is ever known to be empty
    _, counts = play(BUSY, seeds=1)
    assert counts.dark
