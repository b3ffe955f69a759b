"""Laws of the clairvoyant cost of one pool."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.backtest import levels

needs = st.lists(st.integers(0, 6), min_size=1, max_size=40).map(lambda values: np.array(values, dtype=np.int64))
startups = st.integers(0, 6)


@settings(max_examples=200, deadline=None)
@given(need=needs, startup=startups)
def test_the_cost_by_levels_is_the_optimum_of_the_linear_program(need: np.ndarray, startup: int) -> None:
    load = np.ones(len(need))
    relaxed = levels.relaxed_cost(need, load, startup_bins=startup, miss_share=0.0)
    assert np.isclose(levels.clairvoyant_cost(need, startup), relaxed, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(need=needs, startup=startups, block=st.integers(1, 10), miss=st.floats(0.0, 0.3), data=st.data())
def test_bound_greedy_and_full_cost_are_in_order(
    need: np.ndarray, startup: int, block: int, miss: float, data: st.DataObject
) -> None:
    load = np.array(data.draw(st.lists(st.floats(0.1, 10.0), min_size=len(need), max_size=len(need))))
    kept = levels.capped(need, load, startup_bins=startup, block_bins=block, miss_share=miss)
    lower = levels.relaxed_cost(need, load, startup_bins=startup, miss_share=miss)
    some, whole = (levels.clairvoyant_cost(n, startup) for n in (kept, need))
    assert lower <= some + 1e-6
    assert some <= whole
    assert load[kept < need].sum() <= miss * load.sum() + 1e-9


@given(need=needs, startup=startups)
def test_a_bridged_schedule_covers_the_need_and_costs_what_the_levels_say(need: np.ndarray, startup: int) -> None:
    kept = levels.bridged(need, startup)
    assert (kept >= need).all()
    starts = np.maximum(np.diff(kept, prepend=0), 0).sum()
    assert kept.sum() + startup * starts == levels.clairvoyant_cost(need, startup)
