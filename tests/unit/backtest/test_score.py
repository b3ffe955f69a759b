"""A flight's score, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from autoscaler.backtest import score as scoring
from autoscaler.domain.units import Seconds
from autoscaler.simulate.pods import Bill, FleetSample
from autoscaler.simulate.results import Fate, Results
from autoscaler.simulate.run import Run
from autoscaler.simulate.trace import Trace
from tests.unit.backtest import scenes


def flight(ttft: list[float], itl: list[float], fate: list[Fate], arrival: list[float]) -> Run:
    count = len(ttft)
    trace = Trace(
        arrival_s=np.array(arrival),
        input_tokens=np.full(count, 100, dtype=np.int32),
        output_tokens=np.full(count, 10, dtype=np.int32),
        profile=np.array([row % 2 for row in range(count)], dtype=np.uint8),
        profiles=("rag", "chat"),
    )
    results = Results(trace, np.array(ttft), np.array(itl), np.array(arrival) + 1, np.array(fate, dtype=np.uint8))
    bills = {"prefill": Bill(600.0, 3000.0, 0.0), "decode": Bill(0.0, 3000.0, 600.0)}
    return Run(results, bills, (), (), Seconds(3600.0))


def test_lost_unfinished_late_and_slow_requests_are_misses_of_their_profile() -> None:
    run = flight(
        ttft=[1.0, 1.0, 3.5, 1.0, np.nan, 1.0, 1.0, 1.0],
        itl=[0.03, 0.03, 0.03, 0.045, np.nan, np.nan, 0.045, 0.03],
        fate=[Fate.DONE, Fate.DONE, Fate.DONE, Fate.DONE, Fate.LOST, Fate.UNFINISHED, Fate.DONE, Fate.REJECTED],
        arrival=[float(n) for n in range(8)],
    )
    found = scoring.score(scenes.policy(), run)
    assert found.attainment_by_profile == {"rag": 0.5, "chat": 0.25}
    assert found.worst_profile == 0.25
    assert (found.lost_requests, found.unfinished_requests) == (2, 1)


def test_one_long_gap_counts_where_gaps_are_told() -> None:
    run = flight([1.0] * 4, [0.03] * 4, [Fate.DONE] * 4, [0.0, 1.0, 2.0, 3.0])
    assert scoring.score(scenes.policy(), run).attainment_p99_gaps is None
    told = replace(run, results=replace(run.results, itl_p99_s=np.array([0.03, 0.03, 0.03, 0.9])))
    found = scoring.score(scenes.policy(), told)
    assert (found.attainment, found.attainment_p99_gaps) == (1.0, 0.75)


def test_booting_ready_and_draining_are_paid() -> None:
    found = scoring.score(scenes.policy(), flight([1.0], [0.03], [Fate.DONE], [0.0]))
    assert found.cost == pytest.approx(3.0 * 2)
    assert found.accelerator_hours == {"H200-SXM": pytest.approx(2.0)}
    assert found.replica_hours["decode"]["draining"] == pytest.approx(1 / 6)


def test_the_worst_window_needs_enough_requests_to_count() -> None:
    good, bad = [1.0] * 50, [9.0] * 3
    run = flight([*good, *bad], [0.03] * 53, [Fate.DONE] * 53, [*([5.0] * 50), *([700.0] * 3)])
    assert scoring.score(scenes.policy(), run).worst_window == 1.0


def test_recovery_is_the_longest_run_of_bad_minutes() -> None:
    minutes = [1.0, 9.0, 9.0, 9.0, 1.0, 9.0]
    run = flight(minutes, [0.03] * 6, [Fate.DONE] * 6, [60.0 * n for n in range(6)])
    assert scoring.score(scenes.policy(), run).recovery_s == 180.0


@pytest.mark.parametrize(
    ("counts", "moves"),
    [
        pytest.param([2, 2, 2], (0, 0), id="nothing"),
        pytest.param([2, 3, 5, 5], (2, 0), id="up twice"),
        pytest.param([2, 3, 2, 3], (3, 2), id="back and forth"),
    ],
)
def test_actions_and_reversals(counts: list[int], moves: tuple[int, int]) -> None:
    fleet = [FleetSample(Seconds(15.0 * n), "v", count, 0, 0, count, 0) for n, count in enumerate(counts)]
    assert scoring.moves(fleet) == moves


def test_intervals_hold_the_mean_and_are_points_for_one_value() -> None:
    windows = [(0.9, 100), (1.0, 300), (0.95, 50)]
    found = scoring.interval_over_windows(windows)
    assert found.mean == pytest.approx((90 + 300 + 47.5) / 450)
    assert found.low <= found.mean <= found.high
    alone = scoring.interval_over_seeds([4.0])
    assert (alone.low, alone.mean, alone.high) == (4.0, 4.0, 4.0)
