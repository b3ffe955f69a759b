"""Schedules in a decision: a minimum in time for its begin, and load that is announced."""

from dataclasses import replace

import pytest

from autoscaler.decider import Decider
from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import ModelObservation, Moments, Observation, ProfileLoad
from autoscaler.domain.plan import ModelPlan, VariantPlan
from autoscaler.domain.policy import Schedule
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.performance.profile import load_profile
from autoscaler.plan import guardrails
from autoscaler.plan.guardrails import Floor
from tests import planning

EIGHT = 1_763_971_200.0
"""Monday 2025-11-24, 08:00 UTC."""

ABSENT = Missing(GapReason.ABSENT, planning.NOW)
OFFICE = Schedule("office", "0 8 * * 1-5", Seconds(36_000.0), "UTC", (("decode", 6),))
LAUNCH = Schedule("launch", "0 8 * * 1-5", Seconds(36_000.0), "UTC", (), 4.0)
DECODE = planning.variant(Role.DECODE, most=8)


@pytest.mark.parametrize(
    ("floor", "wanted", "target"),
    [
        pytest.param(None, 3, 3, id="no schedule"),
        pytest.param(Floor("office", 5), 3, 5, id="a schedule raises"),
        pytest.param(Floor("office", 5), 7, 7, id="and never lowers"),
        pytest.param(Floor("office", 50), 3, 8, id="up to maxReplicas"),
    ],
)
def test_floors(floor: Floor | None, wanted: int, target: int) -> None:
    amended = guardrails.at_least(floor, DECODE)(VariantPlan.of(wanted))
    assert amended.target == target
    assert [reason.code for reason in amended.reasons] == ([Code.SCHEDULED] if target != wanted else [])


def decided(*schedules: Schedule, at: float, rate: float = 0.5) -> ModelPlan:
    """Return the last of forty ticks of steady load that end at a moment."""
    policy = replace(planning.policy(profiles=(planning.CHAT,)), schedules=schedules)
    profile = load_profile("h200-tp1-qwen3-32b")
    priors = {v.name: Prior(profile.for_role(v.role), MEASURED) for v in policy.variants}
    decider = Decider([policy], {policy.key: priors}, period=planning.SOON)
    prompt, output = Moments(1000.0, 2e6), Moments(200.0, 8e4)
    load = ProfileLoad("default", rate, 1e3 * rate, 1e3 * rate, 200 * rate, prompt, output, ABSENT, ABSENT, ABSENT)
    fleet: dict[str, Workload] = {name: planning.workload(name, 1) for name in ("prefill", "decode")}
    engines = {name: planning.engine(name) for name in ("prefill-0", "decode-0")}
    for tick in range(40):
        now = Instant(at - 15.0 * (39 - tick))
        observed = ModelObservation(policy.key, {"default": load}, fleet, engines, 0.0)
        plan = decider.decide(Observation(now, {policy.key: observed}))
    return plan.models[policy.key]


def codes(plan: ModelPlan) -> set[Code]:
    return {reason.code for reason in plan.variants["decode"].reasons}


def test_a_scheduled_minimum_is_ordered_in_time_for_its_begin() -> None:
    early, before = decided(OFFICE, at=EIGHT - 3600.0), decided(OFFICE, at=EIGHT - 60.0)
    assert (early.variants["decode"].target, Code.SCHEDULED in codes(early)) == (1, False)
    assert (before.variants["decode"].target, Code.SCHEDULED in codes(before)) == (6, True)
    assert before.variants["prefill"].target == 1


def test_a_scheduled_minimum_holds_to_its_end_and_no_longer() -> None:
    end = EIGHT + OFFICE.duration
    assert decided(OFFICE, at=end - 1.0).variants["decode"].target == 6
    assert Code.SCHEDULED not in codes(decided(OFFICE, at=end))


def test_the_highest_of_several_schedules_counts() -> None:
    more = Schedule("more", "0 7 * * *", Seconds(36_000.0), "UTC", (("decode", 7),))
    for schedules in ((OFFICE, more), (more, OFFICE)):
        assert decided(*schedules, at=EIGHT + 600.0).variants["decode"].target == 7


def test_announced_load_is_planned_for_before_it_comes() -> None:
    without, announced = (decided(*s, at=EIGHT - 30.0, rate=2.0) for s in ((), (LAUNCH,)))
    before, after = (p.outlook["default"].requests_per_second for p in (without, announced))
    assert after == pytest.approx(4.0 * before, rel=0.15)
    assert announced.variants["prefill"].uncapped >= without.variants["prefill"].uncapped
    assert decided(LAUNCH, at=EIGHT + 900.0, rate=2.0).outlook["default"].requests_per_second == pytest.approx(
        2, rel=0.1
    )
