"""The command line's root: mounts the commands, tells errors without a traceback."""

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from autoscaler.errors import AutoscalerError

DISTRIBUTION = "disagg-autoscaler"
EPILOG = "Example: autoscaler policy check policies/rag-and-reasoning.yaml"

COMMANDS = {
    "run": "Run the controller: in mode Auto it resizes workloads, in mode Recommend (the default) it writes nothing.",
    "recommend": "Say how many replicas each variant should have, and why; never acts.",
    "backtest": (
        "Replay a trace against several policies in the simulator: SLO, cost, flaps, and what it costs at least."
    ),
    "simulate": "Fly one policy through one scenario; tell SLO attainment, cost, losses and every change of size.",
    "doctor": "Check a policy, its metrics and its cluster for everything that makes an autoscaler silently useless.",
    "explain": "Explain a recorded decision: demand, forecast, capacity, wanted, amendments, target, alternatives.",
    "undrain": "Readmit every pod that this controller has withdrawn; values that operators had set come back.",
    "policy": "Check SLO policies, write a first one, print their schema.",
    "profile": "Say how fast a replica is: fit, show, compare, estimate.",
}
"""Each command with the line that ``--help`` shows; its module has its name, and is imported when it is called."""


def command(name: str) -> Any:  # noqa: ANN401 - a click command, whose types typer keeps to itself
    """Return a command whole: its module, and all that this imports, is loaded now."""
    module = importlib.import_module(f"autoscaler.cli.{name}")
    if hasattr(module, "app"):
        return typer.main.get_group(module.app)
    alone = typer.Typer(add_completion=False)
    alone.command(name, epilog=module.EPILOG)(getattr(module, name))
    return typer.main.get_command(alone)


class _Deferred(TyperGroup):
    """Knows its commands by name and line only, until one is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401 - as above
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else command(name), rest


app = typer.Typer(
    name="autoscaler",
    cls=_Deferred,
    help="Size prefill and decode pools of disaggregated LLM inference at least cost inside every profile's SLO.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _name, _line in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)


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
