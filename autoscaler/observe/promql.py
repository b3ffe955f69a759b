"""The catalogue's readings as PromQL: one expression each, for every model and pod of some namespaces."""

import re
from collections.abc import Collection, Mapping, Sequence

from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.observe.catalogue import MODEL, NAMESPACE, Function, Reading, Series, Windows

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def scope(namespaces: Sequence[str], matchers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the matchers that every selector carries: the namespaces to read, and label equalities of the operator.

    Raises:
        InputError: a name is no label name, or no namespace.
    """
    label_names(matchers)
    for namespace in namespaces:
        if not _NAMESPACE.fullmatch(namespace):
            msg = f"metadata.namespace: {namespace!r} is no namespace name"
            raise InputError(msg)
    inside = [f'{NAMESPACE}=~"{"|".join(sorted(set(namespaces))).replace(".", "[.]")}"'] if namespaces else []
    return (*inside, *(f"{label}={quoted(value)}" for label, value in matchers.items()))


def of_models(names: Collection[str]) -> str:
    """Return the matcher that selects the series of some models."""
    return f"{MODEL}=~{quoted('|'.join(map(re.escape, sorted(names))))}"


def label_names(names: Collection[str]) -> tuple[str, ...]:
    """Return the names, all of which are label names.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if not _LABEL.fullmatch(name):
            msg = f"metrics.matchers: {name!r} is no label name; use letters, digits and underscores"
            raise InputError(msg)
    return tuple(names)


def quoted(text: str) -> str:
    """Return a string literal of PromQL; nothing in ``text`` can end it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def instant(reading: Reading, windows: Windows, matchers: Sequence[str]) -> str:
    """Return the expression of a reading at one moment."""
    expression = members(reading, windows, matchers)
    if (step := windows.step(reading)) is not None:
        return f"({expression})[{_duration(windows.of(reading.span))}:{_duration(step)}]"
    return expression


def members(reading: Reading, windows: Windows, matchers: Sequence[str]) -> str:
    """Return the expression whose value is one number per group: alternatives, the best first."""
    either = f" or on ({', '.join(reading.either)}) "
    return either.join(_alternative(reading, series, windows, matchers) for series in reading.series)


def _alternative(reading: Reading, series: Series, windows: Windows, matchers: Sequence[str]) -> str:
    identity = ", ".join((*reading.by, *(label for label in series.own if label not in reading.by)))
    once = f"max by ({identity}) ({_applied(reading, series, windows, matchers)})"
    return f"{reading.join} by ({', '.join(reading.by)}) ({once})"


def _applied(reading: Reading, series: Series, windows: Windows, matchers: Sequence[str]) -> str:
    selector = f"{series.name}{{{', '.join((*_own(series), *matchers))}}}"
    match reading.function:
        case Function.LAST | Function.TRAIL:
            return selector
        case Function.TIME | Function.TIMES:
            return f"timestamp({selector})"
        case Function.BEFORE:
            span, offset = _duration(windows.of(reading.span)), _duration(windows.fast)
            return f"count_over_time({selector}[{span}] offset {offset})"
        case Function.RATE | Function.AVERAGE | Function.PEAK:
            return f"{reading.function}({selector}[{_duration(windows.of(reading.span))}])"


def _own(series: Series) -> tuple[str, ...]:
    # series without a model name exist (requests that name no model); they are nobody's load
    named = (f'{MODEL}!=""',) if series.named else ()
    return (*named, *(f"{label}={quoted(value)}" for label, value in series.where))


def _duration(length: Seconds) -> str:
    milliseconds = round(length * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"
