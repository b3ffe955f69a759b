"""What the cells of a track say together: costs over the clairvoyant bound, and at equal attainment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, geometric_mean
from typing import Any

from autoscaler.backtest.bound import Bound
from autoscaler.backtest.comparison import Comparison, Setting
from autoscaler.backtest.contenders import OURS, contender, same
from autoscaler.backtest.run import Flight, Flown, Sweep
from autoscaler.backtest.score import Score
from benchmarks.board.flights import Bounded, Cell, Found
from benchmarks.board.tracks import Half, Track, scene


@dataclass(frozen=True)
class Board:
    """All flights of one track, and the errors among them."""

    track: Track
    comparison: Comparison
    errors: Mapping[Cell, str]

    @cached_property
    def pairs(self) -> Sequence[tuple[str, float]]:
        """Return policy and start-up time of everyone who was flown as shipped."""
        sweep = self.comparison.sweep
        return [(name, s) for s in sweep.startups_s for name in sweep.policies if self.shipped(name, s)]

    def shipped(self, policy: str, startup_s: float) -> Sequence[Flown]:
        """Return the flights of a policy as shipped, a seed each."""
        return self._shipped.get((policy, startup_s), ())

    @cached_property
    def _shipped(self) -> Mapping[tuple[str, float], Sequence[Flown]]:
        found: dict[tuple[str, float], list[Flown]] = {}
        for each in self.comparison.flights:
            flight = each.flight
            if same(flight.knob, contender(flight.policy).knob.default):
                found.setdefault((flight.policy, flight.startup_s), []).append(each)
        return found

    def attained(self, policy: str, startup_s: float) -> Mapping[str, float]:
        """Return what each profile got from a policy as shipped, mean over seeds."""
        flights = self.shipped(policy, startup_s)
        names = flights[0].score.attainment_by_profile
        return {name: fmean(each.score.attainment_by_profile[name] for each in flights) for name in names}

    def kept(self, policy: str, startup_s: float) -> bool:
        """Tell whether every profile got what it was promised, mean over seeds."""
        goals = self.comparison.scene.policy
        return all(
            share >= goals.profile(name).slo.attainment for name, share in self.attained(policy, startup_s).items()
        )

    def cost(self, policy: str, startup_s: float) -> float:
        """Return the cost of a policy as shipped, mean over seeds."""
        return fmean(each.score.cost for each in self.shipped(policy, startup_s))

    def ratio(self, policy: str, startup_s: float) -> float | None:
        """Return cost over the clairvoyant bound; None where no bound was found that keeps the promise."""
        known = self.comparison.bounds.get(startup_s)
        return self.cost(policy, startup_s) / known.cost if known is not None and known.reached else None

    def mean(self, policy: str, startup_s: float, what: str) -> float:
        """Return a figure of the score of a policy as shipped, mean over seeds."""
        return fmean(getattr(each.score, what) for each in self.shipped(policy, startup_s))

    def rival(self, peer: str, startup_s: float) -> Setting | None:
        """Return the peer's cheapest setting that gives each profile what ours got, or what it was promised if less.

        On seed 0, where knobs are swept: chosen in hindsight on the load that it is scored on.
        """
        settings = [setting for setting in self._swept.settings if setting.startup_s == startup_s]
        mine = next((s for s in settings if s.policy == OURS and same(s.knob, contender(OURS).knob.default)), None)
        if mine is None:
            return None
        promised = self.comparison.scene.policy
        goals = {
            name: min(share, promised.profile(name).slo.attainment)
            for name, share in mine.attainment_by_profile.items()
        }
        good = [
            setting
            for setting in settings
            if setting.policy == peer and all(setting.attainment_by_profile[n] >= goal for n, goal in goals.items())
        ]
        return min(good, key=lambda setting: setting.cost.mean, default=None)

    @cached_property
    def _swept(self) -> Comparison:
        """Return the flights on seed 0, on which knobs are swept."""
        return replace(self.comparison, flights=tuple(f for f in self.comparison.flights if f.flight.seed == 0))

    def over_rival(self, peer: str, startup_s: float) -> float | None:
        """Return our cost over that of the peer's cheapest equal setting, on seed 0."""
        theirs = self.rival(peer, startup_s)
        mine = [each.score.cost for each in self.shipped(OURS, startup_s) if each.flight.seed == 0]
        return mine[0] / theirs.cost.mean if theirs is not None and mine else None


