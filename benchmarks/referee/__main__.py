"""The Decider on the referee: NVIDIA's own simulator, scenarios and references that nobody here made.

    make build/referee/bin/python           # once: the simulator, 227 MB, in an environment of its own
    python -m benchmarks.referee                                        # ten cells, three seeds: about 15 minutes
    python -m benchmarks.referee --scenario mix40 --startup 60 --seeds 0

References are tuned in hindsight on the traces they are scored on; the clairvoyant one knows the trace outright.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.referee import cells
from benchmarks.referee.cells import Cell


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
    wanted = parser.parse_args(arguments)
    if not wanted.python.exists():
        print(f"{wanted.python}: no such file; run make build/referee/bin/python", file=sys.stderr)
        return 2
    seeds = tuple(int(seed) for seed in wanted.seeds.split(","))
    print(HEAD)
    served = True
    for scenario in wanted.scenario.split(","):
        for startup in wanted.startup.split(","):
            cell = cells.cell(scenario, float(startup), seeds, wanted.python)
            print(told(cell), flush=True)
            served = served and cell.worst >= 0.99
    return 0 if served else 1


if __name__ == "__main__":
    sys.exit(main())
