"""Laws of unified beside disaggregated replicas, for any load and price."""

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code
from autoscaler.plan import division, needs, planner
from autoscaler.plan.parts import Parts
from autoscaler.plan.situation import Situation
from tests import planning
from tests.scenario.planner.stories import Kind

rates = st.floats(0.2, 60.0)
prompts = st.floats(50.0, 4000.0)
prices = st.floats(0.5, 12.0)
counts = st.integers(1, 40)


def situation(rate: float, prompt: float, price: float, *roles: Role, most: int = 200) -> Situation:
    """Return a load before an empty fleet of some roles, each of which may be at zero."""
    variants = [
        planning.variant(role, least=0, most=most, price=price if role is Role.UNIFIED else 3.8)
        for role in roles or tuple(Role)
    ]
    chosen = planning.policy(*variants, behavior=planning.AT_ONCE)
    demand = planning.demand("rag", rate, prompt=prompt, output=300)
    short = planning.demand("default", rate, prompt=prompt / 2, output=150)
    fleet = {variant.name: planning.workload(variant.name, 0) for variant in variants}
    known = planning.situation(chosen, {"rag": demand, "default": short}, fleet)
    loads = {"rag": Kind(rate, prompt, 300).load("rag"), "default": Kind(rate, prompt / 2, 150).load("default")}
    return replace(known, parts=Parts(lazy_scale_in=False), observed=replace(known.observed, loads=loads))


def targets(given_: Situation) -> dict[str, int]:
    return {name: each.target for name, each in planner.plan(given_, {})[0].variants.items()}


def cost(policy: SLOPolicy, fleet: dict[str, int]) -> float:
    return sum(policy.variant(name).cost_per_replica_hour * count for name, count in fleet.items())


def paces(given_: Situation) -> division.Paces:
    return division.Paces(given_, {role: given_.policy.pool(role) for role in Role})


@settings(max_examples=16, deadline=None)
@given(rate=rates, prompt=prompts, price=prices)
def test_a_mix_never_costs_more_than_the_cheaper_side_alone(rate: float, prompt: float, price: float) -> None:
    mixed = situation(rate, prompt, price)
    pair = situation(rate, prompt, price, Role.PREFILL, Role.DECODE)
    unified = situation(rate, prompt, price, Role.UNIFIED)
    able = division.able(mixed)
    alone = [cost(pair.policy, targets(pair))] if able[Role.DECODE] else []
    alone += [cost(unified.policy, targets(unified))] if able[Role.UNIFIED] else []
    assert cost(mixed.policy, targets(mixed)) <= min(alone) + 1e-9


@settings(max_examples=16, deadline=None)
@given(rate=rates, prompt=prompts, price=prices)
def test_no_side_gets_more_than_its_replicas_were_sized_for(rate: float, prompt: float, price: float) -> None:
    mixed = situation(rate, prompt, price)
    found = targets(mixed)
    least, most = paces(mixed).shares((found["unified"],), (found["decode"],))
    comes = {Role.UNIFIED: most, Role.DECODE: 1.0 - least, Role.PREFILL: 1.0 - least}
    for role, share in comes.items():
        if share > 0.0:
            due = needs.of_role(mixed, role, math.floor(share * division.STEPS) / division.STEPS)[role.value]
            assert found[role.value] >= due.wanted.replicas


@settings(max_examples=40, deadline=None)
@given(rate=rates, prompt=prompts, unified=counts, decode=counts)
def test_a_side_gets_more_the_more_replicas_it_has(rate: float, prompt: float, unified: int, decode: int) -> None:
    law = paces(situation(rate, prompt, 3.8))
    least, most = law.shares((unified,), (decode,))
    assert 0.0 < least <= most < 1.0
    assert law.shares((unified + 1,), (decode,))[1] > most
    assert law.shares((unified,), (decode + 1,))[1] < most
    assert most <= unified / (unified + decode) + 1e-9, "who computes prompts beside is not the faster one"


@settings(max_examples=40, deadline=None)
@given(rate=rates, prompt=prompts, share=st.floats(0.05, 1.0), role=st.sampled_from(list(Role)))
def test_a_part_of_the_load_never_needs_more_than_all_of_it(
    rate: float, prompt: float, share: float, role: Role
) -> None:
    known = situation(rate, prompt, 3.8)
    part, whole = (needs.of_role(known, role, each)[role.value].wanted for each in (share, 1.0))
    assert 1 <= part.replicas <= whole.replicas


@settings(max_examples=8, deadline=None)
@given(rate=rates, prompt=prompts, price=prices)
def test_what_was_decided_is_decided_again_once_it_serves(rate: float, prompt: float, price: float) -> None:
    known = situation(rate, prompt, price)
    found = targets(known)
    fleet = {name: planning.workload(name, count) for name, count in found.items()}
    serving = replace(known, observed=replace(known.observed, fleet=fleet))
    plan, _ = planner.plan(serving, {})
    assert {name: each.target for name, each in plan.variants.items()} == found
    assert all(reason.code is not Code.OVERLOADED for each in plan.variants.values() for reason in each.reasons)
