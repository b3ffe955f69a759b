"""Waits within a window that begins with an empty queue: known limits, and laws for every load."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.performance.transient import Loads, delayed, waiting_tail

FOR_EVER = 1e9


def erlang_c(servers: int, load: float) -> float:
    """Return the share of Poisson arrivals that find all servers busy, by the recursion of Erlang B."""
    if load >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def tail(busy: float, unit_s: float, servers: int, wait_s: float, window_s: float) -> float:
    loads = Loads(np.array([busy]), np.array([unit_s]))
    return float(waiting_tail(loads, servers, np.array([wait_s]), window_s)[0, 0])


@pytest.mark.parametrize(("servers", "busy"), [(1, 0.3), (1, 0.95), (4, 3.0), (64, 60.0), (2, 2.0), (3, 9.0)])
def test_who_finds_a_server_free_does_not_wait(servers: int, busy: float) -> None:
    assert delayed(np.array([busy]), servers) == pytest.approx(erlang_c(servers, busy), rel=1e-9)


@pytest.mark.parametrize("servers", [1, 4, 16])
@pytest.mark.parametrize("wait_s", [0.0, 2.0, 20.0])
def test_in_the_long_run_a_pool_near_its_limit_waits_as_theory_says(servers: int, wait_s: float) -> None:
    exact = erlang_c(servers, 0.98 * servers) * math.exp(-0.02 * servers * wait_s)
    assert tail(0.98 * servers, 2.0, servers, wait_s, FOR_EVER) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(("wait_s", "share"), [(0.0, 1.0), (10.0, 0.75), (30.0, 0.5), (50.0, 0.25), (60.0, 0.0)])
def test_overload_waits_longer_the_longer_it_lasts(wait_s: float, share: float) -> None:
    assert tail(2.0, 1e-9, 1, wait_s, 60.0) == pytest.approx(share, abs=1e-6)


def test_a_window_that_begins_empty_waits_less_than_the_long_run() -> None:
    short, long = (tail(0.95, 3.0, 1, 5.0, window) for window in (60.0, FOR_EVER))
    assert short < 0.8 * long


@given(
    busy=st.floats(0.0, 100.0),
    more=st.floats(1.0, 3.0),
    unit_s=st.floats(0.01, 20.0),
    servers=st.integers(1, 64),
    others=st.integers(0, 16),
    waits_s=st.lists(st.floats(0.0, 60.0), min_size=2, max_size=2).map(sorted),
    window_s=st.floats(1.0, 600.0),
)
def test_a_tail_falls_with_time_and_servers_and_rises_with_load(
    busy: float, more: float, unit_s: float, servers: int, others: int, waits_s: list[float], window_s: float
) -> None:
    near, far = waits_s
    now = tail(busy, unit_s, servers, near, window_s)
    assert 0.0 <= tail(busy, unit_s, servers, far, window_s) <= now + 1e-9 <= 1.0 + 2e-9
    assert tail(busy, unit_s, servers + others, near, window_s) <= now + 1e-9
    assert tail(more * busy, unit_s, servers, near, window_s) >= now - 1e-9


def test_loads_may_each_have_their_own_servers_and_waits() -> None:
    loads, servers, waits_s = Loads(np.array([0.5, 3.0]), np.array([2.0, 1.0])), [1, 4], [[0.0, 1.0], [2.0, 9.0]]
    both = waiting_tail(loads, servers, np.array(waits_s), 60.0)
    for row, (busy, unit_s) in enumerate(((0.5, 2.0), (3.0, 1.0))):
        assert both[row] == pytest.approx([tail(busy, unit_s, servers[row], each, 60.0) for each in waits_s[row]])
