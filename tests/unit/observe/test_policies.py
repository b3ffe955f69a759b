"""Policies as resources: which can be used together, and what becomes of what was learned when they change."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from autoscaler.cli import roster, wiring
from autoscaler.decider import Decider
from autoscaler.domain.policy import Mode, SLOPolicy
from autoscaler.domain.profile import Match
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe import policies
from autoscaler.observe.policies import Policies, Resource
from autoscaler.policy import office
from tests import planning, ticks

CHAT = yaml.safe_load((Path(__file__).parents[3] / "policies" / "chat.yaml").read_text(encoding="utf-8"))


def resource(
    name: str,
    *,
    created: str = "2026-11-23T10:00:00Z",
    target: str = "",
    annotations: Mapping[str, str] = MappingProxyType({}),
    **spec: Any,  # noqa: ANN401
) -> Resource:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "llm",
        "uid": f"uid-{name}",
        "generation": 3,
        "creationTimestamp": created,
    }
    metadata["annotations"] = dict(annotations)
    found = {"metadata": metadata, "spec": yaml.safe_load(yaml.safe_dump(CHAT["spec"])) | spec}
    for pool in found["spec"]["pools"].values():
        pool["variants"][0]["scaleTargetRef"]["name"] += target
    return policies.seen(found)


def test_a_resource_is_read_with_its_identity() -> None:
    found = resource("chat")
    assert (found.key, found.uid, found.generation, found.problems) == ("llm/chat", "uid-chat", 3, ())
    assert found.policy is not None
    assert found.policy.key == "llm/chat"


def test_a_bad_one_stops_no_other() -> None:
    good, bad = resource("good"), resource("bad", target="-2", profiles=[])
    found = policies.usable([bad, good])
    assert [policy.name for policy in found.usable] == ["good"]
    assert list(found.refused) == ["llm/bad"]
    assert "spec.profiles" in found.refused["llm/bad"][0]


def test_of_two_that_claim_a_workload_the_older_keeps_it() -> None:
    young, old = resource("a", created="2026-11-23T11:00:00Z"), resource("b", created="2026-11-23T09:00:00Z")
    found = policies.usable([young, old])
    assert [policy.name for policy in found.usable] == ["b"]
    assert "is scaled by variant llm/b/prefill already" in found.refused["llm/a"][0]


def test_what_clashes_only_with_a_refused_one_is_used() -> None:
    old = resource("old", created="2026-11-23T09:00:00Z")
    between = resource("between")
    young = resource("young", created="2026-11-23T11:00:00Z", target="-2")
    both = (*_variants(old)[:1], *_variants(young)[1:])  # one workload of each neighbour
    mixed = replace(between, policy=replace(_policy(between), variants=both))
    found = policies.usable([young, mixed, old])
    assert [policy.name for policy in found.usable] == ["old", "young"]


def _variants(found: Resource) -> tuple[Any, ...]:
    assert found.policy is not None
    return found.policy.variants


@pytest.mark.parametrize("profile", ["nonesuch", "n" * 400])
def test_engines_that_nobody_knows_refuse_their_policy_only(profile: str) -> None:
    good, lost = resource("good"), resource("lost", target="-2")
    strange = replace(_policy(lost), variants=tuple(replace(v, performance_profile=profile) for v in _variants(lost)))
    found = roster.usable(Policies((strange, _policy(good))))
    assert [policy.name for policy in found.policies] == ["good"]
    assert list(found.priors) == ["llm/good"]
    assert profile in found.refused["llm/lost"][0]


def _policy(found: Resource) -> SLOPolicy:
    assert found.policy is not None
    return found.policy


@pytest.fixture
def learned() -> tuple[Decider, SLOPolicy]:
    """Return a decider that has seen decode steps of 200 ms for ten minutes: slower than it believed."""
    policy = replace(planning.policy(), model="Qwen/Qwen3-32B")
    slow = {
        f"decode-{n}": replace(
            planning.engine(f"decode-{n}", running=32.0),
            kv_use_ratio=0.5,
            kv_capacity_tokens=258_608.0,
            itl_mean_s=0.2,
            output_tokens_per_second=160.0,
        )
        for n in range(2)
    }
    decider = Decider([policy], wiring.priors([policy]), period=Seconds(15.0))
    decider.warm(
        ticks.tick(policy, model=ticks.observed(policy, engines=slow), at=Instant(planning.NOW + 15.0 * n)).observation
        for n in range(40)
    )
    return decider, policy


def test_a_changed_bound_forgets_nothing(learned: tuple[Decider, SLOPolicy]) -> None:
    decider, policy = learned
    before = decider.replica_model(policy.key, "decode")
    assert before != wiring.priors([policy])[policy.key]["decode"].model, "something was learned"
    changed = replace(policy, variants=tuple(replace(v, max_replicas=5) for v in policy.variants))
    assert decider.follow([changed], wiring.priors([changed])) == ()
    assert decider.replica_model(policy.key, "decode") == before


def test_other_engines_are_learned_anew(learned: tuple[Decider, SLOPolicy]) -> None:
    decider, policy = learned
    changed = replace(policy, variants=tuple(replace(v, accelerators_per_replica=2) for v in policy.variants))
    priors = wiring.priors([changed])
    decider.follow([changed], priors)
    assert decider.replica_model(policy.key, "decode") == priors[policy.key]["decode"].model


def test_newcomers_are_told_and_those_that_went_are_forgotten(learned: tuple[Decider, SLOPolicy]) -> None:
    decider, policy = learned
    other = replace(policy, name="other")
    assert decider.follow([policy, other], wiring.priors([policy, other])) == (other.key,)
    assert decider.follow([other], wiring.priors([other])) == ()
    plan = decider.decide(ticks.tick(policy, model=ticks.observed(policy)).observation)
    assert policy.key not in plan.models


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        pytest.param({"slo": SLO(Seconds(1.0), Seconds(0.03), 0.9)}, True, id="another limit"),
        pytest.param({"match": Match(fairness_id="other")}, False, id="other requests"),
    ],
)
def test_the_load_is_remembered_as_long_as_the_requests_are_the_same(
    learned: tuple[Decider, SLOPolicy], change: dict[str, Any], *, kept: bool
) -> None:
    decider, policy = learned
    changed = replace(policy, profiles=(replace(policy.profiles[0], **change), *policy.profiles[1:]))
    decider.follow([changed], wiring.priors([changed]))
    unseen = {name: planning_gap(load) for name, load in ticks.observed(changed).loads.items()}
    at = Instant(planning.NOW + 605.0)
    plan = decider.decide(ticks.tick(changed, model=ticks.observed(changed, loads=unseen), at=at).observation)
    codes = {reason.code.value for variant in plan.models[changed.key].variants.values() for reason in variant.reasons}
    assert ("HELD_ON_GAP" not in codes) is kept


def planning_gap(load: Any) -> Any:  # noqa: ANN401 - a ProfileLoad
    """Return a load of which nothing is seen any more."""
    missing = load.queued_requests
    return replace(
        load,
        requests_per_second=missing,
        uncached_prompt_tokens_per_second=missing,
        output_tokens_per_second=missing,
    )


BAD: dict[str, Any] = {"profiles": []}
AUTO: dict[str, Any] = {"mode": "Auto"}


def rolled(*resources: Resource, before: roster.Roll = roster.NOBODY) -> roster.Roll:
    return roster.usable(policies.usable(resources), before)


def after_a_restart(found: Resource, roll: roster.Roll) -> Resource:
    """Return a resource whose status says what was in office, as the writer writes it."""
    written = roll.written[found.key]
    return replace(found, status={"inOffice": {"generation": written.generation, "spec": written.spec}})


def test_an_edit_that_cannot_be_used_leaves_the_former_version_in_office() -> None:
    former = rolled(resource("chat"))
    broken = rolled(resource("chat", **BAD), before=former)
    assert broken.policies == former.policies
    assert broken.written == former.written
    assert set(broken.priors) == {"llm/chat"}
    assert broken.refused["llm/chat"][-1] == office.STANDS_IN
    assert "spec.profiles" in broken.refused["llm/chat"][0]
    assert rolled(resource("chat"), before=broken).refused == {}


def test_a_restart_goes_on_with_the_version_in_office() -> None:
    former = rolled(resource("chat", **AUTO))
    broken = resource("chat", **BAD, **AUTO)
    running, restarted = rolled(broken, before=former), rolled(after_a_restart(broken, former))
    assert former.policies[0].mode is Mode.AUTO
    assert restarted == running
    assert restarted.policies == former.policies


@pytest.mark.parametrize(
    "newest", [pytest.param({"mode": "Recommend"}, id="says Recommend"), pytest.param({"mode": "auto"}, id="says auto")]
)
def test_a_stand_in_acts_only_where_the_newest_version_says_so(newest: dict[str, Any]) -> None:
    former = rolled(resource("chat", **AUTO))
    broken = resource("chat", **BAD, **newest)
    running, restarted = rolled(broken, before=former), rolled(after_a_restart(broken, former))
    assert restarted == running
    assert running.policies == (replace(former.policies[0], mode=Mode.RECOMMEND),)
    assert running.refused["llm/chat"][-1] == office.STANDS_IN_CAREFULLY
    again = rolled(resource("chat", **BAD, **AUTO), before=running)
    assert again.policies == former.policies, "what it meant is not lost by that"


def test_a_stand_in_of_a_policy_that_was_to_be_paused_only_recommends() -> None:
    former = rolled(resource("chat", **AUTO))
    paused = rolled(resource("chat", annotations={"disagg-autoscaler.io/paused": "true"}, **AUTO), before=former)
    assert "write mode: Recommend to pause" in paused.refused["llm/chat"][0]
    assert paused.policies == (replace(former.policies[0], mode=Mode.RECOMMEND),)


def test_what_was_refused_for_its_engines_is_stood_in_for_too() -> None:
    former = rolled(resource("chat"))
    pools = yaml.safe_load(yaml.safe_dump(CHAT["spec"]["pools"]))
    pools["decode"]["variants"][0]["performanceProfile"] = "nonesuch"
    restarted = rolled(after_a_restart(resource("chat", pools=pools), former))
    assert restarted.policies == former.policies
    assert "nonesuch" in restarted.refused["llm/chat"][0]


def test_what_statuses_say_makes_no_other_set_of_policies() -> None:
    found = resource("chat")
    assert policies.usable([found]) == policies.usable([after_a_restart(found, rolled(found))])


def test_a_policy_that_was_deleted_stands_for_nothing() -> None:
    assert rolled(before=rolled(resource("chat"))).policies == ()


@pytest.mark.parametrize("status", [{}, {"inOffice": "{}"}])
def test_a_status_that_keeps_nothing_stands_for_nothing(status: dict[str, Any]) -> None:
    found = rolled(replace(resource("chat", **BAD), status=status))
    assert found.policies == ()
    assert len(found.refused["llm/chat"]) == 1


def test_no_former_version_keeps_a_workload_that_another_policy_has_now() -> None:
    former = rolled(resource("chat"))
    heir, broken = resource("heir", created="2026-11-23T09:00:00Z"), resource("chat", **BAD)
    for found in (rolled(heir, broken, before=former), rolled(heir, after_a_restart(broken, former))):
        assert [policy.name for policy in found.policies] == ["heir"]
        assert set(found.written) == {"llm/heir"}
