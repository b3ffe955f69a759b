"""How well the performance models predict: ``make bench-models`` prints the table and writes it to the docs."""

import argparse
import asyncio
import dataclasses
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from autoscaler.decider import PLANNING_WINDOW
from autoscaler.domain.observation import Moments, Observation
from autoscaler.domain.pool import Role
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.observer import PrometheusHistory
from autoscaler.observe.recording import load_recording
from autoscaler.performance import fit, grid, transient
from autoscaler.performance.accelerators import accelerator
from autoscaler.performance.admission import prompt_time
from autoscaler.performance.calibrate import Calibration, StepSample, samples
from autoscaler.performance.prior import Prior, Uncertainty, physics_prior
from autoscaler.performance.profile import load_profile
from autoscaler.performance.shapes import built_in
from autoscaler.performance.step import FloatArray, ReplicaModel
from autoscaler.performance.transient import Loads
from autoscaler.plan.capacity import PrefillStage
from autoscaler.plan.traffic import TrafficClass
from autoscaler.policy import load_policies
from benchmarks import _rows, held_out, queue_simulation, recording, silicon

ROOT = Path(__file__).resolve().parents[1]
TAGS = {"8b": "llama-3.1-8b", "32b": "qwen3-32b"}
LLMS = {"8b": "meta-llama/Llama-3.1-8B", "32b": "Qwen/Qwen3-32B"}
PAGE = ROOT / "docs" / "reference" / "model-accuracy.md"
BEGIN, END = "<!-- figures: make bench-models -->", "<!-- end of figures -->"
NO_TARGET = 100.0  # a worst point has a moonshot only, what explains another row neither
DRAWS, POINTS = 200, 3
PERIOD_S = 15.0
COEFFICIENTS = {
    "step": ("base_s", "per_sequence_s", "per_kv_token_s", "per_sequence_beyond_knee_s"),
    "prefill": ("floor_s", "base_s", "per_token_s", "per_token_squared_s"),
    "handover": ("stall_per_token_s",),
}
REQUESTS = 2_000_000
"""Of each simulated queue; of bursty ones near saturation four times as many."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; a value that cannot be had here is absent, and ``note`` says why."""

    id: str
    what: str
    value: float | None
    unit: str
    target: float
    moonshot: float
    note: str = ""

    @property
    def met(self) -> str:
        """Return what was reached."""
        if self.value is None:
            return "not measured"
        if self.moonshot == NO_TARGET:
            return "no target"
        if self.value <= self.moonshot:
            return "moonshot"
        return "missed" if self.value > self.target or self.target == NO_TARGET else "target"


def grids() -> dict[str, grid.Grid]:
    """Return the measured grids."""
    folder = ROOT / "benchmarks" / "data"
    return {key: grid.read_grid(folder / f"h200-vllm-0.26-{tag}-tp1.json") for key, tag in TAGS.items()}


def fit_rows(measured: dict[str, grid.Grid]) -> Iterable[Row]:
    """Yield the errors of the forms, each point left out in turn."""
    targets = {"8b": (1.8, 1.2), "32b": (2.6, 1.8)}
    for key, each in measured.items():
        errors = 100 * np.abs(fit.itl_errors_left_out(each.decode))
        yield Row(f"itl-loo-{key}", f"ITL left out, {LLMS[key]}, mean", errors.mean(), "%", *targets[key])
        yield Row(f"itl-loo-worst-{key}", f"ITL left out, {LLMS[key]}, worst", errors.max(), "%", NO_TARGET, 8.0)
    for key, each in measured.items():
        alone = [point for point in each.prefill if point.prompts == 1]
        errors = 100 * np.abs(fit.prefill_errors_left_out(alone))
        yield Row(f"prefill-loo-{key}", f"prefill left out, {LLMS[key]}, mean", errors.mean(), "%", 3.0, 2.0)
        yield Row(
            f"prefill-loo-worst-{key}", f"prefill left out, {LLMS[key]}, worst", errors.max(), "%", NO_TARGET, 6.0
        )


