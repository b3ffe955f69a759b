"""Processor time of a flight, policy by policy: the tunnel as Python, and as machine code.

    python -m benchmarks.flight_speed            # all policies, six loads (three to five minutes); writes the page
    python -m benchmarks.flight_speed --quick    # three policies, two loads

Seconds of one process on one core, the process's own start left out; each flight once, start-up 180 s, seed 0.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from autoscaler.backtest.contenders import CONTENDERS, OURS, contender
from autoscaler.backtest.run import Flight, flown
from benchmarks._rows import Row, told, write
from benchmarks.board.tracks import development, scene
from tools import compiled

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "flight-speed.md"
LOADS = (
    *("wva-bursty", "worst-misses", "azure-chat-32b", "servegen-mix-8b", "agents-shared-prefix-32b"),
    "three-variants-shift-8b",
)
QUICK = (OURS, "hpa", "knative")
STARTUP_S = 180.0

TEXT = """# How long a flight takes

Made by `make bench-flight-speed` (`python -m benchmarks.flight_speed`); not by hand. Processor seconds of one
flight on one core of whatever machine ran it: the mean of six loads of the development set
({loads}), start-up {startup:g} s, each once.

`python`: the sources as they are. `code`: the same sources translated by mypyc (`python -m tools.compiled`), as
`make scoreboard` flies; the results are the same to the last bit. What is left is mostly the policy's own thinking
(`ours`), and what is observed at every tick (`knative` ticks each 2 s, Dynamo each 5 s).

{table}
"""

Seconds = Mapping[str, float]
"""Mean processor time of a flight, by policy."""


def measured(policies: Sequence[str], loads: Sequence[str]) -> Seconds:
    """Fly every policy through every load, in this process."""
    tracks = {track.name: track for track in development()}
    scenes = [scene(tracks[name]) for name in loads]
    flown(scenes[0], _flight(OURS))  # whatever is loaded or prepared once
    found = {}
    for name in policies:
        before = time.process_time()
        for where in scenes:
            flown(where, _flight(name))
        found[name] = (time.process_time() - before) / len(scenes)
    return found


def _flight(policy: str) -> Flight:
    return Flight(policy, STARTUP_S, 0, contender(policy).knob.default)


def elsewhere(place: Path, words: Sequence[str]) -> Seconds:
    """Return what a process finds that has the package from ``place``."""
    command = [sys.executable, "-m", "benchmarks.flight_speed", "--measure", *words]
    done = subprocess.run(  # noqa: S603 - fixed words
        command, env=compiled.importing(place), stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rows(as_python: Seconds, as_code: Seconds) -> list[Row]:
    """Return a row per policy and kind, and the means over policies."""
    found = []
    for kind, seconds in (("python", as_python), ("code", as_code)):
        found += [Row(f"{name}-{kind}", value, "s a flight") for name, value in seconds.items()]
        found.append(Row(f"mean-{kind}", fmean(seconds.values()), "s a flight"))
    faster = fmean(as_python.values()) / fmean(as_code.values())
    found.append(Row("python-over-code", faster, "times", ">= 1.5", "3", faster >= 1.5))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both kinds, print, write ``build/bench/flight-speed.json`` and the page; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three policies, two loads; writes no page")
    parser.add_argument("--measure", action="store_true", help="measure in this process and print JSON")
    wanted = parser.parse_args(arguments)
    if wanted.measure:
        print(json.dumps(measured(QUICK if wanted.quick else tuple(CONTENDERS), LOADS[:2] if wanted.quick else LOADS)))
        return 0
    words = ["--quick"] if wanted.quick else []
    table = rows(*(elsewhere(place, words) for place in (compiled.ROOT, compiled.compiled(compiled.BUILD))))
    print(told(table))
    if not wanted.quick:
        text = TEXT.format(table=told(table), loads=", ".join(LOADS), startup=STARTUP_S)
        PAGE.write_text(text, encoding="utf-8")
    print(f"written: {write('flight-speed-quick' if wanted.quick else 'flight-speed', table)}")
    return 1 if any(row.met is False for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())
