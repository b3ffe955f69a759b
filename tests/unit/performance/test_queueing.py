"""Queues against exact results and the event simulation."""

import dataclasses
import math

import numpy as np
import pytest

from autoscaler.performance.queueing import (
    Load,
    drain_s,
    erlang_c,
    pool_to_drain,
    smallest_pool,
    wait_quantile,
    waiting_tail,
)
from benchmarks.queue_simulation import Pool, simulate

EXPONENTIAL = Load(arrivals_per_second=0.8, arrival_scv=1.0, service_mean_s=1.0, service_scv=1.0)


@pytest.mark.parametrize(
    ("servers", "load", "exact"),
    [(1, 0.8, 0.8), (2, 1.0, 1 / 3), (10, 8.0, 0.40918), (1, 1.0, 1.0), (3, 9.0, 1.0), (4, 0.0, 0.0)],
)
def test_erlang_c(servers: int, load: float, exact: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(exact, abs=2e-5)


@pytest.mark.parametrize("servers", [1, 4, 16])
def test_exponential_service_waits_as_theory_says(servers: int) -> None:
    load = dataclasses.replace(EXPONENTIAL, arrivals_per_second=0.8 * servers)
    for wait_s in (0.0, 0.5, 2.0):
        exact = erlang_c(servers, 0.8 * servers) * math.exp(-0.2 * servers * wait_s)
        assert waiting_tail(load, servers, wait_s) == pytest.approx(exact, rel=1e-9)


def test_a_quantile_is_where_the_tail_is() -> None:
    wait_s = wait_quantile(EXPONENTIAL, 1, 0.99)
    assert waiting_tail(EXPONENTIAL, 1, wait_s) == pytest.approx(0.01, rel=1e-3)
    assert wait_quantile(EXPONENTIAL, 50, 0.9) == 0.0
    assert wait_quantile(dataclasses.replace(EXPONENTIAL, arrivals_per_second=2.0), 1, 0.5) == math.inf


def test_no_pool_is_large_enough_for_a_negative_budget() -> None:
    assert smallest_pool(EXPONENTIAL, -0.1, 0.99, most=64) == 65
    assert smallest_pool(dataclasses.replace(EXPONENTIAL, arrivals_per_second=500.0), 1.0, 0.99, most=64) == 65


def test_a_backlog_drains_with_what_the_load_leaves() -> None:
    assert drain_s(12.0, EXPONENTIAL, 2) == pytest.approx(10.0)
    assert drain_s(12.0, dataclasses.replace(EXPONENTIAL, arrivals_per_second=3.0), 2) == math.inf
    assert pool_to_drain(12.0, EXPONENTIAL, 10.0) == pytest.approx(2.0)
    assert drain_s(0.0, EXPONENTIAL, 1) == 0.0


@pytest.mark.parametrize("field", ["arrivals_per_second", "arrival_scv", "service_mean_s", "service_scv"])
def test_nothing_is_negative(field: str) -> None:
    with pytest.raises(ValueError, match="negative"):
        dataclasses.replace(EXPONENTIAL, **{field: -1.0})


def test_the_simulation_is_md1_where_prompts_fill_a_step() -> None:
    pool = Pool(1, 0.8 / 1.0, 1.0, 8192.0, 1e-6, 8192.0, 0.001, 0.0, 1.0 / 8192.0, 0.0)
    wait = simulate(pool, 400_000, 1)[0]
    assert np.mean(wait) == pytest.approx(0.8 / (2 * 0.2), rel=0.05)  # Pollaczek and Khinchine


def test_prompts_of_one_step_return_together() -> None:
    pool = Pool(1, 1e9, 1.0, 4095.5, 1e-9, 8192.0, 0.001, 0.0, 0.1 / 4096.0, 0.0)
    total = simulate(pool, 9, 1)[1]
    assert total[1:] == pytest.approx([0.3, 0.3, 0.5, 0.5, 0.7, 0.7, 0.9, 0.9], abs=1e-3)
