"""How fast the simulator is, and how much memory it takes.

    python -m benchmarks.sim            # an hour on 20 replicas, with and without prefix cache; a week (5 minutes)
    python -m benchmarks.sim --quick    # the hours only, to build/bench/sim-quick.json

Figures are requests per second of processor time on one core, the best of three runs.
"""

import argparse
import hashlib
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import HOUR, Seconds
from autoscaler.performance.profile import load_profile
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.load import Lengths, Stream, compose, constant
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.run import Run, stay
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.startup import StartUp
from autoscaler.simulate.trace import Trace
from benchmarks._rows import Row, told, write

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "simulator-speed.md"
REPLICAS = {Role.PREFILL: 8, Role.DECODE: 12}
REQUESTS_PER_SECOND = 10.3  # 37,000 an hour
WEEK_REQUESTS_PER_SECOND = 16.6  # 10 million a week
GIB = 1024.0**3
RUNS = 3


@dataclass(frozen=True)
class Timed:
    """One run and its processor time."""

    requests: int
    seconds: float
    digest: str
    hit_share: float


def hour(
    seed: int, *, shared_prefix_tokens: int = 0, seconds: float = HOUR, rate: float = REQUESTS_PER_SECOND
) -> Trace:
    """Return an hour of chat: 1,500 prompt and 250 output tokens on average; perhaps with system prompts in common."""
    chat = Stream(
        "chat",
        constant(rate, seconds),
        Lengths(1500 - shared_prefix_tokens, 0.8),
        Lengths(250, 0.7),
        shared_prefix_tokens=shared_prefix_tokens,
        prefix_groups=50,
    )
    return compose([chat], seed)


def world(trace: Trace, *, prefix_caching: bool) -> SimulatedCluster:
    """Return 20 replicas of the 8B model on H200."""
    replica = load_profile("h200-tp1-llama-3.1-8b").model
    variants = tuple(
        Variant(role.value, role, ScaleTarget("bench", "apps/v1", "Deployment", role.value), "H200-SXM", 1, 1.0, 0, 50)
        for role in REPLICAS
    )
    profiles = (RequestProfile("chat", SLO(Seconds(1.0), Seconds(0.05))),)
    supplies = {role.value: Supply(replica, StartUp(Seconds(60.0)), count) for role, count in REPLICAS.items()}
    settings = ClusterSettings(prefix_caching=prefix_caching)
    return SimulatedCluster(SLOPolicy("sim", "bench", "8b", profiles, variants), trace, supplies, settings=settings)


def timed(trace: Trace, *, prefix_caching: bool) -> Timed:
    """Run a trace once."""
    cluster = world(trace, prefix_caching=prefix_caching)
    before = time.process_time()
    run = stay(cluster)
    seconds = time.process_time() - before
    prompts = sum(
        pod.engine.meters.prompt_tokens for pod in cluster.fleet.pods.values() if pod.variant.role is Role.PREFILL
    )
    computed = sum(pod.engine.meters.computed_tokens for pod in cluster.fleet.pods.values())
    return Timed(len(trace), seconds, digest(run), 1.0 - computed / prompts)


def digest(run: Run) -> str:
    """Return a hash over every byte of the results."""
    results = run.results
    columns = (results.ttft_s, results.itl_s, results.finish_s, results.fate)
    return hashlib.sha256(b"".join(np.ascontiguousarray(column).tobytes() for column in columns)).hexdigest()


def speed(name: str, trace: Trace, target: float, moonshot: str, *, prefix_caching: bool) -> list[Row]:
    """Return requests per second, and whether three runs gave the same bytes."""
    runs = [timed(trace, prefix_caching=prefix_caching) for _ in range(RUNS)]
    best = max(run.requests / run.seconds for run in runs)
    same = len({run.digest for run in runs}) == 1
    return [
        Row(f"{name}-requests-per-second", round(best), "1/s", f">= {target:,.0f}", moonshot, best >= target),
        Row(f"{name}-requests", runs[0].requests, "requests", "", "", None),
        Row(f"{name}-cached-share", round(runs[0].hit_share, 3), "of prompt tokens", "", "", None),
        Row(f"{name}-same-bytes", float(same), "1: yes", "1", "", same),
    ]


def week() -> list[Row]:
    """Return speed and memory of a week with 10 million requests."""
    trace = hour(3, seconds=7 * 24 * HOUR, rate=WEEK_REQUESTS_PER_SECOND)
    run = timed(trace, prefix_caching=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return [
        Row("week-requests", run.requests, "requests", ">= 9,900,000", "", run.requests >= 9_900_000),
        Row("week-requests-per-second", round(run.requests / run.seconds), "1/s", "", "", None),
        Row("week-peak-memory", round(peak / GIB, 2), "GiB", "< 2", "", peak < 2 * GIB),
    ]


TEXT = """# How fast the simulator is

Made by `make bench-sim` (`python -m benchmarks.sim`); not by hand. Requests per second of processor
time on one core of whatever machine ran it (the moonshot is beside the target), best of three; the week once.

One hour and one week of chat (1,500 prompt and 250 output tokens on average) on 8 prefill and 12 decode replicas of
Llama-3.1-8B on H200; `prefix`: system prompts of 1,024 tokens, 50 of them, prefix caching on.

The same sources as machine code serve three times as many: `python -m tools.compiled -m benchmarks.sim --quick`. What a
whole flight costs, policies and scrapes included: [flights](flight-speed.md).

{table}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write ``build/bench/sim.json``; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the week of 10 million requests (5 minutes)")
    wanted = parser.parse_args(arguments)
    rows = [] if wanted.quick else week()  # first: the peak of memory is the process's
    rows += speed("hour", hour(1), 20_000, "50,000", prefix_caching=False)
    rows += speed("hour-prefix", hour(2, shared_prefix_tokens=1024), 8_000, "", prefix_caching=True)
    print(told(rows))
    if not wanted.quick:
        PAGE.write_text(TEXT.format(table=told(rows)), encoding="utf-8")
    print(f"written: {write('sim-quick' if wanted.quick else 'sim', rows)}")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
