"""Every namespace is one controller's, whatever the number; nobody has to agree on anything."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.cli import shards
from autoscaler.cli.shards import Shard
from autoscaler.domain.policy import Budget, Written
from autoscaler.errors import InputError
from autoscaler.observe.policies import Policies
from tests import planning

POLICY = planning.policy()


@given(st.text(min_size=1, max_size=63), st.integers(1, 50))
def test_a_namespace_is_exactly_one_controllers(namespace: str, of: int) -> None:
    assert [Shard(number, of).has(namespace) for number in range(1, of + 1)].count(True) == 1


def test_whose_a_namespace_is_never_changes() -> None:
    """A release that divides otherwise would let two controllers act for one policy during a roll-out."""
    known = {
        name: next(n for n in range(1, 5) if Shard(n, 4).has(name)) for name in ("llm", "chat", "team-a", "team-b")
    }
    assert known == {"llm": 3, "chat": 3, "team-a": 1, "team-b": 3}


def test_many_namespaces_are_spread_about_evenly() -> None:
    names = [f"team-{n}" for n in range(1000)]
    sizes = [sum(Shard(number, 5).has(name) for name in names) for number in range(1, 6)]
    assert min(sizes) > 150


def test_refused_policies_are_told_of_by_one_controller() -> None:
    found = Policies((), {f"team-{n}/chat": ("wrong",) for n in range(50)})
    parts = [Shard(number, 3).part(found).refused for number in (1, 2, 3)]
    assert sum(map(len, parts)) == 50
    assert set().union(*parts) == set(found.refused)


def test_what_is_known_of_policies_goes_to_the_controller_that_has_them() -> None:
    keys = [f"team-{n}/chat" for n in range(50)]
    versions = dict.fromkeys(keys, Written(1, "{}"))
    found = Policies((), {}, versions, frozenset(keys), versions)
    parts = [Shard(number, 3).part(found) for number in (1, 2, 3)]
    for part in parts:
        assert set(part.written) == set(part.in_office) == part.auto
    assert sum(len(part.auto) for part in parts) == 50


def test_an_undivided_controller_has_all_under_the_lease_it_always_had() -> None:
    found = Policies((POLICY,), {"x/y": ("wrong",)})
    assert Shard().part(found) == found
    assert Shard().lease(("ns", "name")) == ("ns", "name")
    assert Shard(2, 3).lease(("ns", "name")) == ("ns", "name-2-of-3")
    assert Shard(2, 3).lease(None) is None


def test_a_budget_that_two_controllers_would_spend_is_named() -> None:
    mine = next(f"team-{n}" for n in range(99) if Shard(1, 2).has(f"team-{n}"))
    other = next(f"team-{n}" for n in range(99) if Shard(2, 2).has(f"team-{n}"))
    shared = replace(POLICY, budget=Budget((("H200-SXM", 8),), shared_as="cluster"))
    both = [replace(shared, namespace=mine), replace(shared, namespace=other)]
    assert Shard(1, 2).torn(both) == ("cluster",)
    assert Shard(1, 2).torn(both[:1]) == ()
    assert Shard().torn(both) == ()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2", "1/99999"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--shard"):
        shards.parsed(text)


def test_a_shard_reads_as_it_is_written() -> None:
    assert str(shards.parsed("2/3")) == "2/3"
