"""An adversary: searches for loads on which ours does worst, and tells it the opposite of every forecast.

    python -m benchmarks.adversary                  # 96 loads, at most 20 minutes, then the opposite forecast
    python -m benchmarks.adversary --quick          # 8 loads, no page

Random loads first, then mutations of the worst three: the one that misses most beyond what HPA at its best setting
misses, the one that costs most over the bound while the promise is kept, and the one that costs most over HPA at equal
attainment; a jump that nobody can serve in time is therefore not the worst of anything. What it finds becomes a
scenario in benchmarks/board/scenes/adversarial, and so a row of the scoreboard from then on. Same seed, same loads.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml

from autoscaler.backtest.bound import bound
from autoscaler.backtest.contenders import OURS, contender
from autoscaler.backtest.run import Flight, flown, over
from autoscaler.backtest.scene import Scene
from autoscaler.backtest.score import Score, score
from autoscaler.backtest.timeline import Noted
from autoscaler.domain.units import Seconds
from autoscaler.simulate.run import fly
from benchmarks import _opposite
from benchmarks._rows import BUILD
from benchmarks.board import flights, tracks
from benchmarks.board.patterns import Pattern
from benchmarks.board.tracks import ROOT, SCENES, Half, Track
from benchmarks.scoreboard import Progress

PAGE = ROOT / "docs" / "reference" / "adversary.md"
FOUND = SCENES / Half.ADVERSARIAL
STARTUP_S = 120.0
PERIOD = Seconds(15.0)
BATCH = 8
ROUNDS = 12
RANDOM_SHARE = 1 / 3  # of the rounds, the first ones
HPA_SETTINGS = 5
BOUND_ROUNDS = 3
MOST_OVER_BOUND = 3.0
OPPOSED = ("day-mixed-32b", "growth-70b", "decline-32b", "level-shift-70b", "mix-rag-to-reasoning-32b")


@dataclass(frozen=True, slots=True)
class Tried:
    """A load, and how ours did on it."""

    pattern: Pattern
    attained: float  # of the worst profile
    kept: bool
    cost: float
    bound: float | None  # None: no schedule keeps the promise, so that nothing can be held against ours
    hpa: float | None  # cost of HPA's cheapest setting that attains as much; None: no setting does
    rival: float  # what the worst profile attains under HPA's best setting


def attempt(pattern: Pattern) -> Tried:
    """Fly ours and HPA through a load, and find its bound."""
    scene = pattern.scene()
    ours = flown(scene, Flight(OURS, STARTUP_S, 0, contender(OURS).knob.default)).score
    peers = [flown(scene, Flight("hpa", STARTUP_S, 0, knob)).score for knob in contender("hpa").knob.grid(HPA_SETTINGS)]
    known = bound(scene, STARTUP_S, rounds=BOUND_ROUNDS)
    goals = {name: min(share, _promise(scene, name)) for name, share in ours.attainment_by_profile.items()}
    equal = [peer.cost for peer in peers if all(peer.attainment_by_profile[n] >= goal for n, goal in goals.items())]
    return Tried(
        pattern,
        ours.worst_profile,
        _keeps(scene, ours),
        ours.cost,
        known.cost if known.reached else None,
        min(equal, default=None),
        max(peer.worst_profile for peer in peers),
    )


def _promise(scene: Scene, profile: str) -> float:
    return scene.policy.profile(profile).slo.attainment


def _keeps(scene: Scene, found: Score) -> bool:
    return all(share >= _promise(scene, name) for name, share in found.attainment_by_profile.items())


def misses(tried: Tried) -> float:
    """Return the share of the worst profile that misses and would not under HPA, where a schedule keeps the promise."""
    return max(0.0, tried.rival - tried.attained) if tried.bound is not None and not tried.kept else 0.0


def over_bound(tried: Tried) -> float:
    """Return cost over the bound where the promise is kept."""
    return tried.cost / tried.bound if tried.bound is not None and tried.kept else 0.0


def over_hpa(tried: Tried) -> float:
    """Return cost over HPA's cheapest setting at equal attainment."""
    return tried.cost / tried.hpa if tried.hpa is not None else 0.0


AIMS: Mapping[str, Callable[[Tried], float]] = {
    "worst-misses": misses,
    "worst-over-bound": over_bound,
    "worst-over-hpa": over_hpa,
}


def search(rounds: int, *, seed: int, limit_s: float, workers: int) -> list[Tried]:
    """Return every load that was tried; rounds that would begin after the limit are left out."""
    random = np.random.default_rng(seed)
    begun, found = time.monotonic(), list[Tried]()
    for number in range(rounds):
        if number and time.monotonic() - begun > limit_s:
            break
        blind = number == 0 or number < RANDOM_SHARE * rounds
        batch = [Pattern.random(random) if blind else _neighbour(found, random) for _ in range(BATCH)]
        found += over(attempt, [(pattern,) for pattern in batch], workers=workers, told=Progress())
        told = ", ".join(f"{aim} {max(map(worth, found)):.3f}" for aim, worth in AIMS.items())
        print(f"round {number + 1} of {rounds}: {told}", file=sys.stderr, flush=True)
    return found


def _neighbour(found: Sequence[Tried], random: np.random.Generator) -> Pattern:
    """Return a neighbour of the worst load for one of the aims."""
    aims = list(AIMS.values())
    return worst(found, aims[int(random.integers(len(aims)))]).pattern.mutated(random)


def worst(found: Sequence[Tried], aim: Callable[[Tried], float]) -> Tried:
    """Return the load on which ours is worst for an aim."""
    return max(found, key=aim)


