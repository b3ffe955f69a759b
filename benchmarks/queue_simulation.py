"""Event simulation of a prefill pool as vLLM runs it: one FIFO queue, steps filled up to a token budget.

Requests arrive in a renewal process with gamma-distributed gaps (CV 1: Poisson), as ``vllm bench serve --burstiness``
makes them, and have log-normal lengths. A free server fills its next step from the head of the queue; a prompt that
does not fit is computed in part and goes on, first, in the server's next step. All prompts of a step end with it.
"""

import itertools
import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pool:
    """What is simulated. Times in seconds, lengths in tokens."""

    servers: int
    arrivals_per_second: float
    arrival_cv: float
    mean_tokens: float
    tokens_cv: float
    step_tokens: float
    floor_s: float
    base_s: float
    per_token_s: float
    per_token_squared_s: float


def simulate(pool: Pool, requests: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return wait until the first step, time to the end of the last step, and tokens, each of shape (requests,)."""
    arrived, tokens = _drawn(pool, requests, seed)
    return *_served(pool, arrived, tokens), tokens


def simulate_windows(pool: Pool, requests: int, seed: int, window_s: float) -> FloatArray:
    """Return the waits of the same arrivals where nothing waits and all servers are free as each window begins.

    The last window, which has no end, is left out; shape (requests of the others,).
    """
    arrived, tokens = _drawn(pool, requests, seed)
    ends = np.searchsorted(arrived, np.arange(1, int(arrived[-1] // window_s) + 1) * window_s)
    return np.concatenate(
        [
            _served(pool, arrived[first:end], tokens[first:end])[0]
            for first, end in itertools.pairwise([0, *ends.tolist()])
            if end > first
        ]
    )


def _drawn(pool: Pool, requests: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return times of arrival and tokens."""
    random = np.random.default_rng(seed)
    shape = 1.0 / pool.arrival_cv**2
    gaps = random.gamma(shape, 1.0 / (shape * pool.arrivals_per_second), requests)
    spread = math.log1p(pool.tokens_cv**2)
    tokens = np.ceil(pool.mean_tokens * np.exp(math.sqrt(spread) * random.standard_normal(requests) - spread / 2))
    return np.cumsum(gaps), tokens


def _served(pool: Pool, arrived: FloatArray, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
    wait, total = _run(
        arrived,
        tokens,
        pool.servers,
        pool.step_tokens,
        pool.floor_s,
        pool.base_s,
        pool.per_token_s,
        pool.per_token_squared_s,
    )
    return wait, total


@numba.njit(cache=True)
def _run(arrived, tokens, servers, budget, floor, base, linear, square):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917, ANN001, ANN202, C901 -- numba compiles one plain function
    count = len(arrived)
    wait, total = np.empty(count), np.empty(count)
    free = np.zeros(servers)
    partial = np.full(servers, -1)
    done = np.zeros(servers)
    head, finished = 0, 0
    while finished < count:
        server = np.argmin(free)
        now = free[server]
        if partial[server] < 0:
            if head >= count:
                free[server] = np.inf
                continue
            now = max(now, arrived[head])
        room, attended, used = budget, 0.0, 0.0
        first, last = head, head
        current, was = partial[server], done[server]
        ended = -1
        if current >= 0:
            part = min(room, tokens[current] - was)
            attended += part * (part + 2.0 * was)
            room -= part
            used += part
            if was + part >= tokens[current]:
                ended, partial[server], done[server] = current, -1, 0.0
            else:
                done[server] = was + part
        while room > 0.0 and last < count and arrived[last] <= now:
            part = min(room, tokens[last])
            attended += part * part
            room -= part
            used += part
            wait[last] = now - arrived[last]
            if part < tokens[last]:
                partial[server], done[server] = last, part
            last += 1
        work = base + linear * used + square * attended
        longer, shorter = max(floor, work), min(floor, work)
        end = now + longer * (1.0 + (shorter / longer) ** 6.0) ** (1.0 / 6.0)
        if ended >= 0:
            total[ended] = end - arrived[ended]
            finished += 1
        for request in range(first, last):
            if request != partial[server]:
                total[request] = end - arrived[request]
                finished += 1
        head = last
        free[server] = end
    return wait, total
