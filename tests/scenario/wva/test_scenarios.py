"""The published WVA benchmark and llm-d's P/D ramps as scenario files: the load is what was published."""

from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest.run import Flight, flown
from autoscaler.backtest.scene import scene_of_scenario
from autoscaler.simulate.scenario import read_scenario

SCENARIOS = Path(__file__).parents[3] / "examples" / "scenarios"

STAGES: dict[str, list[tuple[float, float]]] = {
    "wva-prefill-heavy": [(20.0, 600.0)],
    "wva-decode-heavy": [(20.0, 600.0)],
    "wva-symmetrical": [(20.0, 600.0)],
    "wva-bursty": [(15.0, 180.0), (2.0, 120.0), (10.0, 180.0), (15.0, 180.0), (5.0, 120.0), (2.0, 120.0)],
    "pd-ramp-2048-2048": [(0.25, 300), (0.5, 300), (0.75, 420), (1.0, 600), (1.5, 600), (0.75, 300), (0.25, 900)],
    "pd-ramp-8192-256": [(0.15, 300), (0.3, 300), (0.5, 420), (0.8, 600), (1.4, 600), (0.5, 300), (0.15, 900)],
    "pd-ramp-256-8192": [(0.1, 300), (0.2, 420), (0.35, 600), (0.55, 600), (0.8, 720), (0.35, 420), (0.1, 900)],
}
LENGTHS = {
    "wva-prefill-heavy": (4000, 1000),
    "wva-decode-heavy": (1000, 4000),
    "wva-symmetrical": (1000, 1000),
    "wva-bursty": (1000, 1000),
    "pd-ramp-2048-2048": (2048, 2048),
    "pd-ramp-8192-256": (8192, 256),
    "pd-ramp-256-8192": (256, 8192),
}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_offers_the_published_rate_and_lengths(name: str) -> None:
    scenario = read_scenario(SCENARIOS / f"{name}.yaml")
    start = 0.0
    for rate, seconds in STAGES[name]:
        arrived = int(np.sum((scenario.trace.arrival_s >= start) & (scenario.trace.arrival_s < start + seconds)))
        assert abs(arrived - rate * seconds) <= 4 * np.sqrt(rate * seconds) + 1
        start += seconds
    assert scenario.duration == start
    prompt, output = LENGTHS[name]
    assert scenario.trace.input_tokens.mean() == pytest.approx(prompt, rel=0.03)
    assert scenario.trace.output_tokens.mean() == pytest.approx(output, rel=0.03)


@pytest.mark.slow
def test_wva_v1_takes_minutes_to_leave_one_replica() -> None:
    """As published: every run is a step into overload, and V1 adds one replica at a time while none is pending."""
    scene = scene_of_scenario(read_scenario(SCENARIOS / "wva-symmetrical.yaml"))
    found = flown(scene, Flight("wva-v1", 110.0, 0, 1.0))
    assert found.timeline is not None
    for ready in found.timeline.ready.values():
        assert ready[found.timeline.ticks_s <= 90.0].max() == 1
        assert ready.max() <= 6
    assert found.score.attainment < 0.9
