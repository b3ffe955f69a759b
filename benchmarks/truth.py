"""How true the simulator is: replays the arrivals of two recorded runs of vLLM on H200s and compares every phase.

    python -m benchmarks.truth                      # compare, print, write docs/reference/simulator-accuracy.md
    python -m benchmarks.truth --extract FOLDER     # make benchmarks/data/h200-vllm-0.26-*-run.json from raw recordings

Two runs of Qwen3-32B under the same load of seven 50-second phases: one prefill and one decode engine with the KV over
NIXL, and two unified engines. Latencies are those of the client.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Seconds
from autoscaler.performance.profile import load_profile
from autoscaler.performance.step import EngineLimits, PrefillModel, ReplicaModel
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.pods import Supply
from autoscaler.simulate.router import Routing
from autoscaler.simulate.run import stay
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.startup import StartUp
from autoscaler.simulate.trace_files import from_columns
from benchmarks._rows import Row, write

FloatArray = NDArray[np.float64]

DATA = Path(__file__).parent / "data"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "simulator-accuracy.md"
RUNS = {"pd": "pd-1p1d-qwen3-32b", "unified": "agg-2-qwen3-32b"}
PROFILE = "h200-tp1-qwen3-32b"
QUANTILES = (50, 90, 99)
SATURATED = (4, 5)

# Declared constants of the P/D pair, beside the profile, which was fitted to other measurements.
MEAN_STEP_S = 0.02095  # mean ITL over the phases of the recording
STEPS_IN_HANDOVER = 2.5  # half a step in flight, one formed ahead, and the first step itself: the engine adds them
HANDOVER_BASE_S = 0.12 - STEPS_IN_HANDOVER * MEAN_STEP_S  # client TTFT less prefill time is 0.12 s + 11 us a token
HANDOVER_PER_TOKEN_S = 11e-6
PREFILL_LIMITS = EngineLimits(kv_capacity_tokens=204_800, max_sequences=64)  # as the engines of the runs were started
DECODE_LIMITS = EngineLimits(kv_capacity_tokens=225_280, max_sequences=128)
UNIFIED_LIMITS = EngineLimits(kv_capacity_tokens=204_800, max_sequences=128)
PREFILL_SLOWER = 1.02  # a prefill engine with a KV connector against one without
PREFILL_STEP_MORE_S = 0.010


@dataclass(frozen=True)
class Recording:
    """One run: what arrived, and what the client saw."""

    name: str
    starts_s: list[float]
    arrival_s: list[float]
    profile: list[str]
    input_tokens: list[int]
    output_tokens: list[int]
    ttft_s: FloatArray
    itl_ms: list[dict[str, float]]  # by phase: quantiles of all gaps of the requests that arrived in it

    @property
    def phase(self) -> NDArray[np.intp]:
        """Return the phase (0 ..) of every request."""
        return np.searchsorted(self.starts_s, self.arrival_s, side="right") - 1


def load(run: str) -> Recording:
    """Load a run from ``benchmarks/data``."""
    data = json.loads((DATA / f"h200-vllm-0.26-{run}-run.json").read_text(encoding="utf-8"))
    columns = dict(zip(data["columns"], zip(*data["requests"], strict=True), strict=True))
    return Recording(
        name=run,
        starts_s=data["phase_starts_s"],
        arrival_s=list(columns["arrival_s"]),
        profile=list(columns["profile"]),
        input_tokens=list(columns["input_tokens"]),
        output_tokens=list(columns["output_tokens"]),
        ttft_s=np.array(columns["ttft_s"]),
        itl_ms=data["itl_ms"],
    )


def extract(folder: Path) -> None:
    """Make the small files in ``benchmarks/data`` from the raw recordings."""
    for run, name in RUNS.items():
        with gzip.open(folder / name / "requests.jsonl.gz", "rt", encoding="utf-8") as file:
            requests = [json.loads(line) for line in file if line.strip()]
        requests = sorted((r for r in requests if r["profile"] != "warmup"), key=lambda r: float(r["t"]))
        phases = json.loads((folder / name / "summary.json").read_text(encoding="utf-8"))["phases"]
        start = phases[0]["start"]
        starts = [phase["start"] - start for phase in phases]
        phase = np.searchsorted(starts, [r["t"] - start for r in requests], side="right") - 1
        gaps = [np.concatenate([r["itl_ms"] for r, p in zip(requests, phase, strict=True) if p == i]) for i in range(7)]
        rows = [[round(r["t"] - start, 4), r["profile"], r["isl"], r["n"], r["ttft"]] for r in requests]
        data = {
            "phase_starts_s": [round(value, 4) for value in starts],
            "itl_ms": [{str(q): round(float(np.percentile(g, q)), 2) for q in QUANTILES} for g in gaps],
            "columns": ["arrival_s", "profile", "input_tokens", "output_tokens", "ttft_s"],
            "requests": rows,
        }
        (DATA / f"h200-vllm-0.26-{run}-run.json").write_text(json.dumps(data, indent=None) + "\n", encoding="utf-8")


def models(*, declared: bool) -> tuple[ReplicaModel, ReplicaModel]:
    """Return the prefill and the decode replica of the P/D pair, with or without the declared constants."""
    profile = load_profile(PROFILE).model
    if not declared:
        handover = profile.handover  # the engine adds the steps that the measured line contains
        base = handover.base_s - STEPS_IN_HANDOVER * profile.step.base_s
        decode = replace(profile, handover=replace(handover, base_s=base), limits=DECODE_LIMITS)
        return replace(profile, limits=PREFILL_LIMITS), decode
    handover = replace(profile.handover, base_s=HANDOVER_BASE_S, per_token_s=HANDOVER_PER_TOKEN_S)
    p, slower, more = profile.prefill, PREFILL_SLOWER, PREFILL_STEP_MORE_S
    prefill = PrefillModel(
        floor_s=p.floor_s * slower + more,
        base_s=p.base_s * slower + more,
        per_token_s=p.per_token_s * slower,
        per_token_squared_s=p.per_token_squared_s * slower,
        corner=p.corner,
    )
    decode = replace(profile, handover=handover, limits=DECODE_LIMITS)
    return replace(profile, prefill=prefill, limits=PREFILL_LIMITS), decode


def replay(recording: Recording, replicas: dict[Role, tuple[ReplicaModel, int]]) -> tuple[FloatArray, list[FloatArray]]:
    """Return what the simulator says: TTFT by request, and all gaps between its tokens by phase (ms)."""
    trace = from_columns(
        {
            "arrival_s": recording.arrival_s,
            "profile": recording.profile,
            "input_tokens": recording.input_tokens,
            "output_tokens": recording.output_tokens,
        },
        name=recording.name,
    )
    slo = SLO(Seconds(2.0), Seconds(0.05))
    variants = tuple(_variant(role) for role in replicas)
    policy = SLOPolicy(
        "truth", "bench", "qwen3-32b", tuple(RequestProfile(name, slo) for name in trace.profiles), variants
    )
    supplies = {role.value: Supply(model, StartUp(Seconds(0.0)), count) for role, (model, count) in replicas.items()}
    world = SimulatedCluster(
        policy, trace, supplies, settings=ClusterSettings(routing=Routing.ROUND_ROBIN, handover_steps=0.0)
    )
    engines = [pod.engine for pod in world.fleet.pods.values()]
    for engine in engines:
        engine.batch.segments = []
    results = stay(world).results
    ends = [_token_times(engine.batch.segments or []) for engine in engines if engine.role.decodes]
    first, phases = results.ttft_s + trace.arrival_s, recording.phase
    gaps: list[list[FloatArray]] = [[] for _ in recording.starts_s]
    for row, phase in enumerate(phases):
        times = ends[row % len(ends)]  # round robin: request i ran on engine i mod n
        after = times[np.searchsorted(times, first[row] + 1e-4) : np.searchsorted(times, results.finish_s[row] + 1e-4)]
        gaps[phase].append(np.diff(np.append(first[row], after)) * 1e3)
    return results.ttft_s, [np.concatenate(parts) for parts in gaps]


def _variant(role: Role) -> Variant:
    target = ScaleTarget("bench", "apps/v1", "Deployment", role.value)
    return Variant(role.value, role, target, "H200-SXM", 1, 1.0, 0, 8)


def _token_times(segments: Sequence[tuple[float, float, float, int, int]]) -> FloatArray:
    """Return when each step that decoded something ended."""
    parts = [np.zeros(0)]
    for start, first, growth, steps, batch in segments:
        if batch:
            k = np.arange(1, steps + 1)
            parts.append(start + k * first + growth * k * (k - 1) / 2)
    return np.concatenate(parts)


Limit = Callable[[int, str, int], float | None]


def pd_limit(phase: int, what: str, quantile: int) -> float | None:
    """Return how far off the P/D pair may be, in per cent."""
    if what == "itl":
        return {50: 4.0, 90: 8.0}.get(quantile)
    if phase in SATURATED:
        return 20.0 if quantile < 99 else None
    return {50: 10.0, 90: 12.0}.get(quantile)


def unified_limit(phase: int, what: str, quantile: int) -> float | None:
    """Return how far off the two unified engines may be, in per cent."""
    return 25.0 if (phase, what, quantile) == (4, "itl", 99) else None


def no_limit(phase: int, what: str, quantile: int) -> float | None:  # noqa: ARG001  # same signature as the others
    """Return that nothing was promised."""
    return None


def compare(name: str, recording: Recording, said: tuple[FloatArray, list[FloatArray]], limit: Limit) -> list[Row]:
    """Return the error of every phase and quantile, in per cent."""
    ttft, gaps = said
    rows = []
    for phase in range(len(recording.starts_s)):
        here = recording.phase == phase
        for what, measured, simulated in (
            (
                "ttft",
                np.percentile(recording.ttft_s[here], QUANTILES) * 1e3,
                np.percentile(ttft[here], QUANTILES) * 1e3,
            ),
            ("itl", [recording.itl_ms[phase][str(q)] for q in QUANTILES], np.percentile(gaps[phase], QUANTILES)),
        ):
            for q, real, ours in zip(QUANTILES, measured, simulated, strict=True):
                error, allowed = 100.0 * (ours / real - 1.0), limit(phase + 1, what, q)
                row = Row(f"{name}-{phase + 1}-{what}-p{q}", round(float(error), 1), "%")
                if allowed is not None:
                    row = replace(row, target=f"within {allowed:g}", met=bool(abs(error) <= allowed))
                rows.append(row)
    return rows


def grid(rows: Sequence[Row], name: str) -> str:
    """Return one run's errors as a table: phases down, quantiles across; what missed its target is bold."""
    cells = {row.id: row for row in rows}
    heads = [f"{what} p{q}" for what in ("TTFT", "ITL") for q in QUANTILES]
    lines = ["| phase | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for phase in range(1, 8):
        row = [cells[f"{name}-{phase}-{what}-p{q}"] for what in ("ttft", "itl") for q in QUANTILES]
        lines.append(f"| {phase} | " + " | ".join(_cell(cell) for cell in row) + " |")
    return "\n".join(lines)


def _cell(row: Row) -> str:
    return f"**{row.value:+.1f}**" if row.met is False else f"{row.value:+.1f}"


def page(rows: Sequence[Row]) -> str:
    """Return the page on accuracy."""
    judged = [row for row in rows if row.met is not None]
    missed = [row for row in judged if not row.met]
    ttft = [abs(row.value) for row in judged if "-ttft-" in row.id and row.id.startswith("pd-")]
    itl = [abs(row.value) for row in judged if "-itl-" in row.id and row.id.startswith("pd-")]
    verdict = "All targets are met." if not missed else "Missed: " + ", ".join(row.id for row in missed) + "."
    return TEXT.format(
        pd=grid(rows, "pd"),
        unified=grid(rows, "unified"),
        alone=grid(rows, "alone"),
        verdict=f"{len(judged) - len(missed)} of {len(judged)} figures are inside their targets. {verdict}",
        mean=f"Mean error over the judged figures: TTFT {np.mean(ttft):.1f} %, ITL {np.mean(itl):.1f} %.",
        base=f"{HANDOVER_BASE_S:.4f}",
    )


TEXT = """# How true the simulator is

Made by `make bench-truth` (`python -m benchmarks.truth`); not by hand.

The arrivals of two recorded runs (vLLM 0.26, Qwen3-32B on H200, 1,178 requests in seven phases of 50 s; phase 4
saturates prefill, phase 5 recovers from it, phase 6 loads decode) are replayed in the simulator with the profile
`h200-tp1-qwen3-32b`, which was fitted to measurements of a single engine. The tables give simulated over measured,
less one, in per cent, for all requests of a phase (TTFT at the client) and all gaps between their tokens (ITL). Bold:
outside the target.

{verdict} {mean} The best published simulator reports 7 % (ITL) and 18 % (TTFT) on its own data.

## One prefill and one decode engine, KV over NIXL

Targets: ITL p50 within 4 %, p90 within 8 %; TTFT p50 within 10 %, p90 within 12 %; in phases 4 and 5 TTFT within 20 %.
No target was set for p99.

{pd}

Constants declared for this pair beside the profile, all of them **in sample**: the last two were chosen on this
recording, the first two are its regression line.

- Hand-over: {base} s + 11 us a prompt token. The recording's line is 0.12 s + 11 us (client TTFT less prefill time,
  phases without saturation); 2.5 mean decode steps are taken off, because the engine adds them itself: half a step in
  flight, one step that is already formed, and the step that yields the first token.
- Prefill steps are 2 % slower and 10 ms longer than on an engine without KV connector.

The same run with the shipped profile alone (hand-over 0.12 s + 15 us a token less 2.5 idle steps, nothing declared):
how far off a forecast is. Near saturation 2 % of prefill speed decides.

{alone}

## Two unified engines, round robin

Target: ITL p99 in phase 4 within 25 %. Nothing is declared: profile and engine rules only.

{unified}

## What carries the result

Two rules of the engine were found by these comparisons and hold beyond them:

- `schedule-ahead`: vLLM forms a step while the one before it runs, so what arrives waits for one whole step more. It
  moves TTFT p50 of the unified engines by 20 ms.
- `posting-stalls-decode`: posting a pull (18 ms for 1,270 tokens) holds up one decode step. It makes the P/D pair's
  ITL p99 and, in phase 6, its p90.

## What is not modelled

Jitter of single steps (the measured ITL p90 is above the simulated one in busy unified phases), the client's and the
proxy's own time, failed transfers, and the speculative slot of a sequence that has just ended.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and write the page and the rows; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extract", type=Path, metavar="FOLDER", help="make the data files from raw recordings")
    options: Any = parser.parse_args(arguments)
    if options.extract:
        extract(options.extract)
        return 0
    pair, unified = load("pd"), load("unified")
    prefill, decode = models(declared=True)
    alone, alone_decode = models(declared=False)
    fleets = {
        "pd": (pair, {Role.PREFILL: (prefill, 1), Role.DECODE: (decode, 1)}, pd_limit),
        "alone": (pair, {Role.PREFILL: (alone, 1), Role.DECODE: (alone_decode, 1)}, no_limit),
        "unified": (unified, {Role.UNIFIED: (replace(alone, limits=UNIFIED_LIMITS), 2)}, unified_limit),
    }
    rows = [
        row
        for name, (run, replicas, limit) in fleets.items()
        for row in compare(name, run, replay(run, replicas), limit)
    ]
    text = page(rows)
    print(text)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(f"written: {PAGE} and {write('truth', rows)}")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
