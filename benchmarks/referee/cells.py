"""Cells of the referee: run ours, look up the references."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KIT = Path(__file__).resolve().parent / "kit"
PYTHON = ROOT / "build" / "referee" / "bin" / "python"
GOAL = "every profile"
SCENARIOS = ("azure-chat", "mix40", "mooncake-conversation", "servegen-mix", "sinusoid")
STARTUPS = (60.0, 180.0)
PEERS = ("static", "utilisation", "hpa", "keda-token-aware")
DYNAMO = (
    "dynamo-planner-sla-arima",
    "dynamo-planner-sla-kalman",
    "dynamo-planner-throughput",
    "dynamo-planner-latency",
)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a policy got on a cell, tuned in hindsight; ``attainment``: of the worst profile, mean over its seeds."""

    policy: str
    reached: bool
    attainment: float
    gpu_hours: float


@dataclass(frozen=True, slots=True)
class Cell:
    """Ours on one scenario and start-up time, over seeds."""

    scenario: str
    startup_s: float
    runs: tuple[Mapping[str, Any], ...]

    @property
    def attainment(self) -> Mapping[str, float]:
        """Return the attainment of each profile, mean over seeds."""
        return {
            name: fmean(run["profiles"][name]["attainment"] for run in self.runs) for name in self.runs[0]["profiles"]
        }

    @property
    def worst(self) -> float:
        """Return the attainment of the worst profile."""
        return min(self.attainment.values())

    @property
    def gpu_hours(self) -> float:
        """Return GPU-hours, mean over seeds."""
        return fmean(run["gpu_hours"] for run in self.runs)

    @property
    def reversals(self) -> float:
        """Return changes of direction, mean over seeds."""
        return fmean(run["direction_reversals"] for run in self.runs)

    @property
    def ratio(self) -> float:
        """Return GPU-hours over those of the clairvoyant reference (seed 0)."""
        return self.gpu_hours / reference(self.scenario, self.startup_s, "clairvoyant").gpu_hours


@cache
def _references() -> Mapping[tuple[str, float, str], Reference]:
    rows = json.loads((KIT / "reference_results.json").read_text(encoding="utf-8"))
    return {
        (row["scenario"], row["startup_s"], row["policy"]): Reference(
            row["policy"], row["reached"], row["min_profile_attainment"], row["gpu_hours"]
        )
        for row in rows
        if row["goal"] == GOAL
    }


def reference(scenario: str, startup_s: float, policy: str) -> Reference:
    """Return what a reference got on a cell; its goal is 99 % of every profile."""
    return _references()[scenario, startup_s, policy]


def cell(
    scenario: str, startup_s: float, seeds: tuple[int, ...], python: Path = PYTHON, *, without: tuple[str, ...] = ()
) -> Cell:
    """Run ours on a cell: 5 to 60 s a seed; ``without`` some of its parts (``autoscaler/plan/parts.py``)."""
    return Cell(scenario, startup_s, tuple(_run(scenario, startup_s, seed, python, without) for seed in seeds))


def _run(scenario: str, startup_s: float, seed: int, python: Path, without: tuple[str, ...]) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words = [str(python), "-m", "benchmarks.referee._cell", scenario, str(startup_s), str(seed), str(result)]
        words += without
        subprocess.run(words, check=True, cwd=ROOT)  # noqa: S603 - our own module
        found: Mapping[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found
