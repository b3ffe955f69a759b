"""Whose pod is it? Deployments, StatefulSets, groups and custom resources on a real API server."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from autoscaler.act.kube import KubeActuator
from autoscaler.domain.fleet import Workload
from autoscaler.domain.membership import Drain
from autoscaler.domain.plan import Readmit, VariantRef, Withdraw
from autoscaler.domain.record import Result
from autoscaler.domain.signal import GapReason
from autoscaler.domain.units import Instant
from autoscaler.publish.kube import KubeMembership
from tests.integration.kube import stage
from tests.servers.control_plane import CONTROLLER_AUTO, ApiError, ControlPlane, eventually
from tests.servers.groups import CRD, GROUP

LWS = (f"{GROUP}/v1", "LeaderWorkerSet")
LWS_PATH = f"/apis/{GROUP}/v1/namespaces/{{namespace}}/leaderworkersets"
STATEFUL = "/apis/apps/v1/namespaces/{namespace}/statefulsets"
LABELS = "leaderworkerset.sigs.k8s.io"
INDEX = f"{LABELS}/worker-index"


@pytest.fixture
def group_kind(control_plane: ControlPlane) -> None:
    """Serve LeaderWorkerSets."""
    serve(control_plane, CRD, LWS_PATH.format(namespace="default"))


def serve(plane: ControlPlane, crd: dict[str, Any], path: str) -> None:
    """Serve a kind; it is there when its path answers."""
    with suppress(ApiError):  # another test has created it
        plane.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)

    def served() -> bool:
        try:
            plane.request("GET", path)
        except ApiError:
            return False
        return True

    eventually(served, what="the new kind")


def owner(kind: str, api_version: str, of: dict[str, Any]) -> list[dict[str, Any]]:
    metadata = of["metadata"]
    return [
        {"apiVersion": api_version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"], "controller": True}
    ]


def stateful(name: str, replicas: int, owners: list[dict[str, Any]]) -> dict[str, Any]:
    body = stage.deployment(name, replicas)
    body["metadata"] |= {"ownerReferences": owners}
    body["spec"] |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return body


def pod(name: str, labels: dict[str, str], owners: list[dict[str, Any]]) -> dict[str, Any]:
    containers = [{"name": "engine", "image": "engine"}]
    return {"metadata": {"name": name, "labels": labels, "ownerReferences": owners}, "spec": {"containers": containers}}


@pytest.mark.usefixtures("kubelet", "group_kind")
def test_of_a_group_only_the_leader_counts(control_plane: ControlPlane, namespace: str) -> None:
    """Pods are made as the real controller makes them: leader set -> leaders -> worker sets -> workers."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return control_plane.request("POST", path.format(namespace=namespace), body)

    group = post(
        LWS_PATH, {"apiVersion": LWS[0], "kind": LWS[1], "metadata": {"name": "decode"}, "spec": {"replicas": 2}}
    )
    leaders = post(STATEFUL, stateful("decode", 2, owner("LeaderWorkerSet", LWS[0], group)))
    eventually(lambda: running(control_plane, namespace) == {"decode-0", "decode-1"}, what="the leaders")
    assert leaders["spec"]["replicas"] == 2
    leader = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/pods/decode-0")
    workers = post(STATEFUL, stateful("decode-0", 0, owner("Pod", "v1", leader)))
    post(
        "/api/v1/namespaces/{namespace}/pods", pod("decode-0-1", {INDEX: "1"}, owner("StatefulSet", "apps/v1", workers))
    )

    async def play() -> tuple[Workload, tuple[Result, ...]]:
        policy = stage.policy(namespace, stage.variant("decode", namespace, kind=LWS))
        async with (
            stage.fleet(control_plane.kubeconfig(), policy) as fleet,
            stage.session(control_plane.kubeconfig()) as session,
        ):
            await stage.until(fleet, lambda view: stage.ready(view) == 2)
            found = await stage.workload(fleet)
            outcome = await KubeActuator(session, [policy]).apply([stage.scale(namespace, "decode", 3, 2)])
            await stage.until(fleet, lambda view: (now := stage.present(view)) is not None and now.requested == 3)
            return found, tuple(result.result for result in outcome.results)

    found, results = asyncio.run(play())
    assert ([pod.name for pod in found.pods], found.requested) == (["decode-0", "decode-1"], 2)
    assert results == (Result.DONE,)


