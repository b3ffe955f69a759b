"""One way to print: people get a table, programs JSON or YAML with stable keys."""

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Jsonable: TypeAlias = "dict[str, Jsonable] | list[Jsonable] | str | int | float | bool | None"
Row: TypeAlias = Sequence[object]

UNBOUNDED_COLUMNS = 100_000


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption: TypeAlias = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]


def table(columns: Sequence[str], rows: Iterable[Row], title: str | None = None) -> Table:
    """Return a table; cells are plain text, whatever brackets they hold."""
    made = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def show(data: Jsonable, tables: Sequence[Table | str], output: Format) -> None:
    """Print a result to stdout: its tables (and lines of text) for people, its data for programs."""
    match output:
        case Format.JSON:
            typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
        case Format.YAML:
            typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
        case Format.TABLE:
            _print(tables)


def _print(tables: Sequence[Table | str]) -> None:
    terminal = Console()
    # into a pipe or a file nothing is wrapped: a message stays one line that can be searched for
    console = terminal if terminal.is_terminal else Console(width=UNBOUNDED_COLUMNS)
    for part in tables:
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False, soft_wrap=True)
        else:
            _print_table(console, part)


def _print_table(console: Console, part: Table) -> None:
    if console.is_terminal:
        console.print(part)
        return
    with console.capture() as captured:
        console.print(part)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())
