"""Faults of the tunnel under falling load, when every gap tempts to shrink.

Never a wrong scale-down, never worse than the reactive baseline under the same fault. A twin flight without the fault
tells what would have been right.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from autoscaler.backtest.run import Flight, one
from autoscaler.backtest.scene import Scene, scene_of_scenario
from autoscaler.backtest.score import score
from autoscaler.domain.units import Seconds
from autoscaler.simulate.faults import Fault, FaultKind
from autoscaler.simulate.run import Run
from autoscaler.simulate.scenario import read_scenario

SCENARIO = """
kind: Scenario
name: falling
about: load falls from 6 to 1 requests/s within half an hour
seed: 5
duration: 30m
profiles:
  - {name: chat, slo: {ttft: 2s, itl: 40ms, attainment: 0.99}}
variants:
  - {name: prefill, role: prefill, costPerReplicaHour: 3.1, minReplicas: 1, maxReplicas: 12}
  - {name: decode, role: decode, costPerReplicaHour: 3.1, minReplicas: 1, maxReplicas: 12}
load:
  streams:
    - profile: chat
      ramp: {begin: 6, end: 1}
      prompt: {mean: 1500, variation: 0.5, most: 8000}
      output: {mean: 200, variation: 0.6, most: 2000}
supply:
  - {variant: prefill, performance: h200-tp1-qwen3-32b, initial: 5, startUp: {median: 60s, spread: 1.2}}
  - {variant: decode, performance: h200-tp1-qwen3-32b, initial: 3, startUp: {median: 60s, spread: 1.2}}
"""
AT, HOLD = Seconds(600.0), Seconds(240.0)
FAULTS = {
    FaultKind.METRIC_GAP: Fault(FaultKind.METRIC_GAP, AT, HOLD),
    FaultKind.FROZEN_METRICS: Fault(FaultKind.FROZEN_METRICS, AT, HOLD),
    FaultKind.PARTIAL_METRICS: Fault(FaultKind.PARTIAL_METRICS, AT, HOLD, "prefill", share=0.5),
    FaultKind.PROMETHEUS_RESTART: Fault(FaultKind.PROMETHEUS_RESTART, AT, Seconds(60.0)),
    FaultKind.SLOW_STARTS: Fault(FaultKind.SLOW_STARTS, AT, HOLD, factor=3.0),
    FaultKind.HANGING_STARTS: Fault(FaultKind.HANGING_STARTS, AT, HOLD),
    FaultKind.SLOW_REPLICA: Fault(FaultKind.SLOW_REPLICA, AT, HOLD, "decode", factor=0.5),
    FaultKind.PICKER_RESTART: Fault(FaultKind.PICKER_RESTART, AT, Seconds(5.0)),
    FaultKind.CONFLICTING_WRITER: Fault(FaultKind.CONFLICTING_WRITER, AT, HOLD, "prefill", replicas=2),
    FaultKind.NODE_LOSS: Fault(FaultKind.NODE_LOSS, AT, variant="decode", share=0.5),
}
OTHERS_DECIDE = {FaultKind.CONFLICTING_WRITER}
"""Where a count falls by another's hand, ours has to raise it, not to hold it."""


@cache
def scene() -> Scene:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "falling.yaml"
        path.write_text(SCENARIO, encoding="utf-8")
        return scene_of_scenario(read_scenario(path))


@cache
def flight(policy: str, kind: FaultKind | None) -> Run:
    faults = () if kind is None else (FAULTS[kind],)
    return one(replace(scene(), faults=faults), Flight(policy, 60.0, 0, 1.0))[0]


def sizes(run: Run, variant: str) -> dict[float, int]:
    return {sample.at: sample.requested for sample in run.fleet if sample.variant == variant}


def test_without_a_fault_the_fleet_shrinks_so_that_there_is_something_to_do_wrong() -> None:
    for variant in ("prefill", "decode"):
        found = sizes(flight("ours", None), variant)
        assert found[min(found)] > found[max(found)]


def test_every_fault_is_flown() -> None:
    assert FAULTS.keys() == set(FaultKind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind not in OTHERS_DECIDE])
def test_no_fault_makes_the_fleet_shrink_below_what_is_right_without_it(kind: FaultKind) -> None:
    fault = FAULTS[kind]
    for variant in ("prefill", "decode"):
        twin, found = (sizes(flight("ours", each), variant) for each in (None, kind))
        for at in (at for at in found if fault.at <= at <= fault.at + fault.duration):
            assert found[at] >= min(count for time, count in twin.items() if time <= at + 60.0), (variant, at)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FaultKind))
def test_no_fault_serves_worse_than_the_reactive_baseline_under_it(kind: FaultKind) -> None:
    ours, theirs = (score(scene().policy, flight(policy, kind)) for policy in ("ours", "hpa"))
    assert ours.worst_profile >= theirs.worst_profile - 0.002
    assert ours.lost_requests <= theirs.lost_requests
