"""A forecast outlives the signal it was made from; a removal asks for what is seen now."""

import dataclasses

import pytest

from autoscaler.domain.observation import ProfileLoad
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.policy import Behavior, ScalingRules
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import planner
from autoscaler.plan.behavior import Entry, Memory
from tests import planning

IMPATIENT = Behavior(scale_down=ScalingRules(Seconds(0.0)))
LONG_AGO = Memory(recommendations=(Entry(Instant(planning.NOW - 9000.0), 6),))
GAP = Missing(GapReason.STALE, Instant(planning.NOW - 70.0))
IDLE = Missing(GapReason.NOT_A_NUMBER, planning.NOW)
SIGNALS = ("requests_per_second", "uncached_prompt_tokens_per_second", "output_tokens_per_second")


def load(profile: str) -> ProfileLoad:
    return ProfileLoad(profile, 0.2, 200.0, 200.0, 20.0, IDLE, IDLE, IDLE, IDLE, IDLE)


def planned(*loads: ProfileLoad) -> ModelPlan:
    """Return the plan for six replicas a role where one would do, by a forecast that is there in any case."""
    policy = planning.policy(behavior=IMPATIENT)
    demands = {
        profile.name: planning.demand(profile.name, 0.2, prompt=1000.0, output=100.0) for profile in policy.profiles
    }
    fleet = {name: planning.workload(name, 6) for name in ("prefill", "decode")}
    situation = planning.situation(policy, demands, fleet)
    observed = dataclasses.replace(situation.observed, loads={load.profile: load for load in loads})
    memories = dict.fromkeys(fleet, LONG_AGO)
    plan, _ = planner.plan(dataclasses.replace(situation, observed=observed), memories)
    return plan


def test_what_is_seen_to_be_too_much_is_taken_away() -> None:
    """Else the others could not fail."""
    plan = planned(load("rag"), load("default"))
    assert {name: variant.target for name, variant in plan.variants.items()} == {"prefill": 1, "decode": 1}


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("profile", ["rag", "default"])
def test_nothing_is_taken_away_while_a_load_is_not_seen(profile: str, signal: str) -> None:
    loads = {name: load(name) for name in ("rag", "default")}
    loads[profile] = dataclasses.replace(loads[profile], **{signal: GAP})  # type: ignore[arg-type] # by name
    plan = planned(*loads.values())
    assert not plan.actions
    for variant in plan.variants.values():
        assert (variant.target, variant.uncapped) == (6, 1)
        assert variant.reasons[-1].code is Code.HELD_ON_GAP
        assert variant.reasons[-1].evidence == {
            "signal": f"load of profile {profile}",
            "gap": "stale",
            "since": GAP.since,
        }
