"""The CRD against a real API server: taken, and of one mind with the policy room about what a policy may say."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.errors import PolicyError
from autoscaler.policy import inspect_files, parse_policy
from tests.integration.crd import cluster
from tests.servers.control_plane import ControlPlane

GOLDEN = sorted((cluster.ROOT / "tests" / "golden" / "policy").glob("*.yaml"))
GOOD = sorted((cluster.ROOT / "policies").glob("*.yaml"))


BEYOND_A_SERVER = re.compile(r"not supported yet|\.cron: |\.timeZone: |\.calendar\.(?!.*unknown field)")


def mapping(path: Path) -> dict[str, Any] | None:
    """Return the one document of a file, as an API server would get it; None where there is no such thing."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except yaml.YAMLError:
        return None
    return documents[0] if len(documents) == 1 and isinstance(documents[0], dict) else None


def refused(policy: dict[str, Any]) -> tuple[str, ...]:
    """Return what the policy room holds against a resource, less what a server cannot know.

    That is: fields that are not supported *yet*, the calendar, whose holidays are known, the names of time zones.
    """
    try:
        parse_policy(policy)
    except PolicyError as error:
        return tuple(problem for problem in error.problems if not BEYOND_A_SERVER.search(problem))
    return ()


@pytest.fixture(autouse=True)
def _crd(control_plane: ControlPlane) -> None:
    cluster.install(control_plane)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_every_policy_that_ships_is_taken(control_plane: ControlPlane, namespace: str, path: Path) -> None:
    (policy,) = (document for document in [mapping(path)] if document)
    taken = cluster.create(control_plane, namespace, policy, dry_run=True)
    assert taken["spec"]["mode"] in {"Recommend", "Auto"}, "defaults are written down"


@pytest.mark.slow
def test_the_server_refuses_what_the_policy_room_refuses_and_nothing_else(
    control_plane: ControlPlane, namespace: str
) -> None:
    disagreements = []
    judged = 0
    for path in GOLDEN:
        policy = mapping(path)
        if policy is None:
            continue
        judged += 1
        mine = refused(policy)
        theirs = cluster.refusal(control_plane, namespace, policy)
        if bool(mine) != bool(theirs):
            disagreements.append(f"{path.stem}: policy room {mine}, server {theirs!r}")
    assert not disagreements, "\n".join(disagreements)
    assert judged > 50


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("max-below-min", "maxReplicas is below minReplicas; raise it or lower minReplicas"),
        ("scheduler-two-ways", "give exactly one of inferencePool, podSelector, endpointsFile, none"),
        ("profile-named-twice", "Duplicate value"),
        ("variant-named-twice", "have the same name; rename one"),
        ("workload-in-two-variants", "name the same workload in scaleTargetRef"),
        ("limit-below-minimum", "budget.acceleratorLimits is below what minReplicas need"),
        ("budget-below-minimum", "budget.costPerHour is below what minReplicas cost"),
        ("pool-may-vanish", "give one minReplicas 1"),
        ("prefill-without-decode", "name prefill and decode together, or unified alone"),
        ("profile-matches-two-ways", "give exactly one of modelName, fairnessID, priority"),
        ("unknown-field-close", "unknown field"),
    ],
)
def test_a_refusal_says_the_way_out(control_plane: ControlPlane, namespace: str, name: str, words: str) -> None:
    policy = mapping(cluster.ROOT / "tests" / "golden" / "policy" / f"{name}.yaml")
    assert policy is not None
    assert words in cluster.refusal(control_plane, namespace, policy)


def test_defaults_mean_the_same_on_both_sides(control_plane: ControlPlane, namespace: str) -> None:
    """With every default written down by the server a policy is the same, and no more doubtful."""
    for path in GOOD:
        policy = mapping(path)
        assert policy is not None
        taken = cluster.create(control_plane, namespace, policy, dry_run=True)
        taken["metadata"]["namespace"] = policy["metadata"]["namespace"]
        ours, theirs = inspect_files([path]), parse_policy(taken)
        assert theirs.policies == ours.policies
        assert [p.message for p in theirs.warnings] == [p.message for p in ours.problems]
