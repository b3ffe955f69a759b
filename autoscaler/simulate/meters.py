"""What the picker counts per profile: counters and histograms with the bounds of llm-d's picker."""

from bisect import bisect_left
from collections.abc import Sequence

TTFT_BOUNDS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0, 120.0,
)  # fmt: skip
ITL_BOUNDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0,
)  # fmt: skip
PROMPT_BOUNDS = (
    1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536, 131072, 262144, 524288, 1048576,
)  # fmt: skip
OUTPUT_BOUNDS = PROMPT_BOUNDS[:12]


class Histogram:
    """Counts by upper bound, the last for what is beyond; and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Start empty."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, weight: int = 1) -> None:
        """Count a value ``weight`` times."""
        self.counts[bisect_left(self.bounds, value)] += weight
        self.total += value * weight


class ProfileMeters:
    """Counters of one profile; all rise for ever."""

    __slots__ = (
        "finished", "itl", "output_lengths", "output_squares", "output_tokens", "prompt_lengths", "prompt_squares",
        "prompt_tokens", "requests", "ttft",
    )  # fmt: skip

    def __init__(self) -> None:
        """Start at zero, as after a restart of the picker."""
        self.requests = 0  # dispatched
        self.prompt_tokens = 0  # of these
        self.prompt_squares = 0
        self.finished = 0
        self.output_tokens = 0  # of these
        self.output_squares = 0
        self.ttft = Histogram(TTFT_BOUNDS)
        self.prompt_lengths = Histogram(PROMPT_BOUNDS)  # of finished requests: usage is told with the answer
        self.output_lengths = Histogram(OUTPUT_BOUNDS)
        self.itl = Histogram(ITL_BOUNDS)  # the mean gap of a request, counted once per gap

    def snapshot(self) -> "ProfileSample":
        """Return what a scrape sees now."""
        return (
            (self.requests, self.prompt_tokens, self.prompt_squares, self.finished, self.output_tokens,
             self.output_squares, self.ttft.total, self.itl.total),
            tuple(self.ttft.counts),
            tuple(self.itl.counts),
        )  # fmt: skip


ProfileSample = tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...]]
"""Counters in the order of ``ProfileMeters.snapshot``, TTFT counts, ITL counts."""
