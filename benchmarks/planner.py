"""The planner against its targets: in our own tunnel, on the independent referee, and without each of its parts.

    make bench-planner                      # the choosing half of the development loads, three seeds: over an hour
    make bench-planner ARGS="--against static,hpa"  # the same beside some of the peers only
    make bench-planner ARGS=--quick         # three loads, one start-up time and seed: some minutes
    python -m benchmarks.planner --only rag-burst --startup 180 --no-referee

Writes docs/reference/planner.md (not with --only) and build/bench/planner.json. Flights are those of
``benchmarks.scoreboard`` and kept in the same folder: what one of the two has flown, the other does not fly again.
What was not measured has no value, and says why. The referee needs ``make build/referee/bin/python``.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from autoscaler.backtest.contenders import ABLATED, CONTENDERS, OURS, contender
from autoscaler.backtest.run import Flight, Flown, flown, over
from autoscaler.backtest.scene import Scene, sized
from autoscaler.cli.backtest import seconds
from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from benchmarks._rows import BUILD
from benchmarks.board import flights, standings, tracks
from benchmarks.board.flights import Cell, Effort, Found, Refereed
from benchmarks.board.standings import Board, geometric
from benchmarks.board.tracks import ROOT, Half, Track
from benchmarks.referee import cells as referee
from benchmarks.scoreboard import QUICK_REFEREE, REFEREE, Progress

PAGE = ROOT / "docs" / "reference" / "planner.md"
ORACLE, HPA = "informed-oracle", "hpa"
PEERS = tuple(name for name in CONTENDERS if name not in {OURS, ORACLE})
QUICK_TRACKS = ("rag-burst", "three-variants-day-8b", "faults-heavy-tail-32b")
QUICK_PEERS = ("static", HPA, "keda-token-aware")
SMOOTH = ("day-", "growth-", "three-variants-day")
"""How the names of loads begin that rise and fall within tens of minutes."""

ALONE = ("static", OURS)
"""Who flies the fleets of one accelerator."""


@dataclass(frozen=True)
class Line:
    """One line of the table; ``value`` None: not measured, and ``why``."""

    id: str
    value: float | None
    unit: str
    target: str = ""
    moonshot: str = ""
    met: bool | None = None
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """What is run: the flights of all policies, those without a part, and the settings of fleets of one accelerator."""

    tracks: tuple[Track, ...]
    effort: Effort
    ablations: Effort
    settings: int


def of_tunnel(found: Sequence[Board]) -> Iterator[Line]:
    """Yield the lines on our own tunnel; loads with faults are judged by ``of_faults``."""
    calm = [board for board in found if not board.comparison.scene.faults]
    ours, oracle = standings.standing(OURS, calm), standings.standing(ORACLE, calm)
    if ours is None or oracle is None:
        yield Line("tunnel-attainment-worst-profile", None, "share", ">= 0.99", ">= 0.995", None, "nothing was flown")
        return
    cells = f"{ours.kept} of {ours.cells} cells kept"
    yield Line("tunnel-attainment-worst-profile", ours.worst, "share", ">= 0.99", ">= 0.995", ours.worst >= 0.99, cells)
    yield Line("tunnel-attainment-worst-profile-informed-oracle", oracle.worst, "share", why=f"{oracle.kept} kept")
    yield _bounded("tunnel-cost-over-bound", calm, 1.35, "<= 1.25")
    yield _bounded("tunnel-cost-over-bound-smooth", [b for b in calm if b.track.name.startswith(SMOOTH)], 1.10, "")
    for peer in dict.fromkeys(name for board in calm for name, _ in board.pairs if name in PEERS):
        ratios = [board.over_rival(peer, startup) for board in calm for name, startup in board.pairs if name == OURS]
        mean = geometric(ratios)
        there = f"{sum(ratio is not None for ratio in ratios)} of {len(ratios)} cells have such a setting"
        met = None if mean is None else mean <= 0.85
        yield Line(f"tunnel-cost-over-{peer}", mean, "x", "<= 0.85", "<= 0.75", met, there)
    yield _reversals(calm)


def _bounded(name: str, found: Sequence[Board], target: float, moonshot: str) -> Line:
    """Return the cost over the bound, over the cells in which every promise was kept."""
    cells = [(board, startup) for board in found for policy, startup in board.pairs if policy == OURS]
    kept = [board.ratio(OURS, startup) for board, startup in cells if board.kept(OURS, startup)]
    ratio = geometric(kept)
    why = f"{sum(each is not None for each in kept)} of {len(cells)} cells: kept, and with a bound"
    return Line(name, ratio, "x", f"<= {target:g}", moonshot, None if ratio is None else ratio <= target, why)


def _reversals(found: Sequence[Board]) -> Line:
    """Return our changes of direction over those of HPA's cheapest setting at equal attainment, on seed 0."""
    ours = theirs = 0
    for board in found:
        for startup in (s for name, s in board.pairs if name == OURS):
            rival = board.rival(HPA, startup)
            if rival is not None:
                ours += _first(board, OURS, startup, contender(OURS).knob.default).score.reversals
                theirs += _first(board, HPA, startup, rival.knob).score.reversals
    if not theirs:
        return Line(
            "tunnel-reversals-over-hpa", None, "x", "<= 0.5", "<= 0.33", None, "HPA never turns where it attains"
        )
    why = f"{ours} against {theirs}"
    return Line("tunnel-reversals-over-hpa", ours / theirs, "x", "<= 0.5", "<= 0.33", ours <= theirs / 2, why)


