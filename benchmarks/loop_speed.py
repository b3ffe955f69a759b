"""How long a decision takes: 500 models, two roles, two variants each, on one core.

    python -m benchmarks.loop_speed                     # about a minute; writes docs/reference/loop-speed.md
    python -m benchmarks.loop_speed --models 20 --profile

Synthetic observations in, a plan out; processor time of ``Decider.decide`` without reading metrics, writing replicas.
Load wanders from tick to tick, so that nothing is remembered from the tick before. Profiles per model: two. Deciders
have a quarter of an hour of experience, because that takes time too; memory is that of one model after a day.
"""

import argparse
import cProfile
import gc
import math
import pstats
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from autoscaler import collector
from autoscaler.decider import Decider
from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import EngineLoad, Latency, ModelObservation, Moments, Observation, ProfileLoad
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.performance.profile import load_profile
from benchmarks._rows import Row, told, write

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "loop-speed.md"
PERIOD = Seconds(15.0)
PRICES = {"cheap": 2.0, "dear": 4.0}
KINDS = {"rag": (2.0, 3000.0, 64.0), "default": (4.0, 800.0, 200.0)}  # requests/s, prompt and output tokens
PODS = 3
TARGET_S, MOONSHOT_S = 1.0, 0.3
MINUTE = 4  # ticks
EXPERIENCE = 15  # minutes before the ticks that are measured
DAY = 1440  # minutes


def policies(models: int) -> list[SLOPolicy]:
    """Return policies of two roles with two variants each."""
    variants = tuple(
        Variant(
            f"{role}-{name}", role, ScaleTarget("llm", "apps/v1", "Deployment", f"{role}-{name}"), "H200-SXM", 1,
            price, 1, 40,
        )
        for role in (Role.PREFILL, Role.DECODE)
        for name, price in PRICES.items()
    )  # fmt: skip
    profiles = (
        RequestProfile("rag", SLO(Seconds(3.0), Seconds(0.05))),
        RequestProfile("default", SLO(Seconds(2.0), Seconds(0.04))),
    )
    return [SLOPolicy(f"model-{n}", "llm", "m", profiles, variants) for n in range(models)]


def decider(known: Sequence[SLOPolicy]) -> Decider:
    """Return a decider without experience."""
    profile = load_profile("h200-tp1-qwen3-32b")
    priors = {
        policy.key: {v.name: Prior(profile.for_role(v.role), MEASURED) for v in policy.variants} for policy in known
    }
    return Decider(known, priors, period=PERIOD)


def observation(known: Sequence[SLOPolicy], tick: int) -> Observation:
    """Return what one tick sees of all models."""
    at = Instant(1_000_000.0 + PERIOD * tick)
    return Observation(at, {policy.key: _model(policy, n, tick, at) for n, policy in enumerate(known)})


def _model(policy: SLOPolicy, number: int, tick: int, at: Instant) -> ModelObservation:
    swing = 1.0 + 0.4 * math.sin(0.3 * tick + number)
    fleet: dict[str, Workload] = {}
    engines: dict[str, EngineLoad] = {}
    for variant in policy.variants:
        pods = tuple(
            Pod(
                f"{policy.name}-{variant.name}-{n}",
                variant.name,
                PodState.READY,
                Instant(1.0),
                ready_since=Instant(99.0),
            )
            for n in range(PODS)
        )
        fleet[variant.name] = Workload(variant.name, PODS, pods)
        engines |= {pod.name: _engine(pod.name, variant.role, swing, at) for pod in pods}
    loads = {name: _load(name, rate * swing, prompt, output) for name, (rate, prompt, output) in KINDS.items()}
    return ModelObservation(policy.key, loads, fleet, engines, 0.0)


def _load(name: str, rate: float, prompt: float, output: float) -> ProfileLoad:
    fine = Latency(0.2, 0.2, 0.3, 0.5, 0.995, 100.0)
    lengths = Moments(prompt, 1.3 * prompt**2), Moments(output, 1.3 * output**2)
    return ProfileLoad(name, rate, rate * prompt, rate * prompt, rate * output, *lengths, fine, fine, 0.0)


