"""How well the performance models predict: ``make bench-models`` prints the table and writes it to the docs."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from autoscaler.domain.observation import Moments
from autoscaler.domain.units import Instant
from autoscaler.performance import fit, grid, queueing
from autoscaler.performance.accelerators import accelerator
from autoscaler.performance.admission import prefill_load
from autoscaler.performance.calibrate import Calibration, StepSample
from autoscaler.performance.prior import Prior, physics_prior
from autoscaler.performance.profile import load_profile
from autoscaler.performance.shapes import built_in
from autoscaler.performance.step import FloatArray, ReplicaModel
from benchmarks import _rows, queue_simulation, recording, silicon

ROOT = Path(__file__).resolve().parents[1]
TAGS = {"8b": "llama-3.1-8b", "32b": "qwen3-32b"}
LLMS = {"8b": "meta-llama/Llama-3.1-8B", "32b": "Qwen/Qwen3-32B"}
PAGE = ROOT / "docs" / "reference" / "model-accuracy.md"
BEGIN, END = "<!-- figures: make bench-models -->", "<!-- end of figures -->"
NO_TARGET = 100.0  # a worst point has a moonshot only
DRAWS, POINTS = 200, 3
PERIOD_S = 15.0
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
    note = "its constants were chosen on these two grids"
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
    note = "the time that pulled KV costs was chosen on this recording"
    yield Row("replay", "recorded 1P+1D, from minute 3, median", 100 * float(np.median(late)), "%", 4.0, 2.5, note)
    medians = {}
    for field in ("base_s", "per_sequence_s", "per_kv_token_s", "per_sequence_beyond_knee_s"):
        for factor in (0.5, 2.0):
            step = dataclasses.replace(prior.model.step, **{field: factor * getattr(prior.model.step, field)})
            wrong = Prior(dataclasses.replace(prior.model, step=step), prior.uncertainty)
            medians[f"{field} x{factor:g}"] = np.median([error for end, error in replay(wrong) if end >= 300])
    worst = max(medians, key=lambda name: medians[name])
    yield Row(
        "replay-wrong-prior", "the same from a wrong prior, by minute 5, median, worst case",
        100 * float(medians[worst]), "%", 8.0, 5.0, f"worst of {len(medians)}: {worst}",
    )  # fmt: skip


def silicon_rows() -> Iterable[Row]:
    """Yield the errors on public runs, where the extra is installed."""
    path = silicon.table_path()
    found = None if path is None else silicon.errors(path)
    absent = 'extra "profiles" is not installed: uv sync --extra profiles'
    tuned = "constants for experts, latents, 4 bits and TP > 1 were chosen on these runs"
    for key, what, target, moonshot, note in (
        ("left_out", "silicon table, TPOT left out, median over groups", 7.5, 5.0, ""),
        ("prior", "silicon table, prior alone, H100 and B200, median over groups", 12.0, 9.0, tuned),
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


def queue_errors() -> list[tuple[str, float]]:
    """Return each simulated case with the largest absolute error of P(wait > t) at its p90, p95 and p99."""
    found = []
    for seed, (servers, rho, cv, llm, mean, spread) in enumerate(CASES):
        model = load_profile(f"h200-tp1-{TAGS[llm]}").model
        unit = prefill_load(model, 1.0, cv**2, Moments(mean, mean**2 * (1 + spread**2)))
        load = dataclasses.replace(unit, arrivals_per_second=rho * servers / unit.service_mean_s)
        p = model.prefill
        pool = queue_simulation.Pool(
            servers, load.arrivals_per_second, cv, mean, spread, model.limits.max_batched_tokens,
            p.floor_s, p.base_s, p.per_token_s, p.per_token_squared_s,
        )  # fmt: skip
        count = REQUESTS * (4 if cv > 2 or rho > 0.9 else 1)
        wait = queue_simulation.simulate(pool, count, seed)[0][count // 20 :]
        errors = [
            abs(queueing.waiting_tail(load, servers, float(np.quantile(wait, q))) - (1 - q)) for q in (0.9, 0.95, 0.99)
        ]
        found.append((f"c {servers}, rho {rho}, CV {cv:g}, {llm}, {mean:g} tokens (CV {spread:g})", max(errors)))
    return found


def queue_rows() -> Iterable[Row]:
    """Yield the error of the queue's tail in the worst case, and its median over cases."""
    errors = queue_errors()
    worst = max(errors, key=lambda case: case[1])
    within = sum(error <= 0.02 for _, error in errors)
    note = f"{within} of {len(errors)} cases within 0.02; worst: {worst[0]}"
    yield Row("queue-tail", "P(wait > t) at p90 to p99 against simulation, worst case", worst[1], "", 0.02, 0.01, note)
    median = float(np.median([error for _, error in errors]))
    yield Row("queue-tail-median", "the same, median over cases", median, "", 0.02, 0.01)


def markdown(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = ["| what | value | target | moonshot | reached | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        value = "none" if row.value is None else f"{row.value:.3g} {row.unit}".strip()
        target = "none" if row.target == NO_TARGET else f"{row.target:g}"
        lines.append(f"| {row.what} | {value} | {target} | {row.moonshot:g} | {row.met} | {row.note} |")
    return "\n".join(lines)


def shared_rows(rows: Sequence[Row]) -> list[_rows.Row]:
    """Return the rows as every benchmark writes them; a value that is absent is NaN and no verdict."""
    return [
        _rows.Row(
            row.id,
            math.nan if row.value is None else float(row.value),
            row.unit,
            "" if row.target == NO_TARGET else f"<= {row.target:g}",
            f"<= {row.moonshot:g}",
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
    rows = [*fit_rows(measured), *prior_rows(measured), *replay_rows(), *silicon_rows(), *queue_rows()]
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