@pytest.mark.usefixtures("kubelet", "group_kind")
def test_a_leader_knows_the_other_pods_of_its_group_and_which_of_them_are_withdrawn(
    control_plane: ControlPlane, namespace: str
) -> None:
    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return control_plane.request("POST", path.format(namespace=namespace), body)

    group = post(
        LWS_PATH, {"apiVersion": LWS[0], "kind": LWS[1], "metadata": {"name": "decode"}, "spec": {"replicas": 1}}
    )
    of_group = {f"{LABELS}/name": "decode", f"{LABELS}/group-index": "0"}
    post(STATEFUL, stateful("decode", 1, owner("LeaderWorkerSet", LWS[0], group)))
    eventually(lambda: running(control_plane, namespace) == {"decode-0"}, what="the leader")
    labels = {"metadata": {"labels": {INDEX: "0", **of_group}}}
    control_plane.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/decode-0", labels)
    post("/api/v1/namespaces/{namespace}/pods", pod("w", {INDEX: "1", **of_group}, []))
    ref, start = VariantRef(f"{namespace}/model", "decode"), Instant(1_800_000_000.0)
    withdraw = Withdraw(ref, "w", "", Drain(start, Instant(start + 600.0)))

    async def play() -> list[tuple[str, ...]]:
        policy, told = stage.policy(namespace, stage.variant("decode", namespace, kind=LWS)), []
        async with (
            stage.fleet(control_plane.kubeconfig(), policy) as fleet,
            stage.session(control_plane.kubeconfig()) as session,
        ):
            await stage.until(fleet, lambda view: [pod.others for pod in stage.pods(view)] == [("w",)])
            for action, dark in ((withdraw, ("w",)), (Readmit(ref, "w"), ())):
                (result,) = (await KubeMembership(session).apply([action])).results
                assert result.result is Result.DONE, result.detail
                seen = await stage.until(fleet, lambda view: stage.pods(view)[0].others_withdrawn == dark)  # noqa: B023
                told.append(stage.pods(seen)[0].others_withdrawn)
            return told

    assert asyncio.run(play()) == [("w",), ()]


OTHER_KINDS = [
    ("disaggregatedset.x-k8s.io", "v1", "DisaggregatedSetRoleScaler", "disaggregatedsetrolescalers"),
    ("serving.kserve.io", "v1alpha1", "LLMInferenceService", "llminferenceservices"),
]


@pytest.mark.usefixtures("kubelet")
@pytest.mark.parametrize(("group", "version", "kind", "plural"), OTHER_KINDS, ids=str)
def test_any_kind_with_a_scale_is_followed_and_resized(
    control_plane: ControlPlane, namespace: str, group: str, version: str, kind: str, plural: str
) -> None:
    """The kinds' own CRDs are not to be had here: one of the same group, kind and /scale stands in."""
    crd = json.loads(json.dumps(CRD).replace("leaderworkersets", plural))
    crd["metadata"]["name"], crd["spec"]["group"] = f"{plural}.{group}", group
    crd["spec"]["names"] = {"plural": plural, "singular": kind.lower(), "kind": kind}
    crd["spec"]["versions"][0]["name"] = version
    serve(control_plane, crd, f"/apis/{group}/{version}/namespaces/default/{plural}")
    path = f"/apis/{group}/{version}/namespaces/{namespace}/{plural}"
    body = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": "decode"}, "spec": {"replicas": 2}}
    control_plane.request("POST", path, body)
    control_plane.request("PATCH", f"{path}/decode/status", {"status": {"hpaPodSelector": "serves=decode"}})
    for name in ("a", "b"):
        control_plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod(name, {"serves": "decode"}, []))

    async def play() -> Result:
        policy = stage.policy(namespace, stage.variant("decode", namespace, kind=(f"{group}/{version}", kind)))
        async with (
            stage.fleet(control_plane.kubeconfig(), policy) as fleet,
            stage.session(control_plane.kubeconfig()) as session,
        ):
            await stage.until(fleet, lambda view: stage.ready(view) == 2)
            (result,) = (await KubeActuator(session, [policy]).apply([stage.scale(namespace, "decode", 1, 2)])).results
            await stage.until(fleet, lambda view: (now := stage.present(view)) is not None and now.requested == 1)
            return result.result

    assert asyncio.run(play()) is Result.DONE


def running(plane: ControlPlane, namespace: str) -> set[str]:
    return {
        found["metadata"]["name"] for found in plane.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    }


