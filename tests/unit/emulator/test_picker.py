"""The emulated picker, row by row as a running one was observed; and what the controller reads of its page."""

import random
from typing import Any

import pytest

from autoscaler.errors import ObservationError
from autoscaler.observe import picker as reading
from tests.emulator.api import Api
from tests.emulator.picker import LEGACY_KEY, NEW_KEY, Generation, NoEndpointsError, Picker, Pool, endpoints
from tests.emulator.world import Rules, World

POOL = Pool({"app": "m"})


def pod(name: str = "a", *, ready: str = "True", deleted: bool = False, **annotations: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": {"app": "m", "llm-d.ai/role": "decode"}}
    keys = {"new": NEW_KEY, "legacy": LEGACY_KEY}
    metadata["annotations"] = {keys[key]: value for key, value in annotations.items()}
    metadata |= {"deletionTimestamp": "2026-11-23T10:00:00Z"} if deleted else {}
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


@pytest.mark.parametrize(
    ("seen", "member"),
    [
        pytest.param(pod(), True, id="no key"),
        pytest.param(pod(new="", legacy=""), False, id="both keys empty"),
        pytest.param(pod(new=""), False, id="only the new key"),
        pytest.param(pod(legacy=""), False, id="only the legacy key"),
        pytest.param(pod(new="8000", legacy=""), True, id="the new key wins where present"),
        pytest.param(pod(new="", legacy="8000"), False, id="also when it withdraws"),
        pytest.param(pod(new="9999"), False, id="an unknown port drains silently"),
        pytest.param(pod(new="garbage"), False, id="garbage drains silently"),
        pytest.param(pod(new="8000x"), True, id="a leading number counts"),
        pytest.param(pod(ready="False"), False, id="not ready"),
        pytest.param(pod(deleted=True), False, id="being deleted, though ready"),
    ],
)
def test_membership_as_observed(seen: dict[str, Any], *, member: bool) -> None:
    assert bool(endpoints(seen, POOL)) is member


def test_every_member_has_a_series_of_the_new_name_and_of_its_legacy_twin() -> None:
    picker = Picker(POOL, name="p")
    for name in "abc":
        picker.see(pod(name))
    lines = picker.page(10.0).splitlines()
    for name in "abc":
        assert f'llm_d_epp_per_endpoint_queue_size{{model_server_endpoint="{name}-rank-0",name="p"}} 0' in lines
        assert f'inference_pool_per_pod_queue_size{{model_server_pod="{name}-rank-0",name="p"}} 0' in lines


def test_the_count_of_endpoints_is_refreshed_too_rarely_to_verify_anything() -> None:
    picker = Picker(POOL, name="p")
    picker.see(pod())
    shown = 'llm_d_epp_ready_endpoints{name="p"} 1'
    assert shown in picker.page(10.0)
    picker.see(pod(new="", legacy=""))
    assert shown in picker.page(14.9), "the endpoint's own series has gone at once"
    assert "per_endpoint" not in picker.page(14.9)
    assert shown not in picker.page(15.0)


def test_readiness_takes_out_and_brings_back_but_not_a_pod_that_is_being_deleted() -> None:
    picker = Picker(POOL)
    for seen, member in ((pod(), True), (pod(ready="False"), False), (pod(), True), (pod(deleted=True), False)):
        picker.see(seen)
        assert ("a" in picker.members) is member


def test_picks_follow_the_watch() -> None:
    world = World(1, Rules(requests_per_second=1e-9))
    name = next(name for name in world.api.pods if name.startswith("decode"))

    def picked() -> bool:
        return any(name in picker.pick(world.chance) for picker in world.pickers for _ in range(100))

    assert picked()
    for value, member in (("", False), (None, True)):
        world.api.annotate(name, {NEW_KEY: value, LEGACY_KEY: value}, ("somebody", "Update"))
        assert picked() is not member, "not seen yet"
        world.env.run(world.env.now + 0.03)
        assert picked() is member
    world.close()


def test_generations_honour_their_keys() -> None:
    new_only, legacy_only = pod(new=""), pod(legacy="")
    assert endpoints(new_only, POOL, Generation.LEGACY)
    assert not endpoints(legacy_only, POOL, Generation.LEGACY)
    assert endpoints(pod(new="", legacy=""), POOL, Generation.NONE), "too old: only the read-back can tell"


def test_ranks_are_places_in_the_list_of_ports() -> None:
    assert endpoints(pod(new="8001"), Pool({"app": "m"}, (8000, 8001))) == ["a-rank-1"]


def test_a_role_label_that_is_removed_leaves_a_member_that_decodes() -> None:
    picker, bare = Picker(POOL), pod()
    del bare["metadata"]["labels"]["llm-d.ai/role"]
    picker.see(bare)
    assert picker.pick(random.Random(0)) == (None, "a")  # noqa: S311 - a test that can be repeated


def test_a_readmitted_endpoint_shows_nothing_until_it_is_scraped() -> None:
    picker = Picker(POOL, queues={"a": 3.0})
    picker.see(pod(), now=10.0)
    assert 'model_server_endpoint="a-rank-0",name="pool"} 0' in picker.page(10.01)
    assert 'model_server_endpoint="a-rank-0",name="pool"} 3' in picker.page(10.06)


def test_without_members_there_are_no_series_and_every_pick_fails() -> None:
    picker = Picker(POOL)
    picker.see(pod())
    picker.see(pod(new="", legacy=""))
    assert "per_endpoint" not in picker.page()
    assert reading.members(picker.page()) == frozenset(), "all drained: not the same as a picker that is down"
    with pytest.raises(NoEndpointsError):
        picker.pick(random.Random(0))  # noqa: S311 - a test that can be repeated


def test_members_are_read_from_the_new_name_the_legacy_name_and_every_rank() -> None:
    page = (
        'llm_d_epp_per_endpoint_queue_size{model_server_endpoint="decode-7-x-rank-0",name="p"} 3\n'
        'llm_d_epp_per_endpoint_queue_size{model_server_endpoint="decode-7-x-rank-1",name="p"} 3\n'
        'inference_pool_per_pod_queue_size{model_server_pod="old-rank-0",name="p"} 0\n'
    )
    assert reading.members(page) == {"decode-7-x", "old"}


def test_a_page_of_something_else_is_no_empty_pool() -> None:
    with pytest.raises(ObservationError):
        reading.members("vllm:num_requests_running 0\n")


def test_drained_while_the_picker_was_down_is_drained_after_its_restart() -> None:
    picker = Picker(POOL)
    picker.relist([pod("a", new="", legacy=""), pod("b")])
    assert picker.members.keys() == {"b"}


def test_a_blind_watch_learns_of_a_drain_late() -> None:
    world = World(1, Rules())
    name = next(name for name in world.api.pods if name.startswith("decode"))
    world.blind(0, 30.0)
    world.api.annotate(name, {NEW_KEY: "", LEGACY_KEY: ""}, ("somebody", "Update"))
    world.env.run(world.env.now + 0.1)
    assert [name in picker.members for picker in world.pickers] == [True, False]
    world.run(30.0)
    assert [name in picker.members for picker in world.pickers] == [False, False]
    world.close()


def test_apply_removes_own_keys_keeps_others_and_names_who_conflicts() -> None:
    api = Api(pods={"a": {"metadata": {"name": "a", "annotations": {}}}})
    api.annotate("a", {"theirs": "1"}, ("kubectl", "Update"))
    assert not api.applied("a", {NEW_KEY: ""}, "me", force=False)
    assert api.applied("a", {"theirs": "2"}, "me", force=False) == "kubectl"
    assert not api.applied("a", {}, "me", force=False)
    assert api.pods["a"]["metadata"]["annotations"] == {"theirs": "1"}
