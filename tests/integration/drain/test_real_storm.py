"""A short storm on real servers: what ``make chaos`` does for ten minutes, so that it works when somebody runs it."""

import sys
from pathlib import Path

import pytest

from benchmarks import _storm

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("control_plane")]  # it has one of its own, which it restarts


def test_controllers_that_are_killed_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    found = _storm.storm(tmp_path, seed=3, kills=20, longest_s=120.0)
    sys.stdout.write(f"{found}\n")
    assert (found.lost, found.wrong, found.out_of_bounds) == ([], [], [])
    assert (found.refused, found.crashed) == (0, 0)
    assert found.unsettled == "", "nothing stays dark; how soon depends on how fast this machine starts controllers"
    assert found.kills > 0
    assert found.finished > 100
    assert found.faults > 10
