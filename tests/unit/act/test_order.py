"""Laws of the order of actions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.act import order
from autoscaler.domain.plan import Action, Announce, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.policy import Budget, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant

KINDS = ("H200", "L40S")


def variant(number: int, accelerator: str, size: int, cost: float) -> Variant:
    name = f"v{number}"
    role = Role.PREFILL if number % 2 else Role.DECODE
    return Variant(name, role, ScaleTarget("llm", "apps/v1", "Deployment", name), accelerator, size, cost, 0, 12)


def policy(variants: tuple[Variant, ...], budget: Budget) -> SLOPolicy:
    return SLOPolicy(name="m", namespace="llm", model="m", profiles=(), variants=variants, budget=budget)


def ref(name: str) -> VariantRef:
    return VariantRef("llm/m", name)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Action], SLOPolicy, dict[str, int]]:
    variants = tuple(
        variant(number, draw(st.sampled_from(KINDS)), draw(st.integers(1, 4)), draw(st.sampled_from((1.0, 2.5, 6.0))))
        for number in range(draw(st.integers(1, 5)))
    )
    limits = tuple((kind, draw(st.integers(0, 60))) for kind in KINDS if draw(st.booleans()))
    budget = Budget(limits, draw(st.none() | st.floats(0, 150)))
    requested = {found.name: draw(st.integers(0, 12)) for found in variants}
    actions: list[Action] = []
    for found in variants:
        name = ref(found.name)
        kinds: tuple[type[Withdraw | Readmit | Announce], ...] = (Withdraw, Readmit, Announce)
        pods = draw(st.lists(st.sampled_from(kinds), max_size=3))
        actions += [kind(name, f"{found.name}-{number}") for number, kind in enumerate(pods)]
        if draw(st.booleans()):
            actions.append(Scale(name, draw(st.integers(0, 12)), requested[found.name]))
    return draw(st.permutations(actions)), policy(variants, budget), requested


def excess(use: order.Use, budget: Budget) -> list[float]:
    """Return by how much each limit is exceeded."""
    over = [float(max(0, use.accelerators.get(kind, 0) - limit)) for kind, limit in budget.accelerator_limits]
    return [*over, 0.0 if budget.cost_per_hour is None else max(0.0, use.cost_per_hour - budget.cost_per_hour)]


@given(cases())
def test_nothing_is_lost_or_added(case: tuple[list[Action], SLOPolicy, dict[str, int]]) -> None:
    actions, owner, requested = case
    assert sorted(map(repr, order.ordered(actions, owner, requested))) == sorted(map(repr, actions))


@given(cases())
def test_a_pod_is_withdrawn_before_its_variant_shrinks_and_announced_after_it_was_scaled(
    case: tuple[list[Action], SLOPolicy, dict[str, int]],
) -> None:
    done = order.ordered(*case)
    for position, action in enumerate(done):
        if isinstance(action, Scale):
            later = [other for other in done[position:] if other.variant == action.variant]
            earlier = [other for other in done[:position] if other.variant == action.variant]
            assert action.replicas > action.observed or not any(isinstance(other, Withdraw) for other in later)
            assert not any(isinstance(other, Announce) for other in earlier)


@given(cases())
def test_no_step_exceeds_the_budget_by_more_than_start_or_end_do(
    case: tuple[list[Action], SLOPolicy, dict[str, int]],
) -> None:
    actions, owner, requested = case
    done = order.ordered(actions, owner, requested)
    use = order.used(owner, requested)
    steps = [use]
    for action in done:
        if isinstance(action, Scale):
            use = use.grown(owner.variant(action.variant.variant), action.replicas - action.observed)
            steps.append(use)
    allowed = [
        max(first, last) for first, last in zip(excess(steps[0], owner.budget), excess(use, owner.budget), strict=True)
    ]
    for step in steps:
        assert all(over <= most + 1e-9 for over, most in zip(excess(step, owner.budget), allowed, strict=True))


@given(cases())
def test_growth_waits_for_no_shrink_where_the_budget_has_room(
    case: tuple[list[Action], SLOPolicy, dict[str, int]],
) -> None:
    actions, owner, requested = case
    rich = replace(owner, budget=Budget())
    assert not order.growth_behind_shrink(order.ordered(actions, rich, requested))


@given(cases())
def test_waves_keep_the_order_of_every_variant_and_between_directions(
    case: tuple[list[Action], SLOPolicy, dict[str, int]],
) -> None:
    actions, _, _ = case
    waves = order.waves(actions)
    assert [position for wave in waves for position in wave] == list(range(len(actions)))
    for wave in waves:
        members = [actions[position] for position in wave]
        assert len({member.variant for member in members}) == len(members)
        assert (
            len({(type(member), isinstance(member, Scale) and member.replicas > member.observed) for member in members})
            == 1
        )


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(12, ["v1 2->4", "v0 4->2"], id="room for both: growth first"),
        pytest.param(6, ["v0 4->2", "v1 2->4"], id="a full budget: growth after the release"),
    ],
)
def test_a_shift_between_roles(limit: int, expected: list[str]) -> None:
    owner = policy((variant(0, "H200", 1, 6.0), variant(1, "H200", 1, 6.0)), Budget((("H200", limit),)))
    actions = [Scale(ref("v0"), 2, 4), Scale(ref("v1"), 4, 2)]
    done = order.ordered(actions, owner, {"v0": 4, "v1": 2})
    assert [f"{a.variant.variant} {a.observed}->{a.replicas}" for a in done if isinstance(a, Scale)] == expected


def test_a_variant_of_unknown_size_counts_as_full() -> None:
    owner = policy((variant(0, "H200", 1, 6.0), variant(1, "H200", 1, 6.0)), Budget((("H200", 15),)))
    assert order.used(owner, {"v0": 3}).accelerators == {"H200": 15}
