"""``autoscaler profile``: fit, show, compare and estimate performance profiles."""

import datetime as dt
import importlib
import importlib.util
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from autoscaler.performance import fit as fitting
from autoscaler.performance import grid
from autoscaler.performance.accelerators import accelerator as accelerator_named
from autoscaler.performance.estimate import estimated
from autoscaler.performance.prior import Serving, physics_prior
from autoscaler.performance.profile import Profile, Provenance, ValidRange, dump_profile, load_profile
from autoscaler.performance.shapes import Shape, built_in, shape_of
from autoscaler.performance.step import EngineLimits, ReplicaModel

app = typer.Typer(name="profile", help="Say how fast a replica is: fit, show, compare, estimate.", no_args_is_help=True)

ModelOption = Annotated[str, typer.Option("--model", help="Hugging Face name of a common model, e.g. Qwen/Qwen3-32B.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The model's config.json, where it is not common.")]
AcceleratorOption = Annotated[str, typer.Option("--accelerator", help="E.g. H200-SXM.")]
ParallelOption = Annotated[int, typer.Option("--tensor-parallel", min=1, help="Accelerators per replica.")]
BitsOption = Annotated[int, typer.Option("--weight-bits", help="16, 8 or 4.")]
BATCHES = (1, 8, 32, 128)
LENGTHS = (256, 1024, 4096, 16384)
CONTEXT = 1000.0


def _shape(model: str, config: Path | None) -> Shape:
    return built_in(model) if config is None else shape_of(grid.read_json(config), model)


@app.command(epilog="Example: autoscaler profile fit grid.json --name mine --model Qwen/Qwen3-32B -a H200-SXM")
def fit(
    files: Annotated[list[Path], typer.Argument(help="Grid JSON, vllm bench serve JSON or GuideLLM JSON.")],
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the new profile.")],
    model: ModelOption,
    accelerator: Annotated[str, typer.Option("--accelerator", "-a", help="E.g. H200-SXM.")],
    config: ConfigOption = None,
    tensor_parallel: ParallelOption = 1,
    weight_bits: BitsOption = 16,
) -> None:
    """Fit a profile to benchmark files and print it; what they do not say is taken from physics, and marked."""
    prior = _prior(_shape(model, config), accelerator, tensor_parallel, weight_bits)
    grids = [grid.read_benchmark(path) for path in files]
    decode = [point for each in grids for point in each.decode]
    prefill = [point for each in grids for point in each.prefill if point.prompts == 1]
    try:
        step = fitting.fit_step(decode, [point for each in grids for point in each.mixed]) if decode else prior.step
        passes = fitting.fit_prefill(prefill) if prefill else prior.prefill
    except ValueError as error:
        msg = f"{', '.join(map(str, files))}: {error}; add files with other batches, contexts or lengths"
        raise InputError(msg) from error
    measured = next((each for each in grids if each.kv_capacity_tokens is not None), None)
    limits = prior.limits if measured is None else _limits(measured)
    missing = [part for part, points in (("step", decode), ("prefill", prefill)) if not points]
    source = ", ".join(path.name for path in files) + (
        f"; {' and '.join(missing)} derived by physics" if missing else ""
    )
    made = Profile(
        name=name,
        roles=tuple(Role),
        accelerator=accelerator_named(accelerator).name,
        accelerators_per_replica=tensor_parallel,
        llm=model,
        model=ReplicaModel(step, passes, prior.handover, limits),
        provenance=Provenance("measured", source, f"autoscaler profile fit {' '.join(path.name for path in files)}"),
        valid=ValidRange(
            batch=_span([point.batch for point in decode]),
            context_tokens=_span([point.context_tokens for point in decode]),
            prompt_tokens=_span([point.tokens for point in prefill]),
        ),
        date=dt.datetime.fromtimestamp(max(path.stat().st_mtime for path in files), tz=dt.UTC).date(),
        engine="vllm",
        engine_version=grids[0].engine_version,
    )
    typer.echo(dump_profile(made), nl=False)


