"""What is saved: hours and money scaled to a week, and nothing where the promise is missed."""

from dataclasses import replace

import pytest

from benchmarks import economy
from benchmarks.board import flights, standings, tracks
from benchmarks.board.tracks import ROOT
from benchmarks.economy import Saving, Week

from .test_scoreboard import load

POLICY = ROOT / "examples" / "tunnel_hour" / "policy.yaml"


@pytest.fixture(scope="module")
def saving(tmp_path_factory: pytest.TempPathFactory) -> Saving:
    folder = tmp_path_factory.mktemp("economy")
    (track,) = tracks.given([load(folder / "day.csv")], [POLICY])
    effort = replace(economy.effort(30.0), settings=2)
    results = flights.run(list(effort.cells([track])), folder, workers=1, told=lambda *_: None)
    (board,) = standings.boards(results)
    return economy.saving(board, 30.0)


def test_a_week_is_the_load_over_and_over(saving: Saving) -> None:
    score = saving.board.comparison.example("ours", 30.0).score
    weeks = economy.WEEK_H * 3600.0 / saving.board.comparison.scene.horizon
    assert saving.ours.money == pytest.approx(score.cost * weeks)
    assert saving.ours.gpu_hours == pytest.approx(sum(score.accelerator_hours.values()) * weeks)


def test_rivals_are_the_cheapest_that_keep_the_promise(saving: Saving) -> None:
    settings = [s for s in saving.board.comparison.settings if s.policy == "static" and s.reaches]
    weeks = economy.WEEK_H * 3600.0 / saving.board.comparison.scene.horizon
    assert saving.peak is not None
    assert saving.peak.money == pytest.approx(min(s.cost.mean for s in settings) * weeks)


def test_nothing_is_saved_where_the_promise_is_missed(saving: Saving) -> None:
    rival = Week(100.0, 2.0 * saving.ours.money)
    assert replace(saving, kept=True).share(rival) == pytest.approx(0.5)
    assert replace(saving, kept=False).share(rival) is None
    assert replace(saving, kept=True).share(None) is None
    assert [row.value for row in economy.summary([replace(saving, kept=False)])] == [0]