def _first(board: Board, policy: str, startup_s: float, knob: float) -> Flown:
    wanted = (policy, startup_s, 0)
    return next(
        each
        for each in board.comparison.flights
        if (each.flight.policy, each.flight.startup_s, each.flight.seed) == wanted
        and math.isclose(each.flight.knob, knob, rel_tol=1e-9)
    )


def of_faults(found: Sequence[Board]) -> Iterator[Line]:
    """Yield how much more ours keeps than HPA as shipped on loads with faults: as it is, and with replicas to spare."""
    for board in (board for board in found if board.comparison.scene.faults):
        for startup in (s for name, s in board.pairs if name == OURS and (HPA, s) in [*board.pairs]):
            label, spare = f"{board.track.name}-{startup:g}", _with_one_to_spare(board, startup)
            mine = min(board.attained(OURS, startup).values()), board.mean(OURS, startup, "cost")
            for name, (share, cost) in ((label, mine), (f"{label}-one-to-spare", spare)):
                theirs, dearer = min(board.attained(HPA, startup).values()), board.mean(HPA, startup, "cost") / cost
                why = f"{share:.4f} and {theirs:.4f}, HPA at {dearer:.2f} times our cost"
                lead = share - theirs
                yield Line(f"{name}-over-hpa", lead, "share", ">= 0", "", lead >= 0, why)


def _with_one_to_spare(board: Board, startup_s: float) -> tuple[float, float]:
    """Return the share of the worst profile and the cost of ours, were any replica of either role allowed to fail."""
    scene = board.comparison.scene
    spared = replace(scene, policy=replace(scene.policy, tolerated_losses=tuple((role, 1) for role in Role)))
    shipped = [each.flight for each in board.shipped(OURS, startup_s)]
    scores = [done.score for done in over(flown, [(spared, flight) for flight in shipped], workers=1)]
    worst = min(
        fmean(score.attainment_by_profile[profile.name] for score in scores) for profile in scene.policy.profiles
    )
    return worst, fmean(score.cost for score in scores)


def of_variants(found: Sequence[Board], settings: int) -> Iterator[Line]:
    """Yield our cost on several accelerators over that of the best fleet of one, chosen in hindsight."""
    name = "three-variants-cost-over-best-alone"
    boards = [board for board in found if len(_accelerators(board.comparison.scene)) > 1]
    for board in boards:
        startup = board.comparison.sweep.startups_s[-1]
        goals = board.attained(OURS, startup)
        best = _best_alone(board.comparison.scene, startup, settings, goals)
        label = f"{name}-{board.track.name}-{startup:g}"
        if best is None:
            yield Line(label, None, "x", "<= 0.9", "<= 0.8", None, "no fleet of one accelerator attains as much")
            continue
        ratio = board.cost(OURS, startup) / best[0]
        yield Line(label, ratio, "x", "<= 0.9", "<= 0.8", ratio <= 0.9, f"against {best[1]}")
    if not boards:
        yield Line(name, None, "x", "<= 0.9", "<= 0.8", None, "no load with several accelerators was flown")


def _accelerators(scene: Scene) -> tuple[str, ...]:
    return tuple(dict.fromkeys(variant.accelerator for variant in scene.policy.variants))


def _best_alone(scene: Scene, startup_s: float, settings: int, goals: Mapping[str, float]) -> tuple[float, str] | None:
    """Return cost and name of the cheapest fleet of one accelerator that gives each profile as much."""
    due = {name: min(share, scene.policy.profile(name).slo.attainment) for name, share in goals.items()}
    tried = [
        (only(scene, accelerator), Flight(player, startup_s, 0, knob), accelerator)
        for accelerator in _accelerators(scene)
        for player in ALONE
        for knob in contender(player).knob.grid(settings)
    ]
    flew = over(flown, [(alone, flight) for alone, flight, _ in tried], workers=1)
    good = [
        (done.score.cost, f"{flight.policy} on {accelerator}")
        for done, (_, flight, accelerator) in zip(flew, tried, strict=True)
        if all(done.score.attainment_by_profile[name] >= share for name, share in due.items())
    ]
    return min(good, default=None)