def itl_errors(model: ReplicaModel, each: grid.Grid) -> FloatArray:
    """Return a model's relative errors over a grid's decode points."""
    batch = np.array([point.batch for point in each.decode])
    held = batch * np.array([point.context_tokens for point in each.decode])
    return np.asarray(model.step.step_s(batch, held) / np.array([point.itl_s for point in each.decode]) - 1.0)


def priors() -> dict[str, Prior]:
    """Return the physics priors of the measured engines."""
    return {key: physics_prior(accelerator("H200-SXM"), built_in(llm)) for key, llm in LLMS.items()}


def prior_rows(measured: dict[str, grid.Grid]) -> Iterable[Row]:
    """Yield the errors of the prior before and after three points, H200."""
    known = priors()
    note = "in sample: its constants were chosen on these two grids"
    for key, each in measured.items():
        errors = 100 * np.abs(itl_errors(known[key].model, each))
        yield Row(f"prior-itl-{key}", f"prior alone, ITL, {LLMS[key]}, mean", errors.mean(), "%", 15.0, 8.0, note)
        alone = [point for point in each.prefill if point.prompts == 1]
        times = known[key].model.prefill.latency_s([point.tokens for point in alone])
        errors = 100 * np.abs(times / np.array([point.latency_s for point in alone]) - 1.0)
        yield Row(
            f"prior-prefill-{key}", f"prior alone, prefill, {LLMS[key]}, mean", errors.mean(), "%", 15.0, 8.0, note
        )
    for key, each in measured.items():
        errors = 100 * three_points(known[key], each)
        what = f"prior + {POINTS} random points, {LLMS[key]}, {DRAWS} draws"
        yield Row(f"prior-3-median-{key}", f"{what}, median", float(np.median(errors)), "%", 7.0, 4.0, note)
        yield Row(f"prior-3-p90-{key}", f"{what}, p90", float(np.quantile(errors, 0.9)), "%", 15.0, 9.0, note)


def held_out_rows(measured: dict[str, grid.Grid]) -> Iterable[Row]:
    """Yield the errors of priors whose every coefficient comes from the grid of the other model."""
    for key, other in (("8b", "32b"), ("32b", "8b")):
        shapes = [built_in(LLMS[name]) for name in (other, key)]
        model = held_out.carried_over(measured[other], *shapes)
        note = f"held out: coefficients of {LLMS[other]}, in proportion to bytes and arithmetic"
        errors = 100 * np.abs(itl_errors(model, measured[key]))
        yield Row(f"held-out-itl-{key}", f"prior of the other model, ITL, {LLMS[key]}, mean", errors.mean(), "%",
                  15.0, 8.0, note)  # fmt: skip
        alone = [point for point in measured[key].prefill if point.prompts == 1]
        times = model.prefill.latency_s([point.tokens for point in alone])
        errors = 100 * np.abs(times / np.array([point.latency_s for point in alone]) - 1.0)
        yield Row(f"held-out-prefill-{key}", f"prior of the other model, prefill, {LLMS[key]}, mean", errors.mean(),
                  "%", 15.0, 8.0, note)  # fmt: skip
        errors = 100 * three_points(Prior(model, Uncertainty()), measured[key])
        what = f"prior of the other model + {POINTS} random points, {LLMS[key]}, {DRAWS} draws"
        yield Row(f"held-out-3-median-{key}", f"{what}, median", float(np.median(errors)), "%", 7.0, 4.0, note)
        yield Row(f"held-out-3-p90-{key}", f"{what}, p90", float(np.quantile(errors, 0.9)), "%", 15.0, 9.0, note)


def three_points(prior: Prior, each: grid.Grid) -> FloatArray:
    """Return the mean error over the whole grid of each draw of points to learn from."""
    random = np.random.default_rng(4)
    errors = []
    for _ in range(DRAWS):
        chosen = [each.decode[i] for i in random.choice(len(each.decode), POINTS, replace=False)]
        taught = [StepSample(p.batch, p.batch * p.context_tokens, p.itl_s) for p in chosen]
        state = Calibration.prior(prior.model, prior.uncertainty).updated(taught, Instant(0.0))
        errors.append(np.abs(itl_errors(state.model, each)).mean())
    return np.array(errors)


