"""Runs NVIDIA's mocker on one static fleet; started by ``second_opinion`` with the Python of the mocker's own venv.

PYTHON benchmarks/_mocker.py SPEC.json RESULT.json
"""

import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

PREFIX_BLOCK = 512


class Static:
    """A policy that leaves the fleet alone."""

    def initial_tick_ms(self) -> float:
        """Return when to be asked first."""
        return 60_000.0

    def on_tick(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """Change nothing."""
        return {"target_prefill": None, "target_decode": None, "next_tick_ms": snapshot["now_ms"] + 60_000.0}


def engine(spec: dict[str, Any], role: str) -> dict[str, Any]:
    """Return the engine's arguments."""
    return {
        "engine": {
            "backend": "vllm",
            "worker_type": role,
            "num_gpu_blocks": spec["num_gpu_blocks"],
            "block_size": spec["block_size"],
            "max_num_seqs": spec["max_num_seqs"],
            "max_num_batched_tokens": spec["max_num_batched_tokens"],
            "max_model_len": 131_072,
            "timing_model": {"type": "external", "provider": "dynamo_profile", "config": {"path": spec["table"]}},
        },
        "tensor_parallel_size": 1,
        "startup_time": 0.001,
    }


def main() -> None:
    """Replay the spec's requests and write a row per request."""
    os.environ.setdefault("DYN_LOG", "error")
    from dynamo._core import run_mocker_trace_replay  # type: ignore[import-not-found]  # noqa: PLC0415 - only in the mocker's venv

    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        fresh = 0
        with path.open("w", encoding="utf-8") as file:
            for arrival_ms, prompt, output in spec["requests"]:
                blocks = math.ceil(prompt / PREFIX_BLOCK)  # prompts share nothing: every block is new
                ids = list(range(fresh, fresh + blocks))
                fresh += blocks
                row = {"timestamp": arrival_ms, "input_length": prompt, "output_length": output, "hash_ids": ids}
                file.write(json.dumps(row) + "\n")
        report = run_mocker_trace_replay(
            [path],
            prefill_engine_args=engine(spec, "prefill"),
            decode_engine_args=engine(spec, "decode"),
            num_prefill_workers=spec["prefill"],
            num_decode_workers=spec["decode"],
            replay_mode="offline",
            router_mode="round_robin",
            trace_block_size=PREFIX_BLOCK,
            max_sim_time_ms=spec["requests"][-1][0] + 1_800_000.0,
            capture_per_request=True,
            scaling_policy=Static(),
        )
    Path(sys.argv[2]).write_text(json.dumps(list(report.per_request)), encoding="utf-8")


if __name__ == "__main__":
    main()
