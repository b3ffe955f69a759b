"""Scale-downs under load while everything goes wrong: what is lost, dark, or out of bounds.

    make chaos                                  # all of it, a quarter of an hour; writes build/bench/chaos.json
    make chaos ARGS="--seed 7 --scale-downs 20" # one seed again
    make chaos ARGS="--kills 0"                 # without servers

First in virtual time, then on a real API server with processes that are killed by SIGKILL (``_storm.py``). Of the
second part a seed repeats what goes wrong, not when the machine lets it happen.

Pools of prefill and decode replicas serve requests in the emulated cluster (``tests/emulator``) in virtual time; wanted
counts jump every few minutes. The controller's parts are the real ones. Trouble: the controller is killed at a random
point of a tick (between any two calls, also between a write and its answer), two controllers compete for the Lease, the
API server goes away, calls end with 409, 410, 429 or 5xx before or after they were carried out, pickers' watches go
blind for up to 45 s, pickers do not answer, the controller's clock steps by up to 90 s, pods flap.
"""

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import _storm
from benchmarks._rows import Row, told, write
from tests.emulator.world import Rules, World
from tools.servers.find import MissingServersError

CALM = Rules(requests_per_second=6.0)
TROUBLE = replace(
    CALM,
    controllers=2,
    kill_share=0.15,
    api_faults=0.1,
    blindness=0.05,
    silence=0.05,
    outages=0.02,
    clock_steps=0.03,
    flaps=0.03,
)
LONGEST_S = 60_000.0
RETURN_S = 600.0  # how long after a drain has begun load may come back


@dataclass
class Sum:
    """What some runs show together."""

    kills: int = 0
    lowered: int = 0
    scale_downs: int = 0
    finished: int = 0
    lost: int = 0
    dark: int = 0
    wrong: int = 0
    out_of_bounds: int = 0
    readmitted: int = 0
    refused: int = 0
    faults: int = 0

    def add(self, world: World) -> None:
        """Take in a run."""
        counts = world.counts
        self.kills += counts.kills
        self.lowered += counts.lowered
        self.scale_downs += counts.scale_downs
        self.finished += world.traffic.finished
        self.lost += len(world.traffic.lost)
        self.dark += len(counts.dark)
        self.wrong += len(counts.wrong)
        self.out_of_bounds += len(counts.out_of_bounds)
        self.readmitted += counts.readmitted
        self.refused += world.traffic.refused
        self.faults += world.faults.failed


def play(rules: Rules, seed: int, scale_downs: int) -> Sum:
    """Let wanted counts jump until so many scale-downs are done, half on Deployments, half on StatefulSets."""
    found = Sum()
    for statefulsets in (False, True):
        world = World(seed, replace(rules, statefulsets=statefulsets))
        chance = random.Random(seed)  # noqa: S311 - can be repeated
        while world.counts.scale_downs < scale_downs / 2 and world.env.now < LONGEST_S:
            world.targets = {name: chance.randint(1, 6) for name in world.targets}
            world.run(chance.uniform(60.0, 400.0))
        found.add(world)
        world.close()
    return found


def readmission_s(seed: int) -> float:
    """Return how long after load came back during a drain the pods serve again (a tick is 15 s, a start 60 s)."""
    world = World(seed, replace(CALM, startup=(60.0, 60.0), requests_per_second=20.0))
    world.targets = dict.fromkeys(world.targets, 1)
    while not world.withdrawn() and world.env.now < RETURN_S:
        world.run(1.0)
    world.targets = dict.fromkeys(world.targets, 3)
    came = world.env.now
    while world.withdrawn():
        world.run(0.25)
    world.run(0.25)  # the pickers' watch
    took = world.env.now - came
    world.close()
    return took