def replay(prior: Prior) -> list[tuple[float, float]]:
    """Return end of tick and relative error of ITL predicted from all ticks before, over the recorded 1P+1D run."""
    state = Calibration.prior(prior.model, prior.uncertainty)
    errors = []
    for tick in recording.ticks(PERIOD_S):
        model = state.model
        step_s = float(model.step.step_s(tick.batch, tick.kv_tokens))
        predicted = step_s * float(model.handover.dilation(tick.pulled_tokens_per_second))
        errors.append((tick.end_s, abs(predicted / tick.itl_s - 1.0)))
        sample = StepSample(max(1.0, tick.batch), tick.kv_tokens, tick.itl_s, tick.pulled_tokens_per_second)
        state = state.updated([sample], Instant(tick.end_s))
    return errors


def replay_rows() -> Iterable[Row]:
    """Yield the errors on the recorded run, from the right prior and from wrong ones."""
    prior = priors()["32b"]
    late = [error for end, error in replay(prior) if end > 180]
    note = "in sample: the time that pulled KV costs was chosen on this recording"
    yield Row("replay", "recorded 1P+1D, from minute 3, median", 100 * float(np.median(late)), "%", 4.0, 2.5, note)
    medians = {
        name: np.median([error for end, error in replay(wrong) if end >= 300]) for name, wrong in wrong_priors(prior)
    }
    worst = max(medians, key=lambda name: medians[name])
    yield Row(
        "replay-wrong-prior", "the same from a wrong prior, by minute 5, median, worst case",
        100 * float(medians[worst]), "%", 8.0, 5.0, f"worst of {len(medians)}: {worst}",
    )  # fmt: skip


def wrong_priors(prior: Prior) -> Iterable[tuple[str, Prior]]:
    """Yield the prior with each coefficient halved and doubled, and with all of them: decode, prefill and stall."""
    for factor in (0.5, 2.0):
        every = prior.model
        for part, names in COEFFICIENTS.items():
            for name in names:
                yield f"{name} x{factor:g}", Prior(_times(prior.model, part, name, factor), prior.uncertainty)
                every = _times(every, part, name, factor)
        yield f"all x{factor:g}", Prior(every, prior.uncertainty)


def _times(model: ReplicaModel, part: str, name: str, factor: float) -> ReplicaModel:
    """Return the model with one coefficient of one part multiplied."""
    old = getattr(model, part)
    return dataclasses.replace(model, **{part: dataclasses.replace(old, **{name: factor * getattr(old, name)})})


def prefill_errors(prior: Prior) -> list[tuple[float, float]]:
    """Return end of tick and relative error of the prefill time predicted from all ticks before, as ``replay``."""
    found = load_recording(ROOT / "examples" / "h200_pd")
    policies = load_policies([ROOT / "examples" / "h200_pd" / "policy.yaml"]).policies
    past = PrometheusHistory(policies, found.source(Windows(fast=Seconds(PERIOD_S))))

    async def observed() -> list[Observation]:
        return [each async for each in past.past(found.start, found.end, Seconds(PERIOD_S))]

    state, errors = Calibration.prior(prior.model, prior.uncertainty), []
    for observation in asyncio.run(observed()):
        engines = observation.models[policies[0].key].engines
        for sample in samples([engines[pod] for pod in engines if pod.startswith("p")], Role.PREFILL):
            errors.append((observation.at - found.start, abs(state.relative_error(sample))))
            state = state.updated([sample], observation.at)
    return errors


