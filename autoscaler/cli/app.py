"""The command line's root: mounts the commands, tells errors without a traceback."""

import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from autoscaler.cli import backtest, doctor, explain, policy, profile, recommend, run, simulate, undrain
from autoscaler.errors import AutoscalerError

DISTRIBUTION = "disagg-autoscaler"
EPILOG = "Example: autoscaler policy check policies/rag-and-reasoning.yaml"

app = typer.Typer(
    name="autoscaler",
    help="Size prefill and decode pools of disaggregated LLM inference at least cost inside every profile's SLO.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(epilog=run.EPILOG)(run.run)
app.command(epilog=recommend.EPILOG)(recommend.recommend)
app.command(epilog=backtest.EPILOG)(backtest.backtest)
app.command(epilog=simulate.EPILOG)(simulate.simulate)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.command(epilog=explain.EPILOG)(explain.explain)
app.command(epilog=undrain.EPILOG)(undrain.undrain)
app.add_typer(policy.app)
app.add_typer(profile.app)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        typer.echo(f"autoscaler {importlib.metadata.version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Size prefill and decode pools of disaggregated LLM inference at least cost inside every profile's SLO."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave the process: 0 done, 1 findings or an error in the input, 2 wrong usage."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="autoscaler")
    except AutoscalerError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        sys.exit(1)