def only(scene: Scene, accelerator: str) -> Scene:
    """Return a scene whose fleet has one kind of accelerator, as large at the start as in every backtest."""
    variants = tuple(
        replace(variant, min_replicas=max(1, variant.min_replicas), max_replicas=3 * variant.max_replicas)
        for variant in scene.policy.variants
        if variant.accelerator == accelerator
    )
    priors = {variant.name: scene.priors[variant.name] for variant in variants}
    alone = replace(scene, policy=replace(scene.policy, variants=variants), priors=priors)
    return replace(alone, initial=sized(alone, use=0.6, first_s=300.0))


def of_ablations(found: Sequence[Board]) -> Iterator[Line]:
    """Yield what attainment and cost are without each part, mean over cells, relative to the whole."""
    for name in ABLATED:
        cells = [(board, startup) for board in found for policy, startup in board.pairs if policy == name]
        if name.endswith("-variants"):  # elsewhere it changes nothing
            cells = [(board, s) for board, s in cells if len(_accelerators(board.comparison.scene)) > 1]
        part = name.removeprefix(f"{OURS}-")
        if not cells:
            yield Line(part, None, "", why="nothing was flown")
            continue
        lost = fmean(min(b.attained(name, s).values()) - min(b.attained(OURS, s).values()) for b, s in cells)
        cost = geometric(b.mean(name, s, "cost") / b.mean(OURS, s, "cost") for b, s in cells)
        yield Line(f"{part}-attainment", lost, "difference", why=f"worst profile, mean of {len(cells)} cells")
        yield Line(f"{part}-cost", cost, "x", why="geometric mean")


def of_referee(results: Mapping[Cell, Found]) -> Iterator[Line]:
    """Yield the lines on the referee."""
    runs: dict[tuple[str, float], list[Found]] = {}
    for cell, found in results.items():
        if isinstance(cell.task, Refereed) and "error" not in found:
            runs.setdefault((cell.task.scenario, cell.task.startup_s), []).append(found)
    games = [referee.Cell(name, startup, tuple(each)) for (name, startup), each in runs.items()]
    if not games:
        yield Line(
            "referee", None, "", why="not run: make build/referee/bin/python installs it; --no-referee leaves it out"
        )
        return
    worst, ratio = min(game.worst for game in games), geometric(game.ratio for game in games)
    why, kept = f"{len(games)} of 10 cells", worst >= 0.99
    yield Line("referee-attainment-worst-profile", worst, "share", ">= 0.99", "", kept, why)
    met = None if ratio is None or not kept else ratio <= 1.25
    yield Line("referee-gpu-hours-over-clairvoyant", ratio, "x", "<= 1.25", "<= 1.15", met, why)
    for game in games:
        best = max(referee.reference(game.scenario, game.startup_s, name).attainment for name in referee.DYNAMO)
        label = f"referee-{game.scenario}-{game.startup_s:g}"
        yield Line(f"{label}-attainment", game.worst, "share", why=f"Dynamo's best tuning, cheaper: {best:.4f}")
        yield Line(f"{label}-gpu-hours", game.gpu_hours, "h", why=f"{game.ratio:.3f} of the clairvoyant's")


def of_others() -> Iterator[Line]:
    """Yield the lines that other commands measure."""
    path = BUILD / "loop-speed.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    row = next((r for r in rows if r["id"] == "decision-time"), {"value": None, "met": None})
    yield Line("decision-time", row["value"], "s", "<= 1", "<= 0.3", row["met"], "make bench-loop-speed")


TEXT = """# The planner against its targets

Made by `{command}` at commit {commit}; not by hand. {loads} loads
([benchmarks/board/scenes](../../benchmarks/board/scenes), examples/scenarios), start-up {startups} s, {seeds} seed(s).
Ours is as shipped; a peer's setting is its cheapest of {settings} that gives each profile what ours got (or what it was
promised, if less), chosen in hindsight on seed 0. Cost over the bound: over the cells in which every promise was kept.
`without-`: the same loads without one part of the planner (`autoscaler/plan/parts.py`), start-up {ablated} s. No value:
not measured, and why.

{table}

## Attainment, cell by cell

| load | start-up | ours | informed oracle | cost over bound |
|---|---|---|---|---|
{cells}
"""