def prefill_replay_rows() -> Iterable[Row]:
    """Yield the errors of prefill times on the recorded run; vLLM reports how long they took, not how they fell."""
    prior = priors()["32b"]
    late = [error for end, error in prefill_errors(prior) if end > 180]
    yield Row("replay-prefill", "the same run, prefill time, from minute 3, median", 100 * float(np.median(late)), "%",
              NO_TARGET, NO_TARGET, "not in sample")  # fmt: skip
    medians = {
        name: float(np.median([error for end, error in prefill_errors(wrong) if end >= 300]))
        for name, wrong in wrong_priors(prior)
        if name.startswith(("floor", "per_token_s", "all"))
    }
    worst = max(medians, key=lambda name: medians[name])
    yield Row("replay-prefill-wrong-prior", "the same from a wrong prior, by minute 5, median, worst case",
              100 * medians[worst], "%", NO_TARGET, NO_TARGET, f"worst of {len(medians)}: {worst}")  # fmt: skip


def silicon_rows() -> Iterable[Row]:
    """Yield the errors on public runs, where the extra is installed."""
    path = silicon.table_path()
    found = None if path is None else silicon.errors(path)
    absent = 'extra "profiles" is not installed: uv sync --extra profiles'
    tuned = "in sample: constants for experts, latents, 4 bits and TP > 1 were chosen on these runs"
    for key, what, target, moonshot, note in (
        ("left_out", "silicon table, TPOT left out, median over groups", 7.5, 5.0, ""),
        ("prior", "silicon table, prior alone, H100 and B200, median over groups", 12.0, 9.0, tuned),
        (
            "held_out",
            "silicon table, prior alone, H200 with TP, experts or 8 bits, median over groups",
            12.0,
            9.0,
            "held out, but for the launch times by TP, chosen on four such groups",
        ),
    ):
        value = None if found is None else 100 * float(np.median(found[key]))
        groups = "" if found is None else f"{len(found[key])} groups; "
        yield Row(f"silicon-{key}", what, value, "%", target, moonshot, absent if found is None else groups + note)


CASES = [
    (servers, rho, cv, llm, mean, spread)
    for servers in (1, 4, 16)
    for rho in (0.7, 0.9, 0.95)
    for cv, llm, mean, spread in (
        (1.0, "32b", 3000.0, 0.6), (1.0, "8b", 800.0, 1.5), (2.0, "32b", 1300.0, 1.0), (4.0, "32b", 3000.0, 1.2),
    )
]  # fmt: skip


TAILS = (0.1, 0.05, 0.01)
"""P(wait > t) at the times t that are compared: p90, p95 and p99 of the simulated waits."""

LONG_RUN_S = 1e7


@dataclasses.dataclass(frozen=True, slots=True)
class QueueErrors:
    """Errors of P(wait > t) in one simulated case, shape (3,), as ``TAILS``; below 0: optimistic."""

    case: str
    windows: FloatArray  # in windows that begin with an empty queue, for which pools are sized
    long_run: FloatArray  # in the steady state


def queue_errors() -> list[QueueErrors]:
    """Return every simulated case."""
    return [_queue_errors(seed, *case) for seed, case in enumerate(CASES)]


