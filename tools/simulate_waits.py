"""Simulate many random prefill queues: ``python -m tools.simulate_waits build/waits.npz`` (a quarter of an hour).

The queue is that of ``benchmarks/queue_simulation.py``, written a second time: requests are drawn as they come, waits
counted between fixed edges. ``tools.fit_waits`` learns from what this writes; ``make bench-models`` judges what was
learned by the other simulation.
"""

import argparse
import dataclasses
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numba
import numpy as np

from autoscaler.domain.observation import Moments
from autoscaler.performance.admission import prefill_load
from autoscaler.performance.queueing import Load
from autoscaler.performance.step import EngineLimits, FloatArray, Handover, PrefillModel, ReplicaModel, StepModel

BUDGET = 8192.0
BINS_PER_OCTAVE, LOWEST_OCTAVE, OCTAVES = 4, -8, 26
BINS = BINS_PER_OCTAVE * OCTAVES + 2  # the first counts those that (nearly) do not wait, the last what is beyond
SERVERS = (1, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 16, 24, 32)
LEAST, PER_RELAXATION, MOST = 400_000, 300.0, 5_000_000  # requests of a case


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One queue: what arrives, and the engine's steps; a full step's linear work takes one second."""

    servers: int
    arrival_cv: float
    mean_tokens: float
    tokens_cv: float
    prefill: PrefillModel
    load: Load


def drawn(random: np.random.Generator) -> Case:
    """Draw a queue from the ranges that the approximation is to serve."""
    servers = int(random.choice(SERVERS))
    rho = 1.0 - 10.0 ** random.uniform(-1.6, -0.06)
    arrival_cv = 1.0 if random.random() < 0.3 else math.exp(random.uniform(math.log(0.5), math.log(4.4)))
    mean = BUDGET / math.exp(random.uniform(math.log(0.4), math.log(40.0)))
    tokens_cv = random.uniform(0.0, 1.8)
    base = math.exp(random.uniform(math.log(0.002), math.log(0.02)))
    floor = base + math.exp(random.uniform(math.log(0.004), math.log(0.05)))
    prefill = PrefillModel(floor, base, 1.0 / BUDGET, random.uniform(0.0, 0.3) / BUDGET**2, 6.0)
    model = ReplicaModel(StepModel(0.0, 0.0, 0.0), prefill, Handover(0.0, 0.0), EngineLimits(1e9))
    unit = prefill_load(model, 1.0, arrival_cv**2, Moments(mean, mean**2 * (1.0 + tokens_cv**2)))
    load = dataclasses.replace(unit, arrivals_per_second=rho * servers / unit.service_mean_s)
    return Case(servers, arrival_cv, mean, tokens_cv, prefill, load)


def tail(case: Case, seed: int) -> FloatArray:
    """Return P(wait > each of ``edges()`` mean service times), shape (BINS - 1,)."""
    load, prefill = case.load, case.prefill
    rho = load.busy_servers / case.servers
    relaxation = rho**2 * (load.arrival_scv + load.service_scv) / (1.0 - rho) ** 2  # in arrivals
    warm = int(20.0 * relaxation + 100.0 * case.servers * max(1.0, load.step_requests))
    requests = int(min(MOST, LEAST + PER_RELAXATION * relaxation))
    counts = _run(
        seed, case.servers, load.arrivals_per_second, 1.0 / load.arrival_scv, case.mean_tokens,
        math.log1p(case.tokens_cv**2), prefill.floor_s, prefill.base_s, prefill.per_token_s,
        prefill.per_token_squared_s, load.service_mean_s, warm, warm + requests,
    )  # fmt: skip
    return np.asarray(1.0 - np.cumsum(counts)[:-1] / counts.sum())


@numba.njit(cache=True)
def _run(seed, servers, rate, shape, mean, spread, floor, base, linear, square, unit, warm, requests):  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917, ANN001, ANN202 -- numba compiles one plain function
    np.random.seed(seed)  # noqa: NPY002 -- numba's own generator
    counts = np.zeros(BINS, dtype=np.int64)
    deviation, middle = math.sqrt(spread), math.log(mean) - spread / 2.0
    free, left, done = np.zeros(servers), np.zeros(servers), np.zeros(servers)
    arrived, tokens = 0.0, math.ceil(math.exp(middle + deviation * np.random.standard_normal()))  # noqa: NPY002
    taken = 0
    while taken < requests:
        server = np.argmin(free)
        now, room, attended = free[server], BUDGET, 0.0
        if left[server] > 0.0:  # a prompt that was begun goes on first
            part = min(room, left[server])
            attended += part * (part + 2.0 * done[server])
            room -= part
            done[server] += part
            left[server] -= part
        else:
            now = max(now, arrived)
        while room > 0.0 and arrived <= now:
            part = min(room, tokens)
            attended += part * part
            room -= part
            taken += 1
            if taken > warm:
                place = (math.log2(max(now - arrived, 1e-12) / unit) - LOWEST_OCTAVE) * BINS_PER_OCTAVE
                counts[min(BINS - 1, max(0, math.floor(place) + 1))] += 1
            if part < tokens:
                left[server], done[server] = tokens - part, part
            arrived += np.random.gamma(shape, 1.0 / (shape * rate))  # noqa: NPY002
            tokens = math.ceil(math.exp(middle + deviation * np.random.standard_normal()))  # noqa: NPY002
        work = base + linear * (BUDGET - room) + square * attended
        longer, shorter = max(floor, work), min(floor, work)
        free[server] = now + longer * (1.0 + (shorter / longer) ** 6.0) ** (1.0 / 6.0)
    return counts


def edges() -> FloatArray:
    """Return the waits, in mean service times, beyond which is counted; shape (BINS - 1,)."""
    return np.asarray(np.exp2(LOWEST_OCTAVE + np.arange(BINS - 1) / BINS_PER_OCTAVE))


def main() -> int:
    """Draw cases, simulate them, write their loads and tails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--cases", type=int, default=4500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    cases = [drawn(random) for _ in range(arguments.cases)]
    with ProcessPoolExecutor() as pool:
        tails = list(pool.map(tail, cases, range(arguments.cases), chunksize=8))
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        arguments.target,
        servers=[case.servers for case in cases],
        loads=[dataclasses.astuple(case.load) for case in cases],
        edges=edges(),
        beyond=tails,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
