"""The product shrinks pools in the tunnel: with a picker to tell it loses nobody's answer, without one it does."""

import pytest

from autoscaler.backtest.contenders import OURS
from autoscaler.backtest.run import Flight, one
from autoscaler.backtest.scene import Scene, scene_of
from autoscaler.domain.pool import Role
from autoscaler.simulate import load
from autoscaler.simulate.results import Fate
from autoscaler.simulate.run import Run
from tests.unit.backtest import scenes


def falling(*, picker: bool) -> Scene:
    """Return ten busy minutes and twenty with a fifth of the load, whose answers take a minute."""
    rate = load.steps([(10.0, 600.0), (2.0, 1200.0)])
    streams = [load.Stream("chat", rate, load.Lengths(2500, 0.5), load.Lengths(1500, 0.5, most=3000))]
    policy = scenes.policy(scenes.variant(Role.PREFILL), scenes.variant(Role.DECODE))
    return scene_of(
        policy, load.compose(streams, seed=3), {v.name: scenes.FAST for v in policy.variants}, picker=picker
    )


def flown(*, picker: bool) -> Run:
    return one(falling(picker=picker), Flight(OURS, 60.0, 0, 1.0))[0]


def shrunk(run: Run) -> bool:
    sizes = [sample.requested for sample in run.fleet if sample.variant == "decode"]
    return sizes[-1] < max(sizes)


@pytest.mark.slow
def test_with_a_picker_to_tell_a_shrinking_pool_loses_no_request() -> None:
    run = flown(picker=True)
    assert shrunk(run)
    assert run.results.done.all()


@pytest.mark.slow
def test_without_a_picker_a_shrinking_pool_loses_what_its_replicas_had() -> None:
    run = flown(picker=False)
    assert shrunk(run)
    assert (run.results.fate == Fate.LOST).any()
