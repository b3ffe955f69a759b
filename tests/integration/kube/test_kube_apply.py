"""Server-side apply through the session: what publishing membership will stand on."""

import asyncio
from http import HTTPStatus
from typing import Any

import pytest

from autoscaler.domain.membership import ACTIVE_PORTS, ACTIVE_PORTS_LEGACY
from autoscaler.kube import PODS, Json, KubeSession, KubeWriteError, PatchForm
from tests.integration.kube import stage
from tests.servers.control_plane import ControlPlane


def applied(name: str, annotations: dict[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations}}


@pytest.fixture
def pod(control_plane: ControlPlane, namespace: str) -> str:
    body: dict[str, Any] = {
        "metadata": {"name": "decode-0", "annotations": {"theirs": "1"}},
        "spec": {"containers": [{"name": "engine", "image": "engine"}], "schedulingGates": [{"name": "test/never"}]},
    }
    control_plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", body)
    return "decode-0"


def test_own_keys_come_and_go_and_those_of_others_stay(control_plane: ControlPlane, namespace: str, pod: str) -> None:
    async def play() -> list[dict[str, str]]:
        async with stage.session(control_plane.kubeconfig()) as session:
            place = PODS.at(namespace, pod)
            steps: tuple[dict[str, str], ...] = ({ACTIVE_PORTS: "", ACTIVE_PORTS_LEGACY: ""}, {})
            answers = [await session.patch(place, applied(pod, keys), PatchForm.APPLY) for keys in steps]
            return [answer["metadata"]["annotations"] for answer in answers]

    assert asyncio.run(play()) == [{"theirs": "1", ACTIVE_PORTS: "", ACTIVE_PORTS_LEGACY: ""}, {"theirs": "1"}]


def test_a_key_of_somebody_else_is_a_conflict_unless_forced(
    control_plane: ControlPlane, namespace: str, pod: str
) -> None:
    async def play(session: KubeSession, *, force: bool) -> str:
        answer = await session.patch(
            PODS.at(namespace, pod), applied(pod, {"theirs": "2"}), PatchForm.APPLY, force=force
        )
        return str(answer["metadata"]["annotations"]["theirs"])

    async def both() -> str:
        async with stage.session(control_plane.kubeconfig()) as session:
            with pytest.raises(KubeWriteError, match='conflict with "tests"') as refused:
                await play(session, force=False)
            assert refused.value.status == HTTPStatus.CONFLICT
            return await play(session, force=True)

    assert asyncio.run(both()) == "2"


def test_a_pod_that_has_gone_is_not_made_again(control_plane: ControlPlane, namespace: str) -> None:
    async def play() -> None:
        async with stage.session(control_plane.kubeconfig()) as session:
            await session.patch(PODS.at(namespace, "gone"), applied("gone", {ACTIVE_PORTS: ""}), PatchForm.APPLY)

    with pytest.raises(KubeWriteError) as refused:
        asyncio.run(play())
    assert refused.value.status == HTTPStatus.UNPROCESSABLE_ENTITY
