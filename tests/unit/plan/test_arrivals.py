"""When replicas serve that were asked for."""

import pytest

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan.allocation import OVERDUE
from autoscaler.plan.arrivals import arrivals

NOW, LEAD = Instant(10_000.0), Seconds(100.0)


def pod(state: PodState, age: float, name: str = "p") -> Pod:
    return Pod(name, "v", state, Instant(NOW - age))


@pytest.mark.parametrize(
    ("requested", "pods", "expected"),
    [
        pytest.param(0, (), (), id="nothing"),
        pytest.param(2, (), (100.0, 100.0), id="no pods yet"),
        pytest.param(2, (pod(PodState.READY, 500), pod(PodState.STARTING, 30)), (0.0, 70.0), id="one starts"),
        pytest.param(1, (pod(PodState.STARTING, 150),), (0.0,), id="any moment now"),
        pytest.param(1, (pod(PodState.STARTING, 201),), (OVERDUE,), id="found a node, never came"),
        pytest.param(1, (pod(PodState.PENDING, 99),), (1.0,), id="pending, still in time"),
        pytest.param(1, (pod(PodState.PENDING, 101),), (OVERDUE,), id="pending too long"),
        pytest.param(1, (pod(PodState.READY, 9), pod(PodState.PENDING, 500)), (0.0,), id="more pods than requested"),
        pytest.param(1, (pod(PodState.DRAINING, 500), pod(PodState.FAILED, 9)), (100.0,), id="those do not serve"),
        pytest.param(1, (Pod("p", "v", PodState.PENDING, Instant(0.0)),), (100.0,), id="age not known"),
    ],
)
def test_arrivals(requested: int, pods: tuple[Pod, ...], expected: tuple[float, ...]) -> None:
    assert arrivals(Workload("v", requested, pods), LEAD, NOW) == expected
