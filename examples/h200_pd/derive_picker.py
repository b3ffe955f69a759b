"""Derive from the request log what an endpoint picker would have shown: the recording was made without one.

    python examples/h200_pd/derive_picker.py

Reads ``requests.jsonl.gz`` and the times in ``engines.jsonl.gz``; writes ``picker.jsonl.gz``: ``llm_d_epp_*`` series
by fairness id (the profile) on the same grid. A request counts as dispatched when the client sent it, its first token
when it came, its lengths, its duration and its gaps between tokens when it ended (a real picker counts each gap as it
passes). Names, labels and bounds are those of llm-d router v0.10.0. As there, a series appears with its first
observation; of the duration only sum and count are written. The three warm-up requests are left out.
"""

import argparse
import gzip
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODEL = "m"  # the served name in the recording
POD = "epp-0"

TTFT_BOUNDS_S = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0),
    *(8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0),
)
ITL_BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)
OUTPUT_BOUNDS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
# 32778 is no slip of the pen here: it is what the picker says
INPUT_BOUNDS = (*OUTPUT_BOUNDS, 16384, 32778, 65536, 131072, 262144, 524288, 1048576)


@dataclass(slots=True)
class Histogram:
    """Counts by bucket, not cumulative; the last is for what lies beyond the bounds."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[sum(bound < value for bound in self.bounds)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Yield the exposition; nothing before the first observation."""
        count = sum(self.counts)
        if not count:
            return
        bounds = (*(f"{bound:g}" if bound < 1e6 else "1.048576e+06" for bound in self.bounds), "+Inf")
        for bound, upto in zip(bounds, itertools.accumulate(self.counts), strict=True):
            yield f'{name}_bucket{{{labels},le="{bound}"}} {upto}'
        yield f"{name}_sum{{{labels}}} {self.total!r}"
        yield f"{name}_count{{{labels}}} {count}"


@dataclass(slots=True)
class Profile:
    """What the picker knows of one fairness id."""

    dispatched: int = 0
    ended: int = 0
    seconds: float = 0.0
    prompt: Histogram = field(default_factory=lambda: Histogram(INPUT_BOUNDS))
    output: Histogram = field(default_factory=lambda: Histogram(OUTPUT_BOUNDS))
    ttft: Histogram = field(default_factory=lambda: Histogram(TTFT_BOUNDS_S))
    itl: Histogram = field(default_factory=lambda: Histogram(ITL_BOUNDS_S))

    def dispatch(self, _: Mapping[str, Any]) -> None:
        """Count a request that is sent to an engine."""
        self.dispatched += 1

    def begin(self, request: Mapping[str, Any]) -> None:
        """Count a first token."""
        self.ttft.observe(request["ttft"])

    def end(self, request: Mapping[str, Any]) -> None:
        """Count a request that ended."""
        self.ended += 1
        self.seconds += request["e2e"]
        self.prompt.observe(request["isl"])
        self.output.observe(request["n"])
        self.itl.total += request["itl_sum_s"]
        self.itl.counts = [a + b for a, b in zip(self.itl.counts, request["itl_counts"], strict=True)]

    def lines(self, name: str) -> Iterator[str]:
        """Yield the exposition."""
        if not self.dispatched:
            return
        labels = f'fairness_id="{name}",model_name="{MODEL}",priority="0",target_model_name="{MODEL}"'
        yield f"llm_d_epp_request_total{{{labels}}} {self.dispatched}"
        yield f"llm_d_epp_request_running{{{labels}}} {self.dispatched - self.ended}"
        if self.ended:
            yield f"llm_d_epp_request_duration_seconds_sum{{{labels}}} {self.seconds!r}"
            yield f"llm_d_epp_request_duration_seconds_count{{{labels}}} {self.ended}"
        yield from self.prompt.lines("llm_d_epp_request_input_tokens", labels)
        yield from self.output.lines("llm_d_epp_request_output_tokens", labels)
        yield from self.ttft.lines("llm_d_epp_request_ttft_seconds", f'{labels},streaming="true"')
        yield from self.itl.lines("llm_d_epp_request_streaming_itl_seconds", labels)


def derived(requests: Sequence[Mapping[str, Any]], grid: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Yield the picker's exposition at each moment of the grid."""
    profiles: dict[str, Profile] = {}
    events: list[tuple[float, Callable[[Mapping[str, Any]], None], Mapping[str, Any]]] = []
    for request in requests:
        profile = profiles.setdefault(request["profile"], Profile())
        sent = request["t"]
        events.append((sent, profile.dispatch, request))
        events.append((sent + request["ttft"], profile.begin, request))
        events.append((sent + request["e2e"], profile.end, request))
    events.sort(key=lambda event: event[0])
    done = 0
    for moment in grid:
        while done < len(events) and events[done][0] <= moment:
            _, count, request = events[done]
            count(request)
            done += 1
        lines = [line for name in sorted(profiles) for line in profiles[name].lines(name)]
        yield {"t": moment, "name": POD, "role": "", "text": "\n".join(lines) + "\n"}


def main() -> int:
    """Write picker.jsonl.gz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="folder", type=Path, default=HERE, help="folder of the recording")
    parser.add_argument("--to", type=Path, default=HERE, help="folder to write to")
    arguments = parser.parse_args()
    requests = [entry for entry in read(arguments.folder / "requests.jsonl.gz") if entry["profile"] != "warmup"]
    grid = sorted({entry["t"] for entry in read(arguments.folder / "engines.jsonl.gz")})
    text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in derived(requests, grid))
    path = arguments.to / "picker.jsonl.gz"
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{path.name}: {path.stat().st_size} bytes")
    return 0


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one JSON object a line."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


if __name__ == "__main__":
    sys.exit(main())
