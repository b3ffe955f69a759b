"""Prints pages of ``docs/reference/`` from the code: ``python -m tools.generate_reference cli|metrics|reasons``."""

import argparse
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from autoscaler.cli import app
from autoscaler.domain.reason import MESSAGES
from autoscaler.domain.record import Result
from autoscaler.domain.signal import GapReason
from autoscaler.publish.metrics import OwnMetrics

NOTE = "Generated from the code by `python -m tools.generate_reference {page}`; do not edit.\n"

EXIT = """
Every command: `--help` with an example; results on stdout as table, `json` or `yaml` with stable keys; warnings and
errors on stderr. Exit status: 0 done, 1 findings or an error in the input, 2 wrong usage.
"""

GAPS: Mapping[GapReason, str] = {
    GapReason.ABSENT: "the source answered, and has no such series",
    GapReason.STALE: "the newest sample is too old to act on",
    GapReason.PARTIAL: "some replicas that should report do not",
    GapReason.NOT_A_NUMBER: "nothing happened from which it could be computed",
    GapReason.UNREACHABLE: "the source did not answer",
    GapReason.INCONSISTENT: "two sources contradict each other, or a value cannot be",
}
RESULTS: Mapping[Result, str] = {
    Result.DONE: "carried out",
    Result.UNCHANGED: "the cluster was already as wanted",
    Result.DRY_RUN: "mode Recommend: said, not done",
    Result.CONFLICT: "someone else changed the object meanwhile; the next tick plans again",
    Result.REFUSED: "not allowed, gone, or owned by another writer",
    Result.FAILED: "the write did not succeed; the next tick plans again",
}


def cli() -> Iterator[str]:
    """Yield the page of the command line."""
    yield "# Command line\n\n" + NOTE.format(page="cli") + EXIT
    every = (_commands(f"autoscaler {name}", app.command(name)) for name in sorted(app.COMMANDS))
    for path, command in itertools.chain.from_iterable(every):
        yield f"\n## `{path}`\n\n{_prose(command.help or '')}\n"
        if command.epilog:
            yield f"\n    {command.epilog.removeprefix('Example: ')}\n"
        yield "\n| argument or option | meaning |\n|---|---|\n"
        yield from (_parameter(parameter) for parameter in command.params)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a click command
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name in sorted(children):
        yield from _commands(f"{path} {name}", children[name])


def _parameter(parameter: Any) -> str:  # noqa: ANN401 - a click parameter
    options = ", ".join(f"`{option}`" for option in parameter.opts)
    name = f"`{parameter.metavar or parameter.name.upper()}`" if parameter.param_type_name == "argument" else options
    told = [_prose(getattr(parameter, "help", None) or "")]
    default = getattr(parameter.default, "value", parameter.default)
    if parameter.required:
        told.append("Required.")
    elif default not in {None, False, "", ()} and not callable(default):
        told.append(f"Default: `{default}`.")
    if getattr(parameter, "envvar", None):
        told.append(f"Environment: `{parameter.envvar}`.")
    return f"| {name} | {' '.join(part for part in told if part)} |\n"


def metrics() -> Iterator[str]:
    """Yield the page of the controller's own metrics."""
    yield "# Metrics of the controller\n\n" + NOTE.format(page="metrics")
    yield "\nServed at `/metrics` of `autoscaler run` (`--listen`). What the controller reads from engines and picker: "
    yield "`metrics.md`.\n\nA count that is not known is an absent series, never 0; a series goes with its policy.\n"
    yield "\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
    registry = CollectorRegistry()
    OwnMetrics(registry)
    found = [each for each in registry._collector_to_names if isinstance(each, MetricWrapperBase)]  # noqa: SLF001
    for metric in sorted(found, key=_name):
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - not told otherwise
        yield f"| `{_name(metric)}` | {metric._type} | {labels} | {metric._documentation} |\n"  # noqa: SLF001


def _name(metric: MetricWrapperBase) -> str:
    name = str(metric._name)  # noqa: SLF001 - not told otherwise
    return f"{name}_total" if metric._type == "counter" else name  # noqa: SLF001


def reasons() -> Iterator[str]:
    """Yield the page of reason codes."""
    yield "# Reason codes\n\n" + NOTE.format(page="reasons")
    yield "\nBounded and stable: in `recommend`, the decision log, `explain`, the status page, events and alerts.\n"
    yield "The words in braces are keys of the reason's `evidence`. How to read them together:\n"
    yield "`../how-to/read-a-decision.md`.\n"
    yield "\n| code | message | evidence in it |\n|---|---|---|\n"
    for code, message in MESSAGES.items():
        keys = ", ".join(f"`{key}`" for _, key, _, _ in Formatter().parse(message) if key)
        words = re.sub(r"{(\w+):[^}]*}", r"{\1}", message)  # without the number formats
        yield f"| `{code.value}` | {words} | {keys} |\n"
    yield "\n## Why a signal is missing\n\n| reason | meaning |\n|---|---|\n"
    yield from (f"| `{reason.value}` | {GAPS[reason]} |\n" for reason in GapReason)
    yield "\n## How an action ended\n\n| result | meaning |\n|---|---|\n"
    yield from (f"| `{result.value}` | {RESULTS[result]} |\n" for result in Result)


def _prose(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: Mapping[str, Callable[[], Iterator[str]]] = {"cli": cli, "metrics": metrics, "reasons": reasons}


def main() -> None:
    """Print one page."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate_reference", description=__doc__)
    parser.add_argument("page", choices=sorted(PAGES))
    print("".join(PAGES[parser.parse_args().page]()), end="")


if __name__ == "__main__":
    main()
