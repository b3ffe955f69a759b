"""Traces drawn from what was observed."""

import numpy as np
import pytest

from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.simulate.history import from_history
from autoscaler.simulate.load import Lengths, Stream, compose, steps
from autoscaler.simulate.scraping import missing_load
from tests.unit.simulate.tunnels import tunnel

STEP = Seconds(60.0)
GAP = Missing(GapReason.STALE, Instant(0.0))


def observed(blind: range = range(0)) -> list[ModelObservation]:
    """Return what a tunnel under a step from 2 to 6 requests/s shows minute by minute; nothing in some minutes."""
    rate = steps([(2.0, 600.0), (6.0, 600.0)])
    trace = compose([Stream("chat", rate, Lengths(900, 0.5), Lengths(150, 0.5))], 3)
    world = tunnel(trace, {Role.PREFILL: 2, Role.DECODE: 2})
    seen = []
    for minute in range(1, 20):
        world.env.run(60.0 * minute)
        (model,) = world.scraper.observation(world.now()).models.values()
        loads = {name: missing_load(name, GAP) if minute in blind else load for name, load in model.loads.items()}
        seen.append(ModelObservation("p", loads, model.fleet, model.engines, 0.0))
    return seen


def test_the_observed_load_comes_back() -> None:
    trace = from_history(observed(), step=STEP, seed=1)
    early, late = ((trace.arrival_s < 480.0).sum() / 480.0, (trace.arrival_s > 780.0).sum() / 360.0)
    assert (early, late) == (pytest.approx(2.0, rel=0.15), pytest.approx(6.0, rel=0.15))
    assert trace.input_tokens.mean() == pytest.approx(900, rel=0.1)
    assert trace.output_tokens.mean() == pytest.approx(150, rel=0.1)
    assert trace.input_tokens.std() / trace.input_tokens.mean() == pytest.approx(0.5, rel=0.25)


@pytest.mark.parametrize("blind", [range(1, 4), range(13, 17)])
def test_a_gap_is_not_zero_load(blind: range) -> None:
    trace = from_history(observed(blind), step=STEP, seed=1)
    counts = np.bincount((trace.arrival_s // 60.0).astype(int), minlength=19)
    assert counts.min() > 60


def test_without_any_known_load_there_is_no_trace() -> None:
    with pytest.raises(InputError, match="19 observations tell of no request"):
        from_history(observed(range(30)), step=STEP)