def boards(results: Mapping[Cell, Found]) -> list[Board]:
    """Return a board for each track that could be flown at all, in order of the cells."""
    by_track: dict[Track, dict[Cell, Found]] = {}
    for cell, found in results.items():
        if cell.track is not None:
            by_track.setdefault(cell.track, {})[cell] = found
    return [_board(track, found) for track, found in by_track.items() if any("error" not in f for f in found.values())]


def _board(track: Track, results: Mapping[Cell, Found]) -> Board:
    flights, bounds = [], {}
    for cell, found in results.items():
        if "error" in found:
            continue
        if isinstance(cell.task, Flight):
            flights.append(Flown(cell.task, scored(found)))
        elif isinstance(cell.task, Bounded):
            bounds[cell.task.startup_s] = Bound(**found)
    policies = tuple(dict.fromkeys(flown.flight.policy for flown in flights))
    startups = tuple(dict.fromkeys(flown.flight.startup_s for flown in flights))
    errors = {cell: str(found["error"]) for cell, found in results.items() if "error" in found}
    sweep = Sweep(policies, startups, settings=2)  # several knob values were flown
    return Board(track, Comparison(scene(track), sweep, tuple(flights), bounds), errors)


def scored(found: Found) -> Score:
    """Return a score as it was before it was written down."""
    return Score(**{**found, "windows": tuple((share, count) for share, count in found["windows"])})


@dataclass(frozen=True)
class Standing:
    """One policy over all cells of a half."""

    policy: str
    cells: int
    kept: int  # cells in which every profile got what it was promised
    worst: float  # attainment of the worst profile of the worst cell
    ratio: float | None  # cost over the bound, geometric mean over cells with a bound
    kept_ratio: float | None  # the same over cells that were kept
    lost: float  # requests, summed over cells, mean over seeds
    reversals: float


def standing(policy: str, found: Iterable[Board]) -> Standing | None:
    """Return how a policy as shipped stands over some boards; None where it was not flown."""
    cells = [(board, startup) for board in found for name, startup in board.pairs if name == policy]
    if not cells:
        return None
    ratios = [(board.ratio(policy, s), board.kept(policy, s)) for board, s in cells]
    return Standing(
        policy,
        len(cells),
        sum(kept for _, kept in ratios),
        min(min(board.attained(policy, s).values()) for board, s in cells),
        geometric([ratio for ratio, _ in ratios]),
        geometric([ratio for ratio, kept in ratios if kept]),
        sum(board.mean(policy, s, "lost_requests") for board, s in cells),
        sum(board.mean(policy, s, "reversals") for board, s in cells),
    )


def geometric(values: Iterable[float | None]) -> float | None:
    """Return the geometric mean of what is there; None of nothing."""
    there = [value for value in values if value is not None]
    return geometric_mean(there) if there else None


def of_half(found: Sequence[Board], half: Half) -> list[Board]:
    """Return the boards of one half."""
    return [board for board in found if board.track.half is half]


def rows(results: Mapping[Cell, Found], found: Sequence[Board]) -> list[dict[str, Any]]:
    """Return every cell as a row for programs; ``cost_ratio``: over the bound of its start-up time, None without."""
    by_track = {board.track: board for board in found}
    return [_row(cell, result, by_track.get(cell.track) if cell.track else None) for cell, result in results.items()]


def _row(cell: Cell, result: Found, board: Board | None) -> dict[str, Any]:
    task = cell.task
    row: dict[str, Any] = {
        "trace": "referee" if cell.track is None else cell.track.name,
        "half": "referee" if cell.track is None else str(cell.track.half),
        "kind": type(task).__name__.lower(),
        **{
            name: getattr(task, name)
            for name in ("policy", "scenario", "startup_s", "seed", "knob")
            if hasattr(task, name)
        },
        **result,
    }
    row.pop("windows", None)
    row.pop("per_minute", None)
    if isinstance(task, Flight):
        known = board.comparison.bounds.get(task.startup_s) if board is not None else None
        there = known is not None and known.reached and "cost" in result
        row["shipped"] = same(task.knob, contender(task.policy).knob.default)
        row["cost_ratio"] = result["cost"] / known.cost if there and known is not None else None
    return row
