"""How long one look takes, and how true it is, on the recording in examples/h200_pd.

    python -m benchmarks.observe [--prometheus URL]

The true values come from the recording's request log. With ``--prometheus`` a server that holds the recording
(``Recording.write_openmetrics``, then ``promtool tsdb create-blocks-from openmetrics``) is timed as well.
"""

import argparse
import asyncio
import gzip
import json
import statistics
import time
from pathlib import Path
from typing import Any

from autoscaler.domain.observation import Moments, Observation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.signal import is_present
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.files import NoFleet
from autoscaler.observe.observer import ClusterObserver, MetricsSource
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.observe.recording import load_recording

RECORDING = Path(__file__).parents[1] / "examples" / "h200_pd"
LIMITS = SLO(Seconds(2.0), Seconds(0.03))
PROFILES = ("rag", "reasoning", "chat")


def policy() -> SLOPolicy:
    """Return a policy over the recording's three profiles."""
    variants = tuple(
        Variant(role.value, role, ScaleTarget("llm", "apps/v1", "Deployment", role.value), "H200", 1, 3.0, 1, 8)
        for role in (Role.PREFILL, Role.DECODE)
    )
    named = tuple(RequestProfile(name, LIMITS, Match(fairness_id=name)) for name in PROFILES)
    return SLOPolicy("h200", "llm", "m", (*named, RequestProfile("default", LIMITS)), variants)


async def looks(source: MetricsSource, moments: list[Instant]) -> tuple[list[Observation], list[float]]:
    """Return what was seen at each moment, and the seconds it took."""
    observer, seen, seconds = ClusterObserver((policy(),), source, NoFleet((policy(),))), [], []
    for moment in moments:
        began = time.perf_counter()
        seen.append(await observer.observe(moment))
        seconds.append(time.perf_counter() - began)
    return seen, seconds


def spread(lengths: list[float]) -> float:
    """Return the squared coefficient of variation."""
    return statistics.pvariance(lengths) / statistics.mean(lengths) ** 2


def report_truth(last: Observation, requests: list[dict[str, Any]]) -> None:
    """Print the spread of lengths and the share of gaps inside 30 ms, as read and as they were."""
    for profile in PROFILES:
        load = last.models["llm/h200"].loads[profile]
        own = [request for request in requests if request["profile"] == profile]
        for name, read, key in (("prompt", load.prompt_tokens, "isl"), ("output", load.output_tokens, "n")):
            if isinstance(read, Moments):
                true = spread([float(request[key]) for request in own])
                print(f"{profile} {name} spread: read {read.squared_variation:.2f}, true {true:.2f}")
        if is_present(load.itl):
            print(f"{profile} ITL inside 30 ms: read {load.itl.within_slo:.2f}, mean {load.itl.mean_s * 1000:.1f} ms")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", help="URL of a server that holds the recording")
    arguments = parser.parse_args()
    with gzip.open(RECORDING / "requests.jsonl.gz", "rt") as lines:
        requests = [json.loads(line) for line in lines]
    recording = load_recording(RECORDING)
    moments = [Instant(recording.start + 20.0 + 8.5 * n) for n in range(40)]
    began = time.perf_counter()
    memory = recording.source(Windows())
    print(f"in memory: {len(recording.scrapes)} scrapes taken in in {time.perf_counter() - began:.2f} s")
    seen, seconds = asyncio.run(looks(memory, moments))
    print(
        f"in memory: one look {statistics.median(seconds) * 1000:.0f} ms (median), {max(seconds) * 1000:.0f} ms (worst)"
    )
    if arguments.prometheus:
        source = PrometheusSource(Connection(arguments.prometheus), ("llm",), Windows())
        _, seconds = asyncio.run(looks(source, moments))
        print(f"prometheus: one look {statistics.median(seconds) * 1000:.0f} ms (median), {max(seconds) * 1000:.0f} ms")
        print(f"prometheus: {source.queries_sent / len(moments):.0f} queries a look")
    report_truth(seen[-1], requests)


if __name__ == "__main__":
    main()
