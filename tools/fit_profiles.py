"""Fit the measured profiles that ship from the grids in benchmarks/data: ``python -m tools.fit_profiles``."""

import argparse
import datetime as dt
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from autoscaler.domain.pool import Role
from autoscaler.performance import fit, grid
from autoscaler.performance.profile import Profile, Provenance, ValidRange
from autoscaler.performance.profile_document import dump_profile
from autoscaler.performance.step import EngineLimits, FloatArray, Handover, ReplicaModel

ROOT = Path(__file__).resolve().parents[1]
MEASURED_ON = dt.date(2026, 11, 22)
KV_BYTES_PER_TOKEN = {"llama-3.1-8b": 131_072, "qwen3-32b": 262_144}
LLM = {"llama-3.1-8b": "meta-llama/Llama-3.1-8B", "qwen3-32b": "Qwen/Qwen3-32B"}
HANDOVER_32B = Handover(base_s=0.12, per_token_s=15e-6, stall_per_token_s=10e-6)
"""Measured with Qwen3-32B over NIXL; the part that moves KV is scaled to other models by KV bytes per token."""


def main() -> int:
    """Write the profiles, or with ``--check`` tell whether those that ship are what the grids say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file would change")
    check = parser.parse_args().check
    changed = [tag for tag in LLM if not _kept(tag, check=check)]
    for tag in changed:
        print(f"h200-tp1-{tag}: {'differs from its grid; run python -m tools.fit_profiles' if check else 'written'}")
    return 1 if check and changed else 0


def _kept(tag: str, *, check: bool) -> bool:
    """Write one profile unless it is up to date (or only checked), and return whether it was."""
    target = ROOT / "autoscaler" / "performance" / "profiles" / f"h200-tp1-{tag}.yaml"
    text = _head(tag) + dump_profile(fitted(tag))
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return True
    if not check:
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return False


def _head(tag: str) -> str:
    return (
        f"# Made by `python -m tools.fit_profiles` from benchmarks/data/h200-vllm-0.26-{tag}-tp1.json; not by hand.\n"
    )


def fitted(tag: str) -> Profile:
    """Return the profile of one grid."""
    measured = grid.read_grid(ROOT / "benchmarks" / "data" / f"h200-vllm-0.26-{tag}-tp1.json")
    single = [point for point in measured.prefill if point.prompts == 1]
    capacity = measured.kv_capacity_tokens
    if capacity is None:
        msg = f"{tag}: the grid must say the engine's KV capacity"
        raise ValueError(msg)
    scale = KV_BYTES_PER_TOKEN[tag] / KV_BYTES_PER_TOKEN["qwen3-32b"]
    return Profile(
        name=f"h200-tp1-{tag}",
        roles=(Role.PREFILL, Role.DECODE, Role.UNIFIED),
        accelerator="H200-SXM",
        accelerators_per_replica=1,
        llm=LLM[tag],
        model=ReplicaModel(
            fit.fit_step(measured.decode, measured.mixed),
            fit.fit_prefill(single),
            Handover(HANDOVER_32B.base_s, HANDOVER_32B.per_token_s * scale, HANDOVER_32B.stall_per_token_s * scale),
            EngineLimits(capacity, measured.max_sequences, measured.max_batched_tokens, measured.block_tokens),
        ),
        provenance=Provenance(
            "measured",
            f"{measured.accelerator}, bf16, prefix caching off, random weights; hand-over from Qwen3-32B over NIXL"
            + ("" if scale == 1 else ", scaled by KV bytes per token"),
            "python -m tools.fit_profiles",
            _mean(fit.itl_errors_left_out(measured.decode)),
            _mean(fit.prefill_errors_left_out(single)),
        ),
        valid=ValidRange(
            batch=_range(point.batch for point in measured.decode),
            context_tokens=_range(point.context_tokens for point in measured.decode),
            prompt_tokens=_range(point.tokens for point in single),
        ),
        date=MEASURED_ON,
        engine="vllm",
        engine_version=measured.engine_version,
    )


def _range(values: Iterable[float]) -> tuple[float, float]:
    there = list(values)
    return min(there), max(there)


def _mean(errors: FloatArray) -> float:
    return float(np.abs(errors).mean())


if __name__ == "__main__":
    sys.exit(main())