def rows(seed: int, scale_downs: int) -> Iterator[Row]:
    """Yield the figures."""
    plain = play(replace(CALM, plain=True), seed, scale_downs)
    calm = play(CALM, seed, scale_downs)
    hasty = play(replace(CALM, drain_timeout=60.0), seed, scale_downs // 4)
    trouble = play(TROUBLE, seed, scale_downs)
    yield Row(
        "plain scale-downs", plain.scale_downs, "count", f">= {scale_downs}", met=plain.scale_downs >= scale_downs
    )
    yield Row("plain lost requests", plain.lost, f"of {plain.finished + plain.lost}")
    for name, found in (("calm", calm), ("trouble", trouble)):
        enough = found.scale_downs >= scale_downs
        yield Row(f"{name} scale-downs", found.scale_downs, "count", f">= {scale_downs}", met=enough)
        yield Row(f"{name} replicas removed", found.lowered, "count")
        yield from _promises(name, found)
    yield Row("drain limit 60 s: readmitted", hasty.readmitted, "count")
    yield from _promises("drain limit 60 s:", hasty)
    yield Row("trouble kills", trouble.kills, "count", ">= 300", met=trouble.kills >= 300)
    yield Row("trouble failed calls", trouble.faults, "count")
    slowest = max(readmission_s(seed + n) for n in range(20))
    yield Row("readmission, slowest of 20", slowest, "s", "<= 16 (a tick), start-up 60", met=slowest <= 16.0)


def _promises(name: str, found: Sum) -> Iterator[Row]:
    yield Row(f"{name} lost requests", found.lost, f"of {found.finished + found.lost}", "0", met=found.lost == 0)
    yield Row(f"{name} refused requests", found.refused, "count", "0", met=found.refused == 0)
    yield Row(f"{name} dark pods", found.dark, "count", "0", met=found.dark == 0)
    yield Row(f"{name} wrong scale-downs", found.wrong, "count", "0", met=found.wrong == 0)
    yield Row(f"{name} counts out of bounds", found.out_of_bounds, "count", "0", met=found.out_of_bounds == 0)


def servers(seed: int, kills: int, longest_s: float) -> Iterator[Row]:
    """Yield the figures of real servers; says so where they are absent."""
    with tempfile.TemporaryDirectory(prefix="storm-", ignore_cleanup_errors=True) as folder:
        try:
            found = _storm.storm(Path(folder), seed, kills, longest_s)
        except MissingServersError as absent:
            print(f"real servers: skipped: {absent}")
            return
    for story in (*found.lost, *found.wrong, *found.out_of_bounds, *found.dark, found.unsettled):
        print(story, end="\n" if story else "")
    yield Row("servers kills (SIGKILL)", found.kills, "count", f">= {kills}", met=found.kills >= kills)
    yield Row("servers scale-downs", found.scale_downs, "count")
    yield Row("servers scale-ups", found.scale_ups, "count")
    yield Row("servers API server restarts", found.outages, "count")
    yield Row("servers injected faults", found.faults, "count")
    lost = len(found.lost)
    yield Row("servers lost requests", lost, f"of {found.finished + lost}", "0", met=lost == 0)
    yield Row("servers refused requests", found.refused, "count", "0", met=found.refused == 0)
    yield Row("servers dark pods", len(found.dark), "count", "0", met=not found.dark)
    yield Row("servers wrong scale-downs", len(found.wrong), "count", "0", met=not found.wrong)
    out = len(found.out_of_bounds)
    yield Row("servers counts out of bounds", out, "count", "0", met=out == 0)
    yield Row("servers controllers that crashed", found.crashed, "count", "0", met=found.crashed == 0)
    yield Row("servers at rest afterwards", float(not found.unsettled), "", "1", met=not found.unsettled)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale-downs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=300, help="of processes on real servers; 0: none")
    parser.add_argument("--longest", type=float, default=900.0, help="seconds for these kills")
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    found = list(rows(chosen.seed, chosen.scale_downs)) if chosen.scale_downs else []
    found += servers(chosen.seed, chosen.kills, chosen.longest) if chosen.kills else ()
    print(told(found))
    print(write("chaos", found))
    return 0 if all(row.met is not False for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
