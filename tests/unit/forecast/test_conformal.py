"""Scores of the past: how large errors are, before and after there are enough of one's own."""

import numpy as np
import pytest

from autoscaler.forecast.conformal import PROBABILITIES, WINDOW, Calibration, Tail

NORMAL = (0.0, 1.6, 2.06, 2.9, 3.2)
PRIOR = 0.3


def calibrated(errors: list[float]) -> Calibration:
    calibration = Calibration()
    for error in errors:
        spread = calibration.spread(PRIOR)
        calibration.add(error, spread, calibration.blended(NORMAL, 1.0), PRIOR, 1)
    return calibration


def test_without_errors_the_prior_counts() -> None:
    assert Calibration().spread(PRIOR) == pytest.approx(PRIOR)
    assert Calibration().blended(NORMAL, 1.0) == NORMAL


@pytest.mark.parametrize(("size", "low", "high"), [(0.03, 0.03, 0.45), (0.3, 0.95, 1.05), (1.2, 2.0, 4.0)])
def test_ten_errors_move_a_wrong_prior_most_of_the_way(size: float, low: float, high: float) -> None:
    assert low <= calibrated([size, -size] * 5).spread(PRIOR) / PRIOR <= high


def test_one_wild_error_does_not_set_the_scale() -> None:
    assert calibrated([100.0]).fit == pytest.approx(1.0 + 3.0 / 11.0)


def test_coverage_holds_through_a_change_of_scale() -> None:
    draw = np.random.default_rng(1)
    calibration = Calibration()
    missed = []
    for minute in range(2880):
        spread, offsets = calibration.spread(PRIOR), calibration.blended(NORMAL, 1.0)
        error = float(draw.normal(0.0, 0.1 if minute < 1440 else 0.4))
        missed.append(error > offsets[PROBABILITIES.index(0.9)] * spread)
        calibration.add(error, spread, offsets, PRIOR, 1)
    assert np.mean(missed[1440:]) == pytest.approx(0.1, abs=0.04)


def test_one_score_far_out_is_one_in_so_many_however_far_it_is() -> None:
    quiet = [0.1, -0.1] * 15
    near, far = (calibrated([*quiet, size, *quiet]).blended(NORMAL, 1.0) for size in (3.0, 300.0))
    assert far[:3] == pytest.approx(near[:3], rel=0.05)


def test_wild_errors_of_one_shift_do_not_set_how_large_errors_are() -> None:
    quiet = [0.1, -0.1] * 60
    assert calibrated([*quiet, 20.0, 20.0, 20.0]).spread(PRIOR) < 3.0 * calibrated(quiet).spread(PRIOR)


def test_errors_that_stay_large_widen_it_within_the_hour() -> None:
    quiet, loud = [0.1, -0.1] * 60, [2.0, -2.0] * 30
    assert calibrated([*quiet, *loud]).spread(PRIOR) > 3.5 * calibrated(quiet).spread(PRIOR)


@pytest.mark.parametrize("share", [0.999, 0.9, 0.6, 0.4, 0.2, 0.05, 0.004, 1e-5])
def test_a_tail_tells_how_much_lies_above_what_it_returns(share: float) -> None:
    tail = Tail.through(NORMAL)
    assert tail.above(tail.at(share)) == pytest.approx(share)


def test_many_scores_of_one_size_outweigh_the_prior() -> None:
    draw = np.random.default_rng(2)
    calibration = calibrated((0.3 * draw.standard_normal(1440)).tolist())
    offsets = calibration.blended(NORMAL, 1.0)
    assert list(offsets) == sorted(offsets)
    scores = np.array(calibration.recent)
    assert float((scores > offsets[1]).mean()) == pytest.approx(0.09, abs=0.02)


def test_a_jump_in_windows_that_overlap_is_one_event() -> None:
    """Four windows of four minutes see the same jump; the fifth is of another one."""
    calibration = calibrated([0.1, -0.1] * 15)
    before = len(calibration)
    for count in (1, 1, 1, 1, 2):
        calibration.add(9.0, calibration.spread(PRIOR), (0.0, 1.0, 2.0, 3.0, 4.0), PRIOR, 4)
        assert len(calibration) == before + count


def test_only_the_newest_scores_count_in_their_order() -> None:
    """Many are equal, as of a load of nothing."""
    draw = np.random.default_rng(5)
    calibration, scores = Calibration(), draw.integers(-3, 4, WINDOW + 700).astype(float)
    for score in scores.tolist():
        calibration.add(score, 1.0, (0.0, 1.0, 2.0, 3.0, 4.0), PRIOR, 1)
    assert len(calibration) == WINDOW
    assert [calibration.recent[place] for place in calibration.ranked] == sorted(scores[-WINDOW:].tolist())
