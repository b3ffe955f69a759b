"""Before the first policy comes, a controller is healthy, and no alert has a reason to fire."""

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.record import Step, StepFailure, TickRecord
from autoscaler.domain.signal import Gap, GapReason, Missing
from autoscaler.domain.units import Seconds
from autoscaler.publish.health import Health
from autoscaler.publish.metrics import OwnMetrics
from tests.planning import NOW

IDLE = TickRecord(Observation(NOW), Plan(NOW))
BLIND = replace(IDLE, observation=Observation(NOW, gaps=(Gap("metrics", "", Missing(GapReason.UNREACHABLE, NOW)),)))
BROKEN = replace(IDLE, failures=(StepFailure(Step.DECIDE, "ValueError", "why"),))


@pytest.mark.parametrize(
    ("record", "healthy"),
    [
        pytest.param(IDLE, True, id="idle"),
        pytest.param(BLIND, False, id="blind"),
        pytest.param(BROKEN, False, id="broken"),
    ],
)
def test_nothing_to_do_is_well_and_nothing_seen_is_not(record: TickRecord, *, healthy: bool) -> None:
    health, registry = Health(Seconds(45.0)), CollectorRegistry()
    metrics = OwnMetrics(registry)
    asyncio.run(health.publish(record))
    asyncio.run(metrics.publish(record))
    assert (health.complaint(NOW) == "") is healthy
    assert registry.get_sample_value("autoscaler_last_success_timestamp_seconds") == (NOW if healthy else 0.0)
