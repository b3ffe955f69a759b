"""Spans of a tick: one for the tick, one inside it for each step, errors where they happened."""

import asyncio

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from autoscaler import telemetry
from autoscaler.controller import Controller
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError, ObservationError
from tests.unit.controller import world

LEAK = "refused, Authorization: Bearer abcdefghijklmnop"


def traced(scene: world.World) -> dict[str, ReadableSpan]:
    """Return the spans of one tick by name."""
    exporter = InMemorySpanExporter()
    traces = telemetry.Traces(exporter)
    controller = Controller(
        clock=scene,
        observer=scene,
        decider=scene,
        actuator=scene,
        publisher=scene,
        deadline=Seconds(5.0),
        span=traces.span,
    )
    asyncio.run(controller.tick())
    traces.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_tick_is_a_span_with_its_steps_inside() -> None:
    spans = traced(world.World())
    assert set(spans) == {"tick", "observe", "decide", "act", "publish"}
    context = spans["tick"].context
    assert context is not None
    for step in ("observe", "decide", "act", "publish"):
        parent = spans[step].parent
        assert parent is not None
        assert parent.span_id == context.span_id
    assert spans["tick"].resource.attributes["service.name"] == "disagg-autoscaler"


def test_a_step_that_fails_is_marked_and_tells_no_secret() -> None:
    spans = traced(world.World(observing=world.failing(ObservationError(LEAK))))
    status = spans["observe"].status
    assert status.status_code is StatusCode.ERROR
    assert status.description is not None
    assert "ObservationError" in status.description
    assert "abcdefghijklmnop" not in status.description
    assert spans["tick"].status.status_code is StatusCode.UNSET, "the tick went on as a hold"


def test_an_endpoint_has_to_be_a_url() -> None:
    with pytest.raises(InputError, match="--traces"):
        telemetry.traces("collector:4318")
