"""The event simulation that the queue's model is judged by, against exact results."""

import numpy as np
import pytest

from benchmarks.queue_simulation import Pool, simulate, simulate_windows


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