@pytest.mark.usefixtures("kubelet", "group_kind")
def test_pods_without_owners_are_found_by_the_selector_of_scale(control_plane: ControlPlane, namespace: str) -> None:
    path = LWS_PATH.format(namespace=namespace)
    body = {"apiVersion": LWS[0], "kind": LWS[1], "metadata": {"name": "decode"}, "spec": {"replicas": 1}}
    control_plane.request("POST", path, body)
    status = {"status": {"hpaPodSelector": "serves in (decode),!draft", "replicas": 1}}
    control_plane.request("PATCH", f"{path}/decode/status", status)
    for name, labels in (("a", {"serves": "decode"}), ("b", {"serves": "decode", "draft": ""}), ("c", {})):
        control_plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod(name, labels, []))

    async def play() -> tuple[str, ...]:
        policy = stage.policy(namespace, stage.variant("decode", namespace, kind=LWS))
        async with stage.fleet(control_plane.kubeconfig(), policy) as fleet:
            return tuple(pod.name for pod in stage.pods(await stage.until(fleet, lambda view: stage.ready(view) == 1)))

    assert asyncio.run(play()) == ("a",)


@pytest.mark.usefixtures("kubelet")
def test_stateful_and_stateless_pools_side_by_side(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.request("POST", STATEFUL.format(namespace=namespace), stateful("prefill", 2, []))
    control_plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment("decode", 1))
    variants = (
        stage.variant("prefill", namespace, kind=("apps/v1", "StatefulSet")),
        stage.variant("decode", namespace),
    )

    async def play() -> tuple[str, ...]:
        async with stage.fleet(control_plane.kubeconfig(), stage.policy(namespace, *variants)) as fleet:
            seen = await stage.until(fleet, lambda view: (stage.ready(view, "prefill"), stage.ready(view)) == (2, 1))
            assert len(fleet.copies) == 3, "one watch per kind and namespace"
            return tuple(pod.name for pod in stage.pods(seen, "prefill"))

    assert asyncio.run(play()) == ("prefill-0", "prefill-1")


@pytest.mark.usefixtures("kubelet")
def test_without_the_right_to_read_replica_sets_pods_are_found_by_selector(
    control_plane: ControlPlane, namespace: str
) -> None:
    follow = ["get", "list", "watch"]
    rules = [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": follow},
        {"apiGroups": [""], "resources": ["pods"], "verbs": follow},
    ]
    control_plane.grant(CONTROLLER_AUTO, rules, namespace=namespace)
    for name in ("prefill", "decode"):
        control_plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment(name, 2))
    control_plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod("stray", {"app": "decode"}, []))
    variants = (stage.variant("prefill", namespace), stage.variant("decode", namespace))

    async def play() -> None:
        policy = stage.policy(namespace, *variants)
        async with stage.fleet(control_plane.kubeconfig(CONTROLLER_AUTO), policy) as fleet:
            seen = await stage.until(fleet, lambda view: (stage.ready(view, "prefill"), stage.ready(view)) == (2, 2))
            assert "stray" not in {pod.name for pod in stage.pods(seen)}
            for _ in range(20):
                await stage.view(fleet)

    asyncio.run(play())
    denied = [event for event in control_plane.audit_events(CONTROLLER_AUTO) if event.code == 403]
    assert len([event for event in denied if event.namespace == namespace]) <= 2, "remembered, not asked every time"


@pytest.mark.usefixtures("group_kind")
def test_a_scale_that_may_not_be_read_is_a_gap_with_its_verb_and_its_begin(
    control_plane: ControlPlane, namespace: str
) -> None:
    follow = ["list", "watch"]
    rules = [
        {"apiGroups": [GROUP], "resources": ["leaderworkersets"], "verbs": follow},
        {"apiGroups": [""], "resources": ["pods"], "verbs": follow},
    ]
    control_plane.grant(CONTROLLER_AUTO, rules, namespace=namespace)
    body = {"apiVersion": LWS[0], "kind": LWS[1], "metadata": {"name": "decode"}, "spec": {"replicas": 1}}
    control_plane.request("POST", LWS_PATH.format(namespace=namespace), body)

    async def play() -> None:
        policy = stage.policy(namespace, stage.variant("decode", namespace, kind=LWS))
        async with stage.fleet(control_plane.kubeconfig(CONTROLLER_AUTO), policy) as fleet:
            for later in (0.0, 15.0):
                gap = stage.missing(await stage.view(fleet, Instant(stage.NOW + later)))
                assert gap is not None
                assert (gap.reason, gap.since) == (GapReason.UNREACHABLE, stage.NOW)
                assert f'grant verb "get" on "leaderworkersets/scale" of API group "{GROUP}"' in gap.detail

    asyncio.run(play())