@dataclass(frozen=True, slots=True)
class Opposed:
    """One load flown with the opposite of every forecast, beside the reactive baseline as shipped."""

    load: str
    attained: float
    over_bound: float | None
    as_shipped: float  # attainment of ours with its own forecast
    hpa: float  # attainment of HPA as shipped

    @property
    def met(self) -> bool:
        """Tell whether attainment is no worse than HPA's, and cost at most three times the bound."""
        return self.attained >= self.hpa and (self.over_bound is None or self.over_bound <= MOST_OVER_BOUND)


def oppose(track: Track) -> Opposed:
    """Fly ours with the opposite forecast."""
    scene = tracks.scene(track)
    notes = Noted(_opposite.opposed(scene.policy, scene.priors, PERIOD))
    world = scene.world(scene.startup(STARTUP_S), 0, settings=scene.settings)
    found = score(scene.policy, fly(world, notes, period=PERIOD, horizon=scene.horizon))
    notes.check()
    known = bound(scene, STARTUP_S, rounds=BOUND_ROUNDS)
    usual, hpa = (
        flown(scene, Flight(name, STARTUP_S, 0, contender(name).knob.default)).score for name in (OURS, "hpa")
    )
    ratio = found.cost / known.cost if known.reached else None
    return Opposed(track.name, found.worst_profile, ratio, usual.worst_profile, hpa.worst_profile)


TEXT = """# The adversary

Made by `{command}` at commit {commit}; not by hand. {count} loads of {stages} stages of retrieval and reasoning on
Qwen3-32B (`benchmarks/board/patterns.py`), start-up 120 s, seed {seed}: random ones, then mutations of the worst.
Compared with the clairvoyant bound (a schedule must exist that keeps the promise) and with HPA at the cheapest of
{settings} settings that attains as much, chosen in hindsight. Ours kept the promise on {kept} of the {bounded} loads
that have a bound.

| aim | worst found | attained | cost | bound | HPA at equal attainment | load |
|---|---|---|---|---|---|---|
{table}

The loads are scenarios: [benchmarks/board/scenes/adversarial](../../benchmarks/board/scenes/adversarial); the
[scoreboard](../scoreboard.md) flies them with everybody.

## The opposite of every forecast

Where the forecast expects twice the load, this Decider is told half, and the other way round
(`benchmarks/_opposite.py`). Wanted: attainment no worse than HPA's as shipped, cost at most {most:g} times the bound.

| load | attained | with its own forecast | HPA as shipped | cost over the bound | met |
|---|---|---|---|---|---|
{opposed}
"""


def _table(found: Sequence[Tried]) -> str:
    lines = []
    for aim, worth in AIMS.items():
        each = worst(found, worth)
        stages = ", ".join(
            f"{work:g}/s ({share:.0%} reasoning) {m} min"
            for work, share, m in zip(each.pattern.work, each.pattern.reasoning, each.pattern.minutes, strict=True)
        )
        known, hpa = (f"{value:.2f}" if value is not None else "-" for value in (each.bound, each.hpa))
        shape = f"{stages}; squared variation of gaps {each.pattern.squared_variation:g}"
        lines.append(
            f"| {aim} | {worth(each):.3f} | {each.attained:.2%} | {each.cost:.2f} | {known} | {hpa} | {shape} |"
        )
    return "\n".join(lines)


def _opposed_table(found: Sequence[Opposed]) -> str:
    return "\n".join(
        f"| {each.load} | {each.attained:.2%} | {each.as_shipped:.2%} | {each.hpa:.2%} "
        f"| {'-' if each.over_bound is None else f'{each.over_bound:.2f}x'} | {'yes' if each.met else '**no**'} |"
        for each in found
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Search, print and write the worst loads, ``build/bench/adversary.json`` and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, nothing written but build/bench")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of {BATCH} loads each")
    parser.add_argument("--seconds", type=float, default=1200.0, help="no round begins later")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    wanted = parser.parse_args(arguments)
    rounds = 1 if wanted.quick else wanted.rounds
    found = search(rounds, seed=wanted.seed, limit_s=wanted.seconds, workers=wanted.workers)
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "adversary.json").write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", "utf-8")
    print(_table(found))
    if wanted.quick:
        return 0
    chosen = [track for track in tracks.development() if track.name in OPPOSED]
    opposed = list(over(oppose, [(track,) for track in chosen], workers=wanted.workers, told=Progress()))
    print(_opposed_table(opposed))
    _scenes(found)
    _page(found, opposed, wanted.seed)
    return 0 if all(each.met for each in opposed) else 1


def _scenes(found: Sequence[Tried]) -> None:
    FOUND.mkdir(parents=True, exist_ok=True)
    for aim, worth in AIMS.items():
        path = FOUND / f"{aim}.yaml"
        told = "# Found by the adversary (docs/reference/adversary.md), which writes it anew; not by hand.\n"
        document = worst(found, worth).pattern.document(aim)
        path.write_text(told + yaml.safe_dump(document, sort_keys=False, width=110), encoding="utf-8")


def _page(found: Sequence[Tried], opposed: Sequence[Opposed], seed: int, page: Path = PAGE) -> None:
    bounded = [each for each in found if each.bound is not None]
    page.write_text(
        TEXT.format(
            command=f"python -m benchmarks.adversary --rounds {len(found) // BATCH} --seed {seed}",
            commit=flights.commit(), count=len(found), stages=len(found[0].pattern.work), seed=seed,
            settings=HPA_SETTINGS, kept=sum(each.kept for each in bounded), bounded=len(bounded), table=_table(found),
            most=MOST_OVER_BOUND, opposed=_opposed_table(opposed),
        ),
        encoding="utf-8",
    )  # fmt: skip
    print(f"written: {page}")


if __name__ == "__main__":
    sys.exit(main())
