"""Annotations on a real API server: operators' values, other appliers, gone pods, undrain, other writers, the fence."""

import asyncio
import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from autoscaler.act.kube import KubeActuator
from autoscaler.cli.app import app
from autoscaler.domain.membership import ACTIVE_PORTS, ACTIVE_PORTS_LEGACY, DELETION_COST, DRAIN_STARTED, Drain
from autoscaler.domain.plan import Action, Announce, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.record import ActionResult, Result
from autoscaler.domain.units import Instant, Seconds, after
from autoscaler.kube import PODS, KubeSession, Login, PatchForm
from autoscaler.observe.writers import LOOK_EVERY, STEP_BACK, ForeignWriters
from autoscaler.publish.kube import KubeMembership
from tests.integration.kube import stage
from tests.servers.control_plane import CONTROLLER_AUTO, ControlPlane

NOW = Instant(1_800_000_000.0)
DRAIN = Drain(NOW, Instant(NOW + 600.0))


def pod(plane: ControlPlane, namespace: str, **annotations: str) -> None:
    body: dict[str, Any] = {
        "metadata": {"name": "a", "annotations": annotations},
        "spec": {"containers": [{"name": "engine", "image": "engine"}]},
    }
    plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)


def annotations(plane: ControlPlane, namespace: str) -> dict[str, str]:
    found: dict[str, str] = plane.request("GET", f"/api/v1/namespaces/{namespace}/pods/a")["metadata"].get(
        "annotations", {}
    )
    return found


def annotate(plane: ControlPlane, namespace: str, **values: str | None) -> None:
    body = {"metadata": {"annotations": values}}
    plane.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/a", body)


async def applied(plane: ControlPlane, *actions: Action, user: str = "admin") -> list[ActionResult]:
    async with stage.session(plane.kubeconfig(user)) as session:
        membership = KubeMembership(session)
        return [(await membership.apply([action])).results[0] for action in actions]


def withdraw(namespace: str, drain: Drain = DRAIN) -> Withdraw:
    return Withdraw(VariantRef(f"{namespace}/model", "decode"), "a", "", drain)


def readmit(namespace: str) -> Readmit:
    return Readmit(VariantRef(f"{namespace}/model", "decode"), "a")


def test_a_drain_leaves_no_trace_and_keeps_what_others_wrote(control_plane: ControlPlane, namespace: str) -> None:
    pod(control_plane, namespace, theirs="1")
    (done, again) = asyncio.run(applied(control_plane, withdraw(namespace), withdraw(namespace)))
    assert (done.result, again.result) == (Result.DONE, Result.UNCHANGED)
    drained = annotations(control_plane, namespace)
    assert (drained[ACTIVE_PORTS], drained[ACTIVE_PORTS_LEGACY], drained[DELETION_COST]) == ("", "", "-1000")
    asyncio.run(applied(control_plane, readmit(namespace)))
    assert annotations(control_plane, namespace) == {"theirs": "1"}


def test_values_of_an_operator_survive_two_drains(control_plane: ControlPlane, namespace: str) -> None:
    pod(control_plane, namespace)
    theirs: dict[str, str] = {ACTIVE_PORTS: "8000", DELETION_COST: "5"}
    annotate(control_plane, namespace, **theirs)
    for _ in range(2):
        (result,) = asyncio.run(applied(control_plane, withdraw(namespace)))
        assert result.result is Result.DONE, result.detail
        assert annotations(control_plane, namespace)[ACTIVE_PORTS] == ""
        asyncio.run(applied(control_plane, readmit(namespace)))
        assert annotations(control_plane, namespace) == theirs


def test_a_key_that_another_manager_applies_is_reported_not_forced(control_plane: ControlPlane, namespace: str) -> None:
    pod(control_plane, namespace)
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "annotations": {ACTIVE_PORTS: "8000"}},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/a?fieldManager=argocd"
    asyncio.run(_apply(control_plane, path, body))
    (result,) = asyncio.run(applied(control_plane, withdraw(namespace)))
    assert result.result is Result.REFUSED
    assert "argocd" in result.detail
    assert annotations(control_plane, namespace) == {ACTIVE_PORTS: "8000"}


async def _apply(plane: ControlPlane, path: str, body: dict[str, Any]) -> None:
    """Apply as another manager: the session writes as its own, so the raw request is sent by its client."""
    async with stage.session(plane.kubeconfig()) as session:
        answer = await session._client.call_api(  # noqa: SLF001 - the only way to be somebody else
            path,
            "PATCH",
            header_params={"Accept": "application/json", "Content-Type": PatchForm.APPLY.value},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
        )
        async with answer:
            assert answer.status == 200, await answer.text()


