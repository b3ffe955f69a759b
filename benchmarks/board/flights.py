"""Cells of the scoreboard: flown one by one, kept in a file each, so that a run that was stopped goes on.

A cell that fails is a result with its error. Same code and same files, same cells: results of other code are not used.
What only our decider imports is not code of the others' cells, so that a change of ours asks for ours alone.
"""

import hashlib
import json
import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import grimp

from autoscaler.backtest.bound import bound
from autoscaler.backtest.contenders import ABLATED, OURS, contender, same
from autoscaler.backtest.run import Flight, Told, flown, over
from benchmarks.board.tracks import ROOT, Track, scene
from benchmarks.referee import cells as referee

CODE = ("autoscaler", "benchmarks/board/profiles")
REFEREE = "benchmarks/referee"
PACKAGE = "autoscaler"
FLIES = ("autoscaler.backtest.run", "autoscaler.backtest.bound")
DECIDES = "autoscaler.decider"
DECIDED = frozenset({OURS, *ABLATED})
ENDINGS = {".py", ".yaml", ".json", ".npz", ".gz"}
Found: TypeAlias = Mapping[str, Any]
"""What came of a cell, as JSON holds it: a score, a bound or a referee's result, or ``error``."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """The clairvoyant bound of a track at one start-up time."""

    startup_s: float


@dataclass(frozen=True, slots=True)
class Refereed:
    """Ours on one scenario of the referee."""

    scenario: str
    startup_s: float
    seed: int


Task: TypeAlias = Flight | Bounded | Refereed


@dataclass(frozen=True, slots=True)
class Cell:
    """One task; on a track, unless it is the referee's."""

    task: Task
    track: Track | None = None

    @property
    def path(self) -> Path:
        """Return where its result is kept, below the folder of all."""
        place = "referee" if self.track is None else f"{self.track.name}-{self.track.digest}"
        words = "-".join(
            f"{value:g}" if isinstance(value, float) else str(value) for value in asdict(self.task).values()
        )
        return Path(code(ours=self.ours)) / place / f"{type(self.task).__name__.lower()}-{words}.json"

    @property
    def ours(self) -> bool:
        """Tell whether our decider decides in it."""
        return isinstance(self.task, Refereed) or (isinstance(self.task, Flight) and self.task.policy in DECIDED)


@cache
def code(*, ours: bool = True) -> str:
    """Return a hash of the code under test: of what flies our decider, or of what flies the others."""
    told, flies = hashlib.sha256(), modules(ours=ours)
    for folder in (*CODE, *([REFEREE] if ours else [])):
        for file in sorted((ROOT / folder).rglob("*")):
            of_package = file.suffix == ".py" and file.is_relative_to(ROOT / PACKAGE)
            if file.suffix in ENDINGS and (file in flies or not of_package):
                told.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return told.hexdigest()[:12]


def modules(*, ours: bool) -> frozenset[Path]:
    """Return the files that a flight of ours imports, or of others: what it would import without our decider."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    if not ours:
        graph.remove_module(DECIDES)
    found = {module for root in FLIES for module in (root, *graph.find_upstream_modules(root))}
    return frozenset(_file(module) for module in found)


def _file(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is flown."""

    policies: tuple[str, ...]
    tuned: tuple[str, ...]  # those whose knobs are swept
    startups_s: tuple[float, ...]
    seeds: int
    settings: int
    referee: tuple[Refereed, ...] = ()
    bounded: bool = True

    def cells(self, tracks: Sequence[Track]) -> Iterator[Cell]:
        """Yield every cell, track by track; knobs are swept on seed 0, the load as it is."""
        for track in tracks:
            for startup in self.startups_s:
                if self.bounded:
                    yield Cell(Bounded(startup), track)
                for name in self.policies:
                    yield from (Cell(flight, track) for flight in self._flights(name, startup))
        yield from (Cell(task) for task in self.referee)

    def _flights(self, name: str, startup_s: float) -> Iterator[Flight]:
        knob = contender(name).knob
        yield from (Flight(name, startup_s, seed, knob.default) for seed in range(self.seeds))
        if name in self.tuned and self.settings > 1:
            others = [value for value in knob.grid(self.settings) if not same(value, knob.default)]
            yield from (Flight(name, startup_s, 0, value) for value in others)


def run(cells: Sequence[Cell], folder: Path, *, workers: int, told: Told) -> dict[Cell, Found]:
    """Return what came of every cell; those whose result is kept in the folder already are not flown again."""
    missing = [cell for cell in cells if not (folder / cell.path).exists()]
    for _ in over(_kept, [(cell, folder) for cell in missing], workers=workers, told=told):
        pass
    return {cell: json.loads((folder / cell.path).read_text(encoding="utf-8")) for cell in cells}


def _kept(cell: Cell, folder: Path) -> None:
    """Fly a cell and keep its result; a half-written file is never left behind."""
    path = folder / cell.path
    path.parent.mkdir(parents=True, exist_ok=True)
    partly = path.with_suffix(".part")
    partly.write_text(json.dumps(_plain(found(cell))), encoding="utf-8")
    partly.replace(path)


def found(cell: Cell) -> Found:
    """Fly a cell; whatever goes wrong is its result."""
    try:
        return _flown(cell)
    except Exception as error:  # noqa: BLE001 - one cell that fails must not end the others
        return {"error": f"{type(error).__name__}: {error}"}


def _flown(cell: Cell) -> Found:
    match cell.task:
        case Flight() as flight if cell.track is not None:
            return asdict(flown(scene(cell.track), flight).score)
        case Bounded(startup_s) if cell.track is not None:
            return {
                key: value for key, value in asdict(bound(scene(cell.track), startup_s)).items() if key != "timeline"
            }
        case Refereed(scenario, startup_s, seed):
            return referee.cell(scenario, startup_s, (seed,)).runs[0]
        case _:
            msg = f"a {type(cell.task).__name__} needs a track"
            raise TypeError(msg)


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a value without numbers that JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def commit() -> str:
    """Return the commit that the code is at, and whether it was changed since."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        told = subprocess.run(words, check=True, cwd=ROOT, capture_output=True, text=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.CalledProcessError):
        return "no commit: not a git checkout"
    return told.stdout.strip()
