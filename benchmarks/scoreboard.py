"""Every policy x load x start-up time x seed in our tunnel, and ours on the independent referee, side by side.

    make scoreboard                    # the development set: under an hour on two cores; writes docs/scoreboard.md
    make scoreboard ARGS=--quick       # every second load, one start-up time and seed: under eight minutes
    make scoreboard ARGS=--shared      # with three larger loads, whose traces are in $DISAGG_SHARED/traces
    python -m benchmarks.scoreboard --trace day.csv --policy policy.yaml --startup 60,180 --seeds 3 --json out.json

Traces: .csv, .jsonl or .parquet with arrival_s, input_tokens, output_tokens[, profile][, hash_ids]; --trace and
--policy may be given several times (one policy for all, or one for each). Results are kept in build/bench/scoreboard,
so that a run that was stopped goes on; other code begins anew. A cell that fails is a row with its error.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoscaler.backtest.contenders import CONTENDERS, OURS, contender
from autoscaler.cli.backtest import seconds
from autoscaler.errors import InputError
from benchmarks._rows import BUILD
from benchmarks.board import flights, page, standings, tracks
from benchmarks.board.flights import Cell, Effort, Found, Refereed
from benchmarks.board.tracks import ROOT, Track
from benchmarks.referee import cells as referee

PAGE = ROOT / "docs" / "scoreboard.md"
IMAGES = ROOT / "docs" / "images" / "scoreboard"
OTHERS = tuple(name for name in CONTENDERS if name != OURS)
QUICK_TUNED = (OURS, "static", "hpa", "hpa-saturation", "keda-token-aware", "dynamo-sla")
REFEREE = tuple(Refereed(name, s, seed) for name in referee.SCENARIOS for s in referee.STARTUPS for seed in range(3))
QUICK_REFEREE = (Refereed("mix40", 60.0, 0), Refereed("azure-chat", 180.0, 0))
NO_REFEREE = "Not run: its simulator is not installed here; `make build/referee/bin/python` does that."
TOLD_EVERY_S = 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Fly, write rows and page; 1 if a cell failed, 2 if the input cannot be used."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    wanted = _parser().parse_args(words)
    try:
        chosen, effort = _tracks(wanted), _effort(wanted)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    results = flights.run(list(effort.cells(chosen)), wanted.keep, workers=wanted.workers, told=Progress())
    found = standings.boards(results)
    command = shlex.join(["python", "-m", "benchmarks.scoreboard", *words])
    _rows(wanted.json, command, results, found)
    told = page.Told(command, flights.commit(), effort, "" if effort.referee else _why_no_referee(wanted))
    for file in page.written(results, found, told, wanted.page or _page(wanted), wanted.images or _images(wanted)):
        print(f"written: {file}")
    failed = sum("error" in each for each in results.values())
    if failed:
        print(f"{failed} of {len(results)} cells failed; their errors are rows", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    say = parser.add_argument
    say("--trace", type=Path, action="append", default=[], help="requests to replay; several times for several")
    say("--policy", type=Path, action="append", default=[], help="SLO policy of the traces")
    say("--against", default="all", help=f"by comma, or all: {', '.join(OTHERS)}")
    say("--startup", help="start-up times in seconds, by comma (60,180,300; quick: 120)")
    say("--seeds", type=int, help="runs of each cell; seed 0 is the load as it is (3; quick: 1)")
    say(
        "--settings",
        type=int,
        help="values of each knob beside the shipped one, swept on seed 0 (3; quick: for six policies)",
    )
    say("--only", default="", help="development loads whose name holds this")
    say("--shared", action="store_true", help="also the larger development loads, from $DISAGG_SHARED/traces")
    say("--quick", action="store_true", help="every second development load, little of everything")
    say("--no-referee", action="store_true", help="leave the referee out")
    say("--workers", type=int, default=2, help="processes")
    say("--keep", type=Path, default=BUILD / "scoreboard", help="folder of results, from which a stopped run goes on")
    say("--json", type=Path, default=BUILD / "scoreboard.json", help="rows of all cells")
    say("--page", type=Path, help="docs/scoreboard.md; with --trace: build/bench/scoreboard.md")
    say("--images", type=Path, help="folder for the pictures; beside the page")
    return parser


def _tracks(wanted: argparse.Namespace) -> tuple[Track, ...]:
    if wanted.trace:
        return tracks.given(wanted.trace, wanted.policy)
    if wanted.policy:
        msg = "--policy: needs --trace; the development set brings its own policies"
        raise InputError(msg)
    known = (*tracks.development(), *(tracks.shared() if wanted.shared else ()))
    if wanted.shared and not tracks.shared():
        msg = f"--shared: no traces in {tracks.TRACES}; set DISAGG_SHARED to the folder above them"
        raise InputError(msg)
    chosen = tuple(track for track in known if wanted.only in track.name)
    if not chosen:
        msg = f"--only: no load of the development set has {wanted.only!r} in its name"
        raise InputError(msg)
    return tracks.thinned(chosen, 2) if wanted.quick and not wanted.only else chosen


def _effort(wanted: argparse.Namespace) -> Effort:
    policies = (OURS, *(OTHERS if wanted.against == "all" else _named(wanted.against)))
    quick = wanted.quick
    there = not wanted.no_referee and not wanted.trace and not wanted.only and referee.PYTHON.exists()
    return Effort(
        policies,
        tuple(name for name in QUICK_TUNED if name in policies) if quick and wanted.against == "all" else policies,
        seconds(wanted.startup) if wanted.startup else (120.0,) if quick else (60.0, 180.0, 300.0),
        wanted.seeds or (1 if quick else 3),
        wanted.settings or 3,
        (QUICK_REFEREE if quick else REFEREE) if there else (),
    )


def _named(text: str) -> tuple[str, ...]:
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    return tuple(contender(name).name for name in names if name != OURS)


def _why_no_referee(wanted: argparse.Namespace) -> str:
    if wanted.trace or wanted.only or wanted.no_referee:
        return "Left out of this run."
    return NO_REFEREE


def _page(wanted: argparse.Namespace) -> Path:
    return BUILD / "scoreboard.md" if wanted.trace or wanted.only else PAGE


def _images(wanted: argparse.Namespace) -> Path:
    return BUILD / "scoreboard-images" if wanted.trace or wanted.only or wanted.page else IMAGES


def _rows(path: Path, command: str, results: Mapping[Cell, Found], found: Sequence[standings.Board]) -> None:
    """Write every cell as a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"command": command, "commit": flights.commit(), "rows": standings.rows(results, found)}
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")


class Progress:
    """Says now and then how far a run is."""

    def __init__(self) -> None:
        """Begin to wait."""
        self._next = time.monotonic()

    def __call__(self, done: int, total: int, left_s: float) -> None:
        """Print a line, at most every twenty seconds."""
        if time.monotonic() >= self._next or done == total:
            print(f"{done} of {total} cells, {left_s / 60:.1f} min left", file=sys.stderr, flush=True)
            self._next = time.monotonic() + TOLD_EVERY_S


if __name__ == "__main__":
    sys.exit(main())
