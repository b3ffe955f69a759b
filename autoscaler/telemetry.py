"""Logs of the process: events with fields, as JSON lines or for a console."""

import logging
import sys

import structlog


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
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