def _span(values: list[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def _limits(measured: grid.Grid) -> EngineLimits:
    capacity = measured.kv_capacity_tokens
    assert capacity is not None  # noqa: S101 - chosen so by the caller
    return EngineLimits(capacity, measured.max_sequences, measured.max_batched_tokens, measured.block_tokens)


def _prior(shape: Shape, accelerator: str, tensor_parallel: int, weight_bits: int) -> ReplicaModel:
    try:
        return physics_prior(
            accelerator_named(accelerator), shape, Serving(tensor_parallel=tensor_parallel, weight_bits=weight_bits)
        ).model
    except ValueError as error:
        raise InputError(str(error)) from error


@app.command(name="show", epilog="Example: autoscaler profile show h200-tp1-qwen3-32b --plot curves.svg")
def show_profile(
    profile: Annotated[str, typer.Argument(help="Name of a profile that ships, or a file.")],
    *,
    data: Annotated[Path | None, typer.Option("--data", help="Benchmark file to draw beside the curves.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Where to draw the curves: .png or .svg.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a profile says, and draw its curves with the data."""
    found = load_profile(profile)
    show(_figures(found), [_head(found), *_tables([found])], output)
    if plot is not None:
        _draw(found, None if data is None else grid.read_benchmark(data), plot)


@app.command(epilog="Example: autoscaler profile compare h200-tp1-qwen3-32b mine.yaml")
def compare(
    profiles: Annotated[list[str], typer.Argument(help="Names or files of two or more profiles.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Compare profiles: step times, prefill times, KV capacity."""
    found = [load_profile(profile) for profile in profiles]
    show([_figures(each) for each in found], _tables(found), output)


@app.command(epilog="Example: autoscaler profile estimate --model Qwen/Qwen3-32B --accelerator B200")
def estimate(
    *,
    model: ModelOption,
    accelerator: AcceleratorOption,
    config: ConfigOption = None,
    tensor_parallel: ParallelOption = 1,
    weight_bits: BitsOption = 16,
    physics: Annotated[bool, typer.Option("--physics", help="Do not ask aiconfigurator.")] = False,
) -> None:
    """Print an estimated profile of what was never measured: by aiconfigurator-core if installed, else by physics."""
    logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)  # it warns of tables that no answer here uses
    shape = _shape(model, config)
    prior = _prior(shape, accelerator, tensor_parallel, weight_bits)
    made = estimated(
        prior, model, accelerator_named(accelerator), Serving(tensor_parallel=tensor_parallel, weight_bits=weight_bits),
        physics_only=physics,
    )  # fmt: skip
    typer.echo(f"# by {made.provenance.source}")
    typer.echo(dump_profile(made), nl=False)


def _figures(profile: Profile) -> Jsonable:
    model = profile.model
    return {
        "name": profile.name,
        "roles": [str(role) for role in profile.roles],
        "provenance": profile.provenance.kind,
        "kv_capacity_tokens": model.limits.kv_capacity_tokens,
        "itl_s": {str(batch): float(model.step.step_s(batch, batch * CONTEXT)) for batch in BATCHES},
        "prefill_s": {str(tokens): float(model.prefill.latency_s(tokens)) for tokens in LENGTHS},
    }


def _head(profile: Profile) -> str:
    origin = profile.provenance
    return (
        f"{profile.name}: {profile.llm} on {profile.accelerators_per_replica} x {profile.accelerator}, "
        f"{profile.engine} {profile.engine_version}, {origin.kind} {profile.date}\n{origin.source} ({origin.made_by})"
    )


def _tables(profiles: list[Profile]) -> list[Any]:
    steps = [
        (each.name, *(f"{1e3 * float(each.model.step.step_s(b, b * CONTEXT)):.1f}" for b in BATCHES))
        for each in profiles
    ]
    passes = [
        (each.name, *(f"{1e3 * float(each.model.prefill.latency_s(n)):.0f}" for n in LENGTHS)) for each in profiles
    ]
    capacity = [(each.name, f"{each.model.limits.kv_capacity_tokens:,.0f}") for each in profiles]
    return [
        table(["ITL, ms at context 1000", *(f"batch {batch}" for batch in BATCHES)], steps),
        table(["prefill, ms", *(f"{tokens} tokens" for tokens in LENGTHS)], passes),
        table(["KV capacity", "tokens"], capacity),
    ]


def _draw(profile: Profile, measured: grid.Grid | None, target: Path) -> None:
    """Draw ITL over batch and prefill over length, curves and data."""
    if target.suffix not in {".png", ".svg"}:
        msg = f"--plot {target}: curves are drawn as .png or .svg"
        raise InputError(msg)
    if importlib.util.find_spec("matplotlib") is None:
        msg = 'drawing needs matplotlib: install the extra, pip install "disagg-autoscaler[report]"'
        raise InputError(msg)
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    batches, lengths = [2**i for i in range(9)], [32 * 2**i for i in range(11)]
    contexts = sorted({p.context_tokens for p in measured.decode}) if measured is not None else [150.0, 1000.0, 8000.0]
    for index, context in enumerate(contexts):
        times = [1e3 * float(profile.model.step.step_s(batch, batch * context)) for batch in batches]
        left.plot(batches, times, color=f"C{index}", label=f"context {context:g}")
        if measured is not None:
            points = [(p.batch, 1e3 * p.itl_s) for p in measured.decode if p.context_tokens == context]
            left.plot(*zip(*points, strict=True), "o", color=f"C{index}", markersize=3)
    left.set(xscale="log", yscale="log", xlabel="batch", ylabel="ITL, ms", title=profile.name)
    left.legend(fontsize=7)
    right.plot(lengths, [1e3 * float(profile.model.prefill.latency_s(tokens)) for tokens in lengths])
    if measured is not None:
        points = [(p.tokens, 1e3 * p.latency_s) for p in measured.prefill if p.prompts == 1]
        if points:
            right.plot(*zip(*points, strict=True), "o", markersize=4)
    right.set(xscale="log", yscale="log", xlabel="prompt tokens", ylabel="prefill, ms", title="prefill")
    figure.savefig(target)
