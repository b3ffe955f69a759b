"""Margins: misses widen them, their absence narrows them, gaps change nothing."""

import pytest

from autoscaler.domain.observation import Latency, Moments, ProfileLoad
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.plan.risk import Margins
from tests import planning

ABSENT = Missing(GapReason.ABSENT, planning.NOW)


def latency(within: float, count: float = 100.0) -> Latency:
    return Latency(0.1, 0.1, 0.1, 0.1, within, count)


def margins(ttft: Signal[Latency], itl: Signal[Latency], minutes: int) -> Margins:
    load = ProfileLoad("rag", 1.0, 1.0, 1.0, 1.0, Moments(1, 1), Moments(1, 1), ttft=ttft, itl=itl, queued_requests=0.0)
    now = Margins()
    for tick in range(4 * minutes + 1):
        now = now.updated(planning.policy(), {"rag": load}, Instant(planning.NOW + 15 * tick))
    return now


@pytest.mark.parametrize(
    ("ttft", "itl", "prefill", "decode"),
    [
        pytest.param(ABSENT, ABSENT, 0, 0, id="nothing seen, nothing learned"),
        pytest.param(latency(0.9, 0.0), latency(0.9, 0.0), 0, 0, id="no requests, nothing learned"),
        pytest.param(latency(1.0), ABSENT, -1, 0, id="no miss narrows"),
        pytest.param(latency(0.9), latency(1.0), 1, -1, id="each role learns from its own limit"),
        pytest.param(latency(1.0), latency(0.9), -1, 1, id="and the reverse"),
    ],
)
def test_direction(ttft: Signal[Latency], itl: Signal[Latency], prefill: int, decode: int) -> None:
    learned = margins(ttft, itl, 5)
    for role, direction in ((Role.PREFILL, prefill), (Role.DECODE, decode)):
        factor = learned.of(role)
        assert (factor > 1) - (factor < 1) == direction


@pytest.mark.parametrize(("within", "least", "most"), [(0.0, 1.5, 1.7), (1.0, 0.49, 0.51)])
def test_margins_are_bounded(within: float, least: float, most: float) -> None:
    assert least < margins(latency(within), latency(within), 600).of(Role.PREFILL) < most


def test_a_gap_makes_nothing_up() -> None:
    load = ProfileLoad(
        "rag", 1.0, 1.0, 1.0, 1.0, Moments(1, 1), Moments(1, 1), latency(0.0), latency(0.0), queued_requests=0.0
    )
    policy, first = planning.policy(), Margins().updated(planning.policy(), {"rag": load}, planning.NOW)
    minute, hour = (first.updated(policy, {"rag": load}, Instant(planning.NOW + s)) for s in (60, 3600))
    assert minute.of(Role.PREFILL) == hour.of(Role.PREFILL)
