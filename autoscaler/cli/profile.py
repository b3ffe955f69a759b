"""``autoscaler profile``: fit, show, compare and estimate performance profiles."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from autoscaler.cli import profile_fit, profile_plot
from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.performance import grid
from autoscaler.performance.accelerators import accelerator as accelerator_named
from autoscaler.performance.estimate import estimated
from autoscaler.performance.prior import Serving
from autoscaler.performance.profile import Profile, load_profile
from autoscaler.performance.profile_document import dump_profile

app = typer.Typer(name="profile", help="Say how fast a replica is: fit, show, compare, estimate.", no_args_is_help=True)
app.command(epilog=profile_fit.EPILOG)(profile_fit.fit)

BATCHES = (1, 8, 32, 128)
LENGTHS = (256, 1024, 4096, 16384)
CONTEXT = 1000.0


@app.command(name="show", epilog="Example: autoscaler profile show h200-tp1-qwen3-32b --plot curves.svg")
def show_profile(
    profile: Annotated[str, typer.Argument(help="Name of a profile that ships, or a file.")],
    *,
    data: Annotated[Path | None, typer.Option("--data", help="Benchmark file to draw beside the curves.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Where to draw the curves: .png or .svg.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a profile says, and draw its curves with the data."""
    if plot is not None:
        profile_plot.check(plot)
    found = load_profile(profile)
    measured = None if data is None else grid.read_benchmark(data)
    show(_figures(found), [_head(found), *_tables([found])], output)
    if plot is not None:
        profile_plot.draw(found, measured, plot)


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
    model: profile_fit.ModelOption,
    accelerator: profile_fit.AcceleratorOption,
    config: profile_fit.ConfigOption = None,
    tensor_parallel: profile_fit.ParallelOption = 1,
    weight_bits: profile_fit.BitsOption = 16,
    physics: Annotated[bool, typer.Option("--physics", help="Do not ask aiconfigurator.")] = False,
) -> None:
    """Print an estimated profile of what was never measured: by aiconfigurator-core if installed, else by physics."""
    logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)  # it warns of tables that no answer here uses
    serving = Serving(tensor_parallel=tensor_parallel, weight_bits=weight_bits)
    prior = profile_fit.Engine(model, config, accelerator, serving).physics()
    made = estimated(prior, model, accelerator_named(accelerator), serving, physics_only=physics)
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
