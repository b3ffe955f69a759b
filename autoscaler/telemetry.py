"""Logs of the process: events with fields, as JSON lines or for a console."""

import logging
import re
import sys

import structlog

_SECRET_NAMES = re.compile(r"token|password|secret|authorization|api_?key|credential", re.IGNORECASE)
_SECRET_TEXTS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[-\w.~+/]{8,}=*"), r"\1 [redacted]"),
    (re.compile(r"(://)[^/\s:@]+:[^/\s@]+@"), r"\1[redacted]@"),
    (re.compile(r"\beyJ[-\w]{8,}\.[-\w]{8,}\.[-\w]*"), "[redacted]"),  # a JSON web token, as of a service account
)


def redacted(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Take credentials out of a log event: fields named like one, and what looks like one in texts at any depth.

    Nothing here logs a credential; errors of servers and of libraries are quoted, and may.
    """
    return {key: _named(key, value) for key, value in event.items()}


def _named(key: str, value: object) -> object:
    return "[redacted]" if _SECRET_NAMES.search(key) and isinstance(value, str) and value else _clean(value)


def _clean(value: object) -> object:
    match value:
        case str():
            for pattern, instead in _SECRET_TEXTS:
                value = pattern.sub(instead, value)
            return value
        case dict():
            return {key: _named(str(key), item) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
        case _:
            return value


def configure(level: str, *, as_json: bool) -> None:
    """Write log events to stderr.

    Args:
        level: least severity that is written: debug, info, warning or error.
        as_json: one JSON object a line; else readable lines.
    """
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redacted,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