def _engine(pod: str, role: Role, swing: float, at: Instant) -> EngineLoad:
    prefill = role is Role.PREFILL
    return EngineLoad(
        pod=pod,
        running=4.0 * swing,
        waiting=0.0,
        deferred=0.0,
        kv_use_ratio=0.2 * swing,
        kv_capacity_tokens=200_000.0,
        prompt_tokens_per_second=1500.0 * swing,
        computed_prompt_tokens_per_second=1500.0 * swing if prefill else 0.0,
        output_tokens_per_second=0.0 if prefill else 150.0 * swing,
        requests_per_second=1.0 * swing,
        itl_mean_s=0.02,
        prefill_mean_s=0.15,
        queue_mean_s=0.02,
        ttft_mean_s=0.2,
        preemptions_per_second=0.0,
        newest_sample=at,
    )


def experienced(known: Sequence[SLOPolicy], minutes: int) -> Decider:
    """Return a decider that has seen an observation of each of some minutes."""
    deciding = decider(known)
    deciding.warm(observation(known, tick) for tick in range(0, MINUTE * minutes, MINUTE))
    return deciding


def seconds(deciding: Decider, known: Sequence[SLOPolicy], ticks: range) -> list[float]:
    """Return the processor time of each decision."""
    spent = []
    for tick in ticks:
        seen = observation(known, tick)
        before = time.process_time()
        with collector.paused():  # as the controller does for a whole tick
            deciding.decide(seen)
        spent.append(time.process_time() - before)
    return spent


def remembered_bytes() -> int:
    """Return the memory that a decider of one model holds after a day (learned models, trained elsewhere, apart)."""
    experienced(policies(1), EXPERIENCE)  # what is loaded and cached once is no model's
    tracemalloc.start()
    deciding = experienced(policies(1), DAY)
    gc.collect()  # as the controller does between ticks: it also empties the interpreter's lists of spare objects
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del deciding  # held until here
    return held


TEXT = """# How long a decision takes

Made by `make bench-loop-speed` (`python -m benchmarks.loop_speed`); not by hand. Processor time of `Decider.decide` on
one core of whatever machine ran it: calibrate, forecast and plan for {models} models of two roles, two variants and two
profiles each, three replicas per variant. Median and largest of {ticks} ticks after a quarter of an hour of experience:
the largest is a tick at which a minute ends, so that forecasts are scored and made anew. The first decision knows
nothing yet. No metrics are read, nothing is written. The garbage collector pauses, as it does in a tick of the
controller: what became garbage is looked for between ticks, and that time is not in these figures.

{table}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write ``build/bench/loop-speed.json``; 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=500, help="how many (the page is written for 500)")
    parser.add_argument("--ticks", type=int, default=2 * MINUTE, help="decisions that are measured")
    parser.add_argument("--profile", action="store_true", help="also say where the time goes")
    wanted = parser.parse_args(arguments)
    profiler = cProfile.Profile()
    if wanted.profile:
        profiler.enable()
    known, begin = policies(wanted.models), MINUTE * EXPERIENCE
    (first,) = seconds(decider(known), known, range(1))
    spent = seconds(experienced(known, EXPERIENCE), known, range(begin, begin + wanted.ticks))
    profiler.disable()
    typical = median(spent)
    rows = [
        Row("decision-time", round(typical, 3), "s", f"<= {TARGET_S:g}", f"<= {MOONSHOT_S:g}", typical <= TARGET_S),
        Row("decision-time-largest", round(max(spent), 3), "s"),
        Row("decision-time-first", round(first, 3), "s"),
        Row("decision-time-per-model", round(1000 * typical / wanted.models, 3), "ms"),
        Row("memory-per-model-after-a-day", round(remembered_bytes() / 2**20, 2), "MiB"),
    ]
    print(told(rows))
    if wanted.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    if wanted.models == 500 and not wanted.profile:
        PAGE.write_text(TEXT.format(models=wanted.models, ticks=wanted.ticks, table=told(rows)), encoding="utf-8")
        print(f"written: {PAGE}, {write('loop-speed', rows)}")
    return 1 if rows[0].met is False else 0


if __name__ == "__main__":
    sys.exit(main())