def cell_lines(found: Sequence[Board]) -> Iterator[str]:
    """Yield a line for each load and start-up time: the share of each profile, ours and the oracle's."""
    for board in found:
        for startup in (s for name, s in board.pairs if name == OURS):
            shares = [
                ", ".join(f"{name} {share:.4f}" for name, share in board.attained(who, startup).items())
                for who in (OURS, ORACLE)
                if (who, startup) in [*board.pairs]
            ]
            ratio = board.ratio(OURS, startup)
            told = "" if ratio is None else f"{ratio:.2f}"
            mark = "" if board.kept(OURS, startup) else " **missed**"
            yield f"| {board.track.name} | {startup:g} s | {shares[0]}{mark} | {''.join(shares[1:])} | {told} |"


def told(lines: Sequence[Line]) -> str:
    """Return the lines as a Markdown table."""
    verdict = {True: "yes", False: "**no**", None: ""}
    values = ["" if e.value is None else f"{e.value:.4g}" for e in lines]
    rows = [
        f"| {e.id} | {value} | {e.unit} | {e.target} | {e.moonshot} | {verdict[e.met]} | {e.why} |"
        for e, value in zip(lines, values, strict=True)
    ]
    head = ["| figure | value | unit | target | moonshot | met | remark |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def planned(wanted: argparse.Namespace) -> Plan:
    """Return what the options ask for."""
    quick = wanted.quick
    there = not wanted.no_referee and not wanted.only and referee.PYTHON.exists()
    named = tuple(contender(name.strip()).name for name in wanted.against.split(",")) if wanted.against else PEERS
    peers = QUICK_PEERS if quick else named
    startups = seconds(wanted.startup) if wanted.startup else (180.0,) if quick else (60.0, 180.0, 300.0)
    chosen = [track for track in tracks.development() if track.half is Half.CHOOSING and wanted.only in track.name]
    if quick and not wanted.only:
        chosen = [track for track in chosen if track.name in QUICK_TRACKS]
    settings, seeds = 3, 1 if quick else 3
    games = (QUICK_REFEREE[:1] if quick else REFEREE) if there else ()
    effort = Effort((OURS, ORACLE, *peers), peers, startups, seeds, settings, games)
    return Plan(tuple(chosen), effort, Effort(tuple(ABLATED), (), startups[-1:], seeds, 1), settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write rows and page; 1 if a target is missed, 2 if the input cannot be used."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three loads, one start-up time, one seed")
    parser.add_argument("--only", default="", help="loads whose name holds this; the page is not written")
    parser.add_argument("--against", default="", help="peers by comma (all; quick: three)")
    parser.add_argument("--startup", help="start-up times in seconds, by comma (60,180,300; quick: 180)")
    parser.add_argument("--no-referee", action="store_true", help="leave the referee out")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--keep", type=Path, default=BUILD / "scoreboard", help="folder of flights")
    wanted = parser.parse_args(words)
    try:
        plan = planned(wanted)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    cells = dict.fromkeys([*plan.effort.cells(plan.tracks), *_flights_only(plan)])
    results = flights.run(list(cells), wanted.keep, workers=wanted.workers, told=Progress())
    found = standings.boards(results)
    parts = (of_tunnel(found), of_faults(found), of_variants(found, plan.settings), of_referee(results), of_others())
    lines = [line for part in (*parts, of_ablations(found)) for line in part]
    print(told(lines))
    _write(lines, found, plan, f"python -m benchmarks.planner {' '.join(words)}".strip(), page=not wanted.only)
    return 1 if any(line.met is False for line in lines) else 0


def _flights_only(plan: Plan) -> Iterator[Cell]:
    """Yield the flights without a part; bounds are those of the whole."""
    return (cell for cell in plan.ablations.cells(plan.tracks) if isinstance(cell.task, Flight))


def _write(lines: Sequence[Line], found: Sequence[Board], plan: Plan, command: str, *, page: bool) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    rows = [asdict(replace(line, value=_plain(line.value))) for line in lines]
    (BUILD / "planner.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    if page:
        text = TEXT.format(
            command=command,
            commit=flights.commit(),
            loads=len(found),
            startups=", ".join(f"{s:g}" for s in plan.effort.startups_s),
            seeds=plan.effort.seeds,
            settings=plan.settings,
            ablated=f"{plan.ablations.startups_s[0]:g}",
            table=told(lines),
            cells="\n".join(cell_lines(found)),
        )
        PAGE.write_text(text, encoding="utf-8")
        print(f"written: {PAGE}")


def _plain(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
