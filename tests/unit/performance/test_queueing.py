"""Queues against exact results and the event simulation."""

import dataclasses
import math

import numpy as np
import pytest

from autoscaler.performance.queueing import Load, erlang_c, waiting_tail
from benchmarks.queue_simulation import Pool, simulate, simulate_windows

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


def test_windows_begin_with_an_empty_queue() -> None:
    pool = Pool(1, 0.9, 1.0, 8192.0, 1e-6, 8192.0, 0.001, 0.0, 1.0 / 8192.0, 0.0)
    whole, cut = simulate(pool, 100_000, 1)[0], simulate_windows(pool, 100_000, 1, 60.0)
    assert np.mean(cut) < 0.7 * np.mean(whole)
    one = simulate_windows(pool, 100_000, 1, 100_000.0)
    assert one == pytest.approx(whole[: len(one)])
