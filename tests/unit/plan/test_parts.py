"""Each part of a decision can be left out, and does something."""

from dataclasses import replace

import pytest

from autoscaler.backtest.contenders import ABLATED, CONTENDERS, contender
from autoscaler.decider import PolicyModel, learn
from autoscaler.domain.demand import ProfileDemand, unchanging
from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Instant
from autoscaler.performance.prior import MEASURED, Prior
from autoscaler.plan import behavior, needs, planner
from autoscaler.plan.parts import ALL, Parts
from tests import planning
from tests.scenario.planner.stories import Kind, served

DEMANDS = {"rag": planning.demand("rag", 5.0, prompt=3000, output=200)}


def planned(parts: Parts, memories: planner.Memories | None = None, ready: int = 1) -> ModelPlan:
    cheap = planning.variant(Role.PREFILL, name="first", least=0, price=9.0)
    other = planning.variant(Role.PREFILL, name="other", least=0, price=1.0)
    policy = planning.policy(
        cheap, other, planning.variant(Role.DECODE), behavior=planning.AT_ONCE, profiles=[planning.RAG]
    )
    fleet = {v.name: planning.workload(v.name, ready) for v in policy.variants}
    scene = replace(planning.situation(policy, DEMANDS, fleet), parts=parts)
    scene = replace(scene, observed=replace(scene.observed, loads={"rag": Kind(5.0, 3000, 200).load("rag")}))
    return planner.plan(scene, memories or {})[0]


def test_without_variants_each_role_grows_on_its_first_alone() -> None:
    whole, alone = (planned(parts, ready=0).variants for parts in (ALL, replace(ALL, variants=False)))
    assert (whole["first"].target, whole["other"].target > 0) == (0, True)
    assert (alone["first"].target > 0, alone["other"].target) == (True, 0)


def test_without_lazy_scale_in_a_replica_leaves_as_soon_as_behavior_allows() -> None:
    high = behavior.Memory((behavior.Entry(Instant(planning.NOW - 20.0), 9),))
    memories = {"first": high, "other": high, "decode": high}
    whole, hasty = (planned(parts, memories, ready=9).variants for parts in (ALL, replace(ALL, lazy_scale_in=False)))
    assert whole["decode"].target == 9 > hasty["decode"].target


def test_without_the_queue_tail_prefill_needs_only_what_keeps_up() -> None:
    busy = {"rag": planning.demand("rag", 5.0, prompt=3000, output=64, spread=0.0)}
    scene = planning.situation(planning.policy(), busy, {})
    whole, bare = (
        needs.of_role(replace(scene, parts=parts), Role.PREFILL)["prefill"].wanted
        for parts in (ALL, replace(ALL, queue_tail=False))
    )
    assert bare.replicas < whole.replicas


def test_without_a_forecast_load_stays_what_it_is() -> None:
    found = unchanging(DEMANDS)["rag"]
    assert isinstance(found, ProfileDemand)
    assert {rate.mean.at(0.99) for rate in found.output_tokens_per_second.values()} == {1000.0}


@pytest.mark.parametrize("part", ["calibration", "margins"])
def test_without_learning_nothing_is_learned(part: str) -> None:
    policy = planning.policy()
    priors = {v.name: Prior(planning.H200, MEASURED) for v in policy.variants}
    fleet = {name: planning.workload(name, 2) for name in ("prefill", "decode")}
    special = {
        "running": 8.0,
        "itl_mean_s": float(planning.H200.step.step_s(8.0, 20_000.0)),
        "preemptions_per_second": 0.0,
    }
    engines = {f"{n}-{i}": replace(planning.engine(f"{n}-{i}"), **special) for n in fleet for i in range(2)}  # type: ignore[arg-type]
    observed = planning.situation(policy, {}, fleet, engines=engines).observed
    observed = replace(observed, loads={"rag": Kind(1.0, 3000, 64).load("rag", ttft=served(0.5), itl=served(0.5))})

    def learned(parts: Parts) -> object:
        model = PolicyModel.starting(policy, priors, parts)
        for n in range(4):
            learn([(model, observed)], Instant(planning.NOW + 15.0 * n))
        taught = model.variants["decode"].calibration.taught
        return taught if part == "calibration" else sorted(model.margins.logs.values())

    assert learned(ALL) not in (0, [])
    assert learned(replace(ALL, **{part: False})) in (0, [])


def test_each_part_has_a_contender_that_plays_only_where_it_is_named() -> None:
    assert set(ABLATED).isdisjoint(CONTENDERS)
    assert contender("ours-without-queue-tail") is ABLATED["ours-without-queue-tail"]
    assert len(ABLATED) == len(Parts.__dataclass_fields__)
