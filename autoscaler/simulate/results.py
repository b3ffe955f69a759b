"""What became of every request: columns that grow by a fixed number of bytes a request, whatever happens."""

from array import array
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoscaler.simulate.trace import Trace

FloatArray: TypeAlias = NDArray[np.float64]


class Fate(IntEnum):
    """How a request ended."""

    UNFINISHED = 0  # still queued or running when the simulation ended, or never dispatched
    DONE = 1
    LOST = 2  # its replica went away under it
    REJECTED = 3  # it waited at the picker for longer than the limit


class RequestLog:
    """Row i: request i of the trace. Written by the cluster, read by ``results``; 21 bytes a request."""

    __slots__ = ("fate", "finish_s", "itl_p99_s", "itl_s", "ttft_s")

    def __init__(self, requests: int) -> None:
        """Make room for all requests of a trace."""
        self.ttft_s = array("f", [float("nan")]) * requests
        self.itl_s = array("f", [float("nan")]) * requests  # mean gap between output tokens
        self.itl_p99_s = array("f", [float("nan")]) * requests  # 99th percentile of these gaps
        self.finish_s = array("d", [float("nan")]) * requests
        self.fate = bytearray(requests)

    def results(self, trace: Trace) -> "Results":
        """Return the columns as arrays, beside the trace."""
        return Results(
            trace=trace,
            ttft_s=np.frombuffer(self.ttft_s, dtype=np.float32).astype(np.float64),
            itl_s=np.frombuffer(self.itl_s, dtype=np.float32).astype(np.float64),
            itl_p99_s=np.frombuffer(self.itl_p99_s, dtype=np.float32).astype(np.float64),
            finish_s=np.frombuffer(self.finish_s, dtype=np.float64).copy(),
            fate=np.frombuffer(self.fate, dtype=np.uint8).copy(),
        )


@dataclass(frozen=True, slots=True)
class Results:
    """Per request, in the trace's order; NaN where it did not come to that.

    ``itl_s`` of a request with one output token is 0. ``finish_s`` counts from the start of the trace.
    """

    trace: Trace
    ttft_s: FloatArray
    itl_s: FloatArray
    finish_s: FloatArray
    fate: NDArray[np.uint8]  # of Fate
    itl_p99_s: FloatArray = field(default_factory=lambda: np.zeros(0))  # of a request's own gaps; empty: not told

    @property
    def done(self) -> NDArray[np.bool_]:
        """Tell which requests got their whole answer."""
        return np.asarray(self.fate == Fate.DONE, dtype=np.bool_)

    def within(self, ttft_slo_s: NDArray[np.float64], itl_slo_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which requests attained, given each profile's limits (shape: profiles); what is not done is a miss."""
        profile = self.trace.profile
        kept = (self.ttft_s <= ttft_slo_s[profile]) & (self.itl_s <= itl_slo_s[profile])
        return np.asarray(self.done & kept, dtype=np.bool_)
