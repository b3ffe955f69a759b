"""Whose pod is it? By chain of owners, else by selector; never by guess."""

import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.domain.fleet import Pod, PodState
from autoscaler.domain.units import Instant
from autoscaler.observe import selectors
from autoscaler.observe.owners import Above, Claim, Unreadable, attributed
from autoscaler.observe.pods import GROUP_MEMBER, Owner, SeenPod


def owner(uid: str, kind: str = "ReplicaSet") -> Owner:
    return Owner("apps/v1", kind, uid, uid)


def pod(name: str, of: Owner | None, **labels: str) -> SeenPod:
    return SeenPod(Pod(name, "", PodState.READY, Instant(0.0), uid=name), of, labels)


def claim(uid: str, selector: str = "", *, owns: bool = True) -> Claim:
    return Claim(uid, selectors.of_text(selector), owns)


def names(pods: Mapping[str, tuple[SeenPod, ...]]) -> dict[str, list[str]]:
    return {uid: [found.pod.name for found in belonging] for uid, belonging in pods.items()}


CHAIN: dict[str, Above] = {"rs": owner("deploy", "Deployment"), "sts": owner("lws", "LeaderWorkerSet"), "job": None}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(pod("p", owner("deploy")), {"deploy": ["p"], "lws": []}, id="owned directly"),
        pytest.param(pod("p", owner("rs")), {"deploy": ["p"], "lws": []}, id="through a replica set"),
        pytest.param(pod("p", owner("sts")), {"deploy": [], "lws": ["p"]}, id="the leader of a group"),
        pytest.param(pod("p", owner("sts"), **{GROUP_MEMBER: "2"}), {"deploy": [], "lws": []}, id="a worker"),
        pytest.param(pod("p", owner("job"), app="d"), {"deploy": [], "lws": []}, id="of another owner, label or not"),
        pytest.param(pod("p", owner("?"), app="d"), {"deploy": ["p"], "lws": []}, id="unreadable owner: by label"),
        pytest.param(pod("p", owner("?"), app="x"), {"deploy": [], "lws": []}, id="unreadable owner, no label"),
        pytest.param(pod("p", None, app="d"), {"deploy": [], "lws": []}, id="without owner: not of a Deployment"),
        pytest.param(pod("p", None, app="g"), {"deploy": [], "lws": ["p"]}, id="without owner: of a custom kind"),
    ],
)
def test_to_whom_a_pod_belongs(seen: SeenPod, expected: dict[str, list[str]]) -> None:
    claims = (claim("deploy", "app=d"), claim("lws", "app=g", owns=False))
    assert names(attributed([seen], claims, CHAIN).pods) == expected


def test_a_pod_that_two_targets_select_makes_both_doubtful_and_belongs_to_none() -> None:
    claims = (claim("a", "app=d"), claim("b", "tier in (d,e)"), claim("c", "app=c"))
    found = attributed([pod("p", owner("?"), app="d", tier="d")], claims, {"?": Unreadable()})
    assert (names(found.pods), found.disputed) == ({"a": [], "b": [], "c": []}, {"a": "p", "b": "p"})


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "rs-a", "rs-b", "lost", "?"]), st.sampled_from(["a", "b", "c"])), max_size=30
    )
)
def test_no_pod_counts_twice(drawn: list[tuple[str, str]]) -> None:
    pods = [pod(f"p{number}", owner(uid), app=label) for number, (uid, label) in enumerate(drawn)]
    above: dict[str, Above] = {"rs-a": owner("a"), "rs-b": owner("b"), "lost": None}
    found = attributed(pods, (claim("a", "app in (a,c)"), claim("b", "app in (b,c)")), above)
    counted = [seen.pod.name for belonging in found.pods.values() for seen in belonging]
    assert len(counted) == len(set(counted))
    assert not set(found.disputed.values()) & set(counted)


def test_ten_thousand_pods_of_two_hundred_targets_are_sorted_in_a_blink() -> None:
    claims = [claim(f"d{number}", f"app=d{number}") for number in range(200)]
    above: dict[str, Above] = {f"rs{number}": owner(f"d{number}") for number in range(200)}
    pods = [pod(f"p{number}", owner(f"rs{number % 200}"), app=f"d{number % 200}") for number in range(10_000)]
    begun = time.process_time()
    found = attributed(pods, claims, above)
    took_s = time.process_time() - begun
    assert {len(belonging) for belonging in found.pods.values()} == {50}
    assert took_s < 1.0
    print(f"10,000 pods: {took_s * 1000:.0f} ms")  # noqa: T201


@pytest.mark.parametrize(
    ("text", "labels", "selects"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c),d", {"a": "c", "d": ""}, True),
        ("a in (b,c),d", {"a": "c"}, False),
        ("a notin (b)", {"a": "c"}, True),
        ("!a", {}, True),
        ("!a", {"a": "x"}, False),
        ("example.org/role=decode,a=", {"example.org/role": "decode", "a": ""}, True),
        ("", {"a": "b"}, False),
    ],
)
def test_selectors_as_scale_spells_them(text: str, labels: dict[str, str], *, selects: bool) -> None:
    assert selectors.of_text(text).selects(labels) is selects


@pytest.mark.parametrize("text", ["a=(b", "a in b", "=b", "a,,b", "a b"])
def test_what_is_no_selector_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a label selector"):
        selectors.of_text(text)


OPERATORS = {"In": "a in (x,y)", "NotIn": "a notin (x,y)", "Exists": "a", "DoesNotExist": "!a"}


@given(st.sampled_from(sorted(OPERATORS)), st.dictionaries(st.sampled_from("ab"), st.sampled_from("xyz")))
def test_both_spellings_mean_the_same(operator: str, labels: dict[str, str]) -> None:
    values = {"values": ["x", "y"]} if operator.endswith("In") else {}
    spec = {"matchExpressions": [{"key": "a", "operator": operator, **values}]}
    assert selectors.of_object(spec).selects(labels) is selectors.of_text(OPERATORS[operator]).selects(labels)
