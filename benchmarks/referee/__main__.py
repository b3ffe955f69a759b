"""The Decider on the referee: NVIDIA's own simulator, scenarios and references that nobody here made.

    make build/referee/bin/python           # once: the simulator, 227 MB, in an environment of its own
    python -m benchmarks.referee                                        # ten cells, three seeds: about 15 minutes
    python -m benchmarks.referee --scenario mix40 --startup 60 --seeds 0
    python -m benchmarks.referee --seeds 0 --without margins            # what a part is worth

References are tuned in hindsight on the traces they are scored on; the clairvoyant one knows the trace outright.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean, geometric_mean

from autoscaler.plan.parts import Parts
from benchmarks.referee import cells
from benchmarks.referee.cells import Cell

GOAL = 0.99
"""Of every profile."""


def told(cell: Cell) -> str:
    """Return one row of the table."""
    profiles = ", ".join(f"{name} {share:.4f}" for name, share in cell.attainment.items())
    return (
        f"| {cell.scenario}, {cell.startup_s:g} s | {profiles} | {cell.gpu_hours:.2f} ({cell.ratio:.2f}x) "
        f"| {cell.reversals:.0f} | {' | '.join(_peer(cell, peer) for peer in ('static', 'hpa', 'keda-token-aware'))} |"
    )


def _peer(cell: Cell, policy: str) -> str:
    peer = cells.reference(cell.scenario, cell.startup_s, policy)
    bound = cells.reference(cell.scenario, cell.startup_s, "clairvoyant").gpu_hours
    figures = f"{peer.gpu_hours:.2f} ({peer.gpu_hours / bound:.2f}x)"
    return figures if peer.reached else f"{peer.attainment:.3f} @ {figures}"


HEAD = """| cell | attainment, ours | GPU-hours, ours (over clairvoyant) | reversals | static | HPA | KEDA token-aware |
|---|---|---|---|---|---|---|"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row per cell; 1 if a profile gets less than 99 %, 2 without the simulator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default=",".join(cells.SCENARIOS), help="names or paths, by comma")
    parser.add_argument("--startup", default="60,180", help="start-up times in seconds, by comma")
    parser.add_argument("--seeds", default="0,1,2", help="0 is the published trace; by comma")
    parser.add_argument("--python", type=Path, default=cells.PYTHON, help="of the venv with the simulator")
    parser.add_argument(
        "--without",
        choices=[part.name for part in fields(Parts)],
        action="append",
        default=[],
        help="switch a part off",
    )
    wanted = parser.parse_args(arguments)
    if not wanted.python.exists():
        print(f"{wanted.python}: no such file; run make build/referee/bin/python", file=sys.stderr)
        return 2
    seeds = tuple(int(seed) for seed in wanted.seeds.split(","))
    print(HEAD)
    found = []
    for scenario in wanted.scenario.split(","):
        for startup in wanted.startup.split(","):
            cell = cells.cell(scenario, float(startup), seeds, wanted.python, without=tuple(wanted.without))
            print(told(cell), flush=True)
            found.append(cell)
    kept = sum(cell.worst >= GOAL for cell in found)
    ratio, worst = geometric_mean([cell.ratio for cell in found]), fmean(cell.worst for cell in found)
    print(f"\n{kept} of {len(found)} cells kept; worst profile {worst:.4f} on average, GPU-hours {ratio:.3f}x")
    return 0 if kept == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
