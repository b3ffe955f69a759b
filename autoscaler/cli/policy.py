"""``autoscaler policy``: check policy files, write a first one, print their schema."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from autoscaler import policy
from autoscaler.cli import policy_init
from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.policy.fields import fields

CHECK_EPILOG = "Example: autoscaler policy check policies/rag-and-reasoning.yaml --strict"
SCHEMA_EPILOG = "Example: autoscaler policy schema > slopolicy.schema.json"

app = typer.Typer(
    name="policy",
    help="Check SLO policies, write a first one, print their schema.",
    epilog=CHECK_EPILOG,
    no_args_is_help=True,
)
app.command(epilog=policy_init.EPILOG)(policy_init.init)


@app.command(epilog=CHECK_EPILOG)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Policy files; each may hold several.")],
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Tell everything that is wrong or doubtful in policy files; exit 1 where a policy cannot be used."""
    inspected = policy.inspect_files(files)
    counts = Counter(problem.severity for problem in inspected.problems)
    wrong, doubtful = counts[policy.Severity.ERROR], counts[policy.Severity.WARNING]
    failed = wrong > 0 or (strict and doubtful > 0)
    data: Jsonable = {
        "ok": not failed,
        "policies": [found.key for found in inspected.policies],
        "errors": wrong,
        "warnings": doubtful,
        "findings": [_as_data(problem) for problem in inspected.problems],
    }
    rows = [(problem.severity, problem.where, problem.field, problem.message) for problem in inspected.problems]
    findings = [table(("severity", "where", "field", "finding"), rows)] if rows else []
    show(data, [*findings, _summary(inspected, wrong, doubtful)], output)
    if failed:
        raise typer.Exit(1)


@app.command(epilog=SCHEMA_EPILOG)
def schema(output: OutputOption = Format.JSON) -> None:
    """Print the JSON schema (draft 2020-12) of a policy; as a table: every field with its meaning."""
    rows = [
        (field.path, field.type, "required" if field.required else field.default_text, field.description)
        for field in fields()
    ]
    show(dict(policy.json_schema()), [table(("field", "type", "default", "meaning"), rows)], output)


def _as_data(problem: policy.Problem) -> Jsonable:
    return {
        "severity": str(problem.severity),
        "file": problem.file,
        "line": problem.line,
        "path": problem.field,
        "message": problem.message,
    }


def _summary(inspected: policy.Inspected, wrong: int, doubtful: int) -> str:
    usable = ", ".join(found.key for found in inspected.policies) or "none"
    return f"{wrong} error(s), {doubtful} warning(s); usable policies: {usable}"
