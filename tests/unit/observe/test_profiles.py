"""Requests belong to a profile by model alias, else fairness id, else priority, else default."""

from collections.abc import Mapping

import pytest

from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.observe.profiles import Attribution, ProfileTable
from autoscaler.observe.samples import Row
from tests import observing

LIMITS = SLO(Seconds(2.0), Seconds(0.05))
TABLE = ProfileTable(
    observing.policy(
        RequestProfile("urgent", LIMITS, Match(priority=10)),
        RequestProfile("team", LIMITS, Match(fairness_id="team-a")),
        RequestProfile("alias", LIMITS, Match(model_name="m-rag")),
        RequestProfile("team-on-alias", LIMITS, Match(model_name="m-rag", fairness_id="team-a")),
        observing.DEFAULT,
    )
)


def row(**labels: str) -> Row:
    return Row({"namespace": "llm", "model_name": "m", "target_model_name": "m", **labels}, 1.0, Instant(0.0))


@pytest.mark.parametrize(
    ("labels", "profile", "matched"),
    [
        ({}, "default", False),
        ({"priority": "10"}, "urgent", True),
        ({"priority": "1"}, "default", False),
        ({"fairness_id": "team-a", "priority": "10"}, "team", True),
        ({"model_name": "m-rag", "fairness_id": "team-b", "priority": "10"}, "alias", True),
        ({"model_name": "m-rag", "fairness_id": "team-a"}, "team-on-alias", True),
        ({"fairness_id": "default-flow"}, "default", False),
    ],
)
def test_the_strongest_match_decides(labels: Mapping[str, str], profile: str, *, matched: bool) -> None:
    assert TABLE.attribute(row(**labels)) == Attribution(profile, matched)


@pytest.mark.parametrize(
    ("labels", "owned"),
    [
        ({}, True),
        ({"model_name": "m-rag"}, True),
        ({"model_name": "unknown-alias"}, True),  # rewritten to the policy's model
        ({"model_name": "other", "target_model_name": "other"}, False),
        ({"namespace": "elsewhere"}, False),
    ],
)
def test_a_policy_owns_the_traffic_of_its_model_in_its_namespace(labels: Mapping[str, str], *, owned: bool) -> None:
    assert TABLE.owns(row(**labels)) is owned


def test_a_policy_that_leaves_traffic_to_nobody_is_refused() -> None:
    lonely = observing.policy(RequestProfile("team", LIMITS, Match(fairness_id="team-a")))
    with pytest.raises(InputError, match="add a profile 'default'"):
        ProfileTable(lonely)
