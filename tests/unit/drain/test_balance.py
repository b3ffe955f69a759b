"""New pods of both roles are admitted in step: P:D balance while pools grow."""

from dataclasses import replace

import pytest

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.plan import Announce
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import drain

NOW = Instant(1_000_000.0)
WARM_UP = Seconds(30.0)


def pool(role: Role, ready: int, *, gated_for: float) -> Workload:
    """Return a pool with some serving replicas and one that is Ready behind its gate for so many seconds."""
    serving = tuple(
        Pod(f"{role.value}-{number}", role.value, PodState.READY, Instant(0.0), ready_since=Instant(0.0))
        for number in range(ready)
    )
    gated = replace(
        serving[0] if serving else Pod("", role.value, PodState.READY, Instant(0.0)),
        name=f"{role.value}-new",
        state=PodState.STARTING,
        ready_since=Instant(NOW - gated_for),
        warm_up=WARM_UP,
    )
    return Workload(role.value, ready + 1, (*serving, gated))


def announced(prefill: Workload, decode: Workload, targets: dict[str, int]) -> set[str]:
    variants = tuple(
        Variant(role.value, role, ScaleTarget("llm", "apps/v1", "Deployment", role.value), "H200", 1, 1.0, 1, 9)
        for role in (Role.PREFILL, Role.DECODE)
    )
    policy = SLOPolicy("model", "llm", "m", (), variants)
    unread = Missing(GapReason.UNREACHABLE, NOW)
    fleet = {"prefill": prefill, "decode": decode}
    observed = ModelObservation("llm/model", {}, fleet, {}, 0.0, membership=unread)
    steps = drain.steps(drain.Scene(NOW, policy, observed, targets))
    return {action.pod for action in steps.actions if isinstance(action, Announce)}


@pytest.mark.parametrize(
    ("prefill", "decode", "gated_for", "expected"),
    [
        pytest.param(2, 2, 60.0, {"prefill-new", "decode-new"}, id="in step: both are admitted"),
        pytest.param(2, 2, 10.0, set[str](), id="nobody before the warm-up"),
        pytest.param(1, 3, 60.0, {"prefill-new"}, id="decode is far ahead: it waits for prefill"),
        pytest.param(3, 1, 60.0, {"decode-new"}, id="and the other way round"),
        pytest.param(0, 3, 60.0, {"prefill-new", "decode-new"}, id="nothing to keep in step with"),
        pytest.param(1, 3, 331.0, {"prefill-new", "decode-new"}, id="nobody waits for ever"),
    ],
)
def test_a_role_that_is_far_ahead_of_the_other_waits_for_it(
    prefill: int, decode: int, gated_for: float, expected: set[str]
) -> None:
    pools = pool(Role.PREFILL, prefill, gated_for=gated_for), pool(Role.DECODE, decode, gated_for=gated_for)
    assert announced(*pools, {"prefill": 4, "decode": 4}) == expected
