"""A request on its way through the tunnel, and what engines count of requests."""

from collections.abc import Sequence
from typing import Any


class Request:
    """One request on its way; forgotten when it ends."""

    __slots__ = (
        "answer", "arrival", "cached", "computed", "decode_pod", "engine_at", "first", "hashes", "input", "left",
        "long_gap", "lost", "output", "pending", "pinned", "prefill_pod", "profile", "prompt", "row", "started",
    )  # fmt: skip

    def __init__(self, row: int, arrival: float, input_tokens: int, output_tokens: int, profile: int) -> None:
        """Take over row ``row`` of a trace."""
        self.row = row
        self.arrival = arrival
        self.input = input_tokens
        self.output = output_tokens  # still to be generated
        self.prompt = input_tokens  # as it arrived; `input` grows when a preempted request is computed again
        self.answer = output_tokens
        self.profile = profile
        self.hashes: Sequence[int] = ()
        self.left = input_tokens  # prompt tokens still to be computed
        self.computed = 0  # prompt tokens in KV, cached or computed
        self.cached = 0
        self.engine_at = 0.0  # when the engine that has it got it
        self.started = 0.0  # when its first chunk began
        self.first = -1.0  # when the user saw the first token; < 0: not yet
        self.long_gap = 0.0  # 99th percentile of the gaps between its tokens
        self.lost = False
        self.pending = 0  # chunks in steps that are formed and not done
        self.pinned = False  # its KV waits on the prefill replica
        self.prefill_pod: Any = None  # SimulatedPod, which knows engines: naming it here would be a cycle
        self.decode_pod: Any = None


class EngineMeters:
    """Counters as an engine exports them; all rise for ever."""

    __slots__ = (
        "computed_tokens", "gap_s", "gaps", "output_tokens", "preemptions", "prefill_s", "prefills", "prompt_tokens",
        "queue_s", "requests", "ttft_s",
    )  # fmt: skip

    def __init__(self) -> None:
        """Start at zero, as after a restart."""
        self.requests = 0  # finished here
        self.prompt_tokens = 0
        self.computed_tokens = 0
        self.output_tokens = 0
        self.gaps = 0  # gaps between output tokens
        self.gap_s = 0.0
        self.prefills = 0
        self.prefill_s = 0.0
        self.queue_s = 0.0
        self.ttft_s = 0.0
        self.preemptions = 0