def test_pods_that_are_gone_or_have_been_replaced_are_refused(control_plane: ControlPlane, namespace: str) -> None:
    ref = VariantRef(f"{namespace}/model", "decode")
    (gone,) = asyncio.run(applied(control_plane, withdraw(namespace)))
    pod(control_plane, namespace)
    (other, announced) = asyncio.run(
        applied(control_plane, Withdraw(ref, "a", "another-uid", DRAIN), Announce(ref, "a"))
    )
    assert [gone.result, other.result, announced.result] == [Result.REFUSED, Result.REFUSED, Result.UNCHANGED]
    assert "another pod" in other.detail


def test_a_role_without_the_verb_is_told_which_one(control_plane: ControlPlane, namespace: str) -> None:
    pod(control_plane, namespace)
    control_plane.grant(
        CONTROLLER_AUTO, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}], namespace=namespace
    )
    (result,) = asyncio.run(applied(control_plane, withdraw(namespace), user=CONTROLLER_AUTO))
    assert result.result is Result.REFUSED
    assert 'grant verb "patch" on "pods"' in result.detail


def test_undrain_readmits_all_and_says_which(control_plane: ControlPlane, namespace: str) -> None:
    pod(control_plane, namespace)
    asyncio.run(applied(control_plane, withdraw(namespace)))
    arguments = ["undrain", "-n", namespace, "--kubeconfig", str(control_plane.kubeconfig()), "-o", "json"]
    dry = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert [row["result"] for row in json.loads(dry.stdout)] == ["dry-run"]
    assert DRAIN_STARTED in annotations(control_plane, namespace)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert [(row["pod"], row["result"]) for row in json.loads(done.stdout)] == [("a", "done")]
    assert annotations(control_plane, namespace) == {}
    assert json.loads(CliRunner().invoke(app, arguments).stdout) == []


def test_nothing_is_written_by_one_who_does_not_lead(control_plane: ControlPlane, namespace: str) -> None:
    pod(control_plane, namespace)

    async def play() -> ActionResult:
        login = Login(kubeconfig=str(control_plane.kubeconfig()))
        async with await KubeSession.open(jitter=lambda: 0.5, login=login, may_write=lambda: False) as session:
            await session.get(PODS.at(namespace, "a"))  # reading is free
            return (await KubeMembership(session).apply([withdraw(namespace)])).results[0]

    result = asyncio.run(play())
    assert (result.result, "another controller leads" in result.detail) == (Result.CONFLICT, True)
    assert annotations(control_plane, namespace) == {}


@pytest.mark.parametrize("by", ["hpa", "hand"])
def test_other_writers_of_a_count_are_found(control_plane: ControlPlane, namespace: str, by: str) -> None:
    plane, chosen = control_plane, stage.policy(namespace, stage.variant("decode", namespace))
    plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment("decode", 1))

    async def play() -> tuple[dict[str, str], ...]:
        async with stage.session(plane.kubeconfig()) as session:
            writers = ForeignWriters((chosen,), session)
            start = Instant(time.time())
            before = dict((await writers.look(start))[chosen.key])
            interfere()
            during = dict((await writers.look(after(start, LOOK_EVERY)))[chosen.key])
            later = dict((await writers.look(after(start, Seconds(2 * LOOK_EVERY + STEP_BACK))))[chosen.key])
            assert writers.problems == ()
            return before, during, later

    def interfere() -> None:
        if by == "hand":
            stage.resize(plane, namespace, 2)
            return
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "decode"}
        body = {"metadata": {"name": "theirs"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}}
        plane.request("POST", f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers", body)

    before, during, later = asyncio.run(play())
    assert before == {}
    assert ("has set the replicas" if by == "hand" else "HorizontalPodAutoscaler theirs") in during["decode"]
    assert (later == {}) is (by == "hand"), "a hand is waited for, an autoscaler holds as long as it is there"


def test_a_pair_of_growths_is_written_in_one_tick(control_plane: ControlPlane, namespace: str) -> None:
    names = ("prefill", "decode")
    for name in names:
        control_plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment(name, 1))
    chosen = stage.policy(namespace, *(stage.variant(name, namespace) for name in names))

    async def play() -> list[Result]:
        async with stage.session(control_plane.kubeconfig()) as session:
            grown: list[Scale] = [stage.scale(namespace, name, 3, 1) for name in names]
            return [result.result for result in (await KubeActuator(session, (chosen,)).apply(grown)).results]

    assert asyncio.run(play()) == [Result.DONE, Result.DONE]