def _queue_errors(seed: int, servers: int, rho: float, cv: float, llm: str, mean: float, spread: float) -> QueueErrors:
    model, tokens = load_profile(f"h200-tp1-{TAGS[llm]}").model, Moments(mean, mean**2 * (1 + spread**2))
    arrivals_per_second = rho * servers / prompt_time(model, tokens).mean
    p = model.prefill
    pool = queue_simulation.Pool(
        servers, arrivals_per_second, cv, mean, spread, model.limits.max_batched_tokens,
        p.floor_s, p.base_s, p.per_token_s, p.per_token_squared_s,
    )  # fmt: skip
    count = REQUESTS * (4 if cv > 2 or rho > 0.9 else 1)
    steady = np.quantile(queue_simulation.simulate(pool, count, seed)[0][count // 20 :], 1 - np.array(TAILS))
    windows = queue_simulation.simulate_windows(pool, count, seed, PLANNING_WINDOW)
    limited = np.quantile(windows, 1 - np.array(TAILS))
    planned = planner_loads(model, tokens, cv**2, arrivals_per_second)

    def tail(waits_s: FloatArray, window_s: float) -> FloatArray:
        return np.asarray(transient.waiting_tail(planned, servers, waits_s, window_s)[0])

    return QueueErrors(
        f"c {servers}, rho {rho}, CV {cv:g}, {llm}, {mean:g} tokens (CV {spread:g})",
        windows=tail(limited, PLANNING_WINDOW) - TAILS,
        long_run=tail(steady, LONG_RUN_S) - TAILS,
    )


def planner_loads(model: ReplicaModel, tokens: Moments, dispersion: float, arrivals_per_second: float) -> Loads:
    """Return a load as the planner's prefill stage makes it, of one class of requests."""
    profile = RequestProfile("default", SLO(Seconds(60.0), Seconds(1.0), 0.99))
    traffic = TrafficClass(profile, prompt=tokens, uncached=tokens, output=Moments(1.0, 1.0), burstiness=dispersion)
    stage = PrefillStage.of(model, [traffic], 0.0, PLANNING_WINDOW, hands_over=True)
    return stage.under(np.array([[arrivals_per_second * tokens.mean]])).loads


def queue_rows() -> Iterable[Row]:
    """Yield the errors of the queue's tail."""
    cases = queue_errors()
    minutes = f"windows of {PLANNING_WINDOW:g} s that begin empty"
    yield from _tail_rows("queue-tail", f"P(wait > t), {minutes}", cases, "windows")
    yield from _tail_rows("queue-long-run", "P(wait > t), steady state", cases, "long_run")


def _tail_rows(key: str, what: str, cases: Sequence[QueueErrors], of: str) -> Iterable[Row]:
    """Yield the error in the worst case, its median over cases, and the most optimistic one."""
    errors = [(case.case, float(np.abs(getattr(case, of)).max()), -float(getattr(case, of).min())) for case in cases]
    name, worst, _ = max(errors, key=lambda case: case[1])
    within = sum(error <= 0.02 for _, error, _ in errors)
    note = f"held out; {within} of {len(errors)} cases within 0.02; worst: {name}"
    yield Row(key, f"{what}, p90 to p99 against simulation, worst case", worst, "", 0.02, 0.01, note)
    median = float(np.median([error for _, error, _ in errors]))
    yield Row(f"{key}-median", "the same, median over cases", median, "", 0.02, 0.01, "held out")
    name, _, optimism = max(errors, key=lambda case: case[2])
    yield Row(f"{key}-optimism", "the same, most optimistic", max(0.0, optimism), "", 0.02, 0.01, name)


def markdown(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = ["| what | value | target | moonshot | reached | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        value = "none" if row.value is None else f"{row.value:.3g} {row.unit}".strip()
        target = "none" if row.target == NO_TARGET else f"{row.target:g}"
        moonshot = "none" if row.moonshot == NO_TARGET else f"{row.moonshot:g}"
        lines.append(f"| {row.what} | {value} | {target} | {moonshot} | {row.met} | {row.note} |")
    return "\n".join(lines)


def shared_rows(rows: Sequence[Row]) -> list[_rows.Row]:
    """Return the rows as every benchmark writes them; a value that is absent is NaN and no verdict."""
    return [
        _rows.Row(
            row.id,
            math.nan if row.value is None else float(row.value),
            row.unit,
            "" if row.target == NO_TARGET else f"<= {row.target:g}",
            "" if row.moonshot == NO_TARGET else f"<= {row.moonshot:g}",
            None if row.value is None or row.target == NO_TARGET else bool(row.value <= row.target),
        )
        for row in rows
    ]


def main() -> int:
    """Measure, print, write ``build/bench/models.json`` and the figures of ``docs/reference/model-accuracy.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-docs", action="store_true", help="leave the page in docs/ as it is")
    arguments = parser.parse_args()
    measured = grids()
    rows = [
        *fit_rows(measured),
        *prior_rows(measured),
        *held_out_rows(measured),
        *replay_rows(),
        *prefill_replay_rows(),
        *silicon_rows(),
        *queue_rows(),
    ]
    table = markdown(rows)
    print(table)
    _rows.write("models", shared_rows(rows))
    if not arguments.no_docs:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
