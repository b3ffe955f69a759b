"""The metric of a picker that lists something else than what is published."""

import asyncio
from types import MappingProxyType

import pytest
from prometheus_client import CollectorRegistry

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.membership import Membership
from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.record import TickRecord
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.publish.metrics import OwnMetrics

AT = Instant(1000.0)
PODS = (
    Pod("ready", "decode", PodState.READY, AT),
    Pod("drains", "decode", PodState.DRAINING, AT),
    Pod("starts", "decode", PodState.STARTING, AT),
)


def shown(membership: Signal[Membership]) -> float | None:
    fleet: dict[str, Signal[Workload]] = {"decode": Workload("decode", 3, PODS)}
    model = ModelObservation("llm/m", {}, fleet, {}, 0.0, membership=membership)
    registry = CollectorRegistry()
    observation = Observation(AT, models=MappingProxyType({"llm/m": model}))
    asyncio.run(OwnMetrics(registry).publish(TickRecord(observation, Plan(AT))))
    return registry.get_sample_value("autoscaler_picker_disagreements", {"policy": "llm/m"})


@pytest.mark.parametrize(
    ("pickers", "expected"),
    [
        pytest.param(({"ready"},), 0.0, id="the set is the set"),
        pytest.param(({"ready"}, {"ready", "drains"}), 1.0, id="one replica still lists a withdrawn pod"),
        pytest.param(({"drains"}, {"ready"}), 2.0, id="and one does not list one that serves"),
    ],
)
def test_pods_are_counted_that_some_picker_tells_otherwise(pickers: tuple[set[str], ...], expected: float) -> None:
    lists = {f"picker-{number}": frozenset(names) for number, names in enumerate(pickers)}
    assert shown(Membership(lists)) == expected


def test_what_is_not_known_is_no_series() -> None:
    assert shown(Missing(GapReason.UNREACHABLE, AT)) is None
