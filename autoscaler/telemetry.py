"""Logs of the process: events with fields, as JSON lines or for a console; traces of its ticks, where wanted."""

import importlib.metadata
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import structlog

from autoscaler.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

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


class Traces:
    """Spans of each tick and its steps, to a collector of OpenTelemetry. Needs the extra ``otel``."""

    def __init__(self, exporter: "SpanExporter") -> None:
        """Take where finished spans go; they are sent beside the loop, and dropped where the collector is away."""
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra, as below
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        version = importlib.metadata.version("disagg-autoscaler")
        resource = Resource.create({"service.name": "disagg-autoscaler", "service.version": version})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("autoscaler")

    def span(self, name: str) -> AbstractContextManager[None]:
        """Open a span inside the one that is open now; an error that leaves it is recorded, with secrets taken out."""
        return self._opened(name)

    @contextmanager
    def _opened(self, name: str) -> Iterator[None]:
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {_clean(str(error))}"))
                raise

    def close(self) -> None:
        """Send what waits, and stop."""
        self._provider.shutdown()


def traces(endpoint: str) -> Traces:
    """Return traces that go to an OTLP/HTTP endpoint, such as http://collector:4318/v1/traces.

    Raises:
        InputError: it is no URL, or the extra is not installed.
    """
    if not endpoint.startswith(("http://", "https://")):
        msg = f"--traces: {endpoint!r} is no http(s) URL; write http://HOST:4318/v1/traces"
        raise InputError(msg)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    except ImportError:
        msg = "--traces needs the extra [otel]: pip install 'disagg-autoscaler[otel]'"
        raise InputError(msg) from None
    return Traces(OTLPSpanExporter(endpoint=endpoint, timeout=5))
