"""The fleet as a real API server tells it: states and times of pods, roll-outs, pauses."""

import asyncio
from datetime import UTC, datetime

import pytest

from autoscaler.domain.fleet import PodState
from autoscaler.domain.membership import ACTIVE_PORTS, ACTIVE_PORTS_LEGACY, DRAIN_DEADLINE, DRAIN_STARTED
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.observe.fleet import FleetView
from autoscaler.observe.kube import KubeFleet
from tests.integration.kube import stage
from tests.servers.control_plane import ControlPlane
from tests.servers.kubelet import STARTUP_SECONDS, STOP_SECONDS


def create(plane: ControlPlane, namespace: str, name: str, replicas: int, **pod_annotations: str) -> None:
    body = stage.deployment(name, replicas, annotations=pod_annotations)
    plane.request("POST", stage.APPS.format(namespace=namespace), body)


@pytest.mark.usefixtures("kubelet")
def test_pods_pass_through_their_states_with_the_right_times(control_plane: ControlPlane, namespace: str) -> None:
    seen: list[PodState] = []

    async def look_until(fleet: KubeFleet, state: PodState) -> None:
        async with asyncio.timeout(60):
            while state not in seen:  # states pass: only looking tells
                seen.extend(pod.state for pod in stage.pods(await stage.view(fleet)) if pod.state not in seen)
                await asyncio.sleep(0.01)

    async def play() -> None:
        policy = stage.policy(namespace, stage.variant("decode", namespace))
        async with stage.fleet(control_plane.kubeconfig(), policy) as fleet:
            assert stage.missing(await stage.view(fleet)) == Missing(
                GapReason.ABSENT, stage.NOW, f"deployment.apps/{namespace}/decode does not exist"
            )
            create(control_plane, namespace, "decode", 1, **{STARTUP_SECONDS: "2", STOP_SECONDS: "2"})
            await look_until(fleet, PodState.READY)
            (pod,) = (await stage.workload(fleet)).pods
            assert pod.scheduled is not None
            assert pod.ready_since is not None
            assert pod.created <= pod.scheduled <= pod.ready_since
            assert pod.ready_since - pod.created >= 1.0  # of 2 s; Kubernetes writes whole seconds
            assert abs(pod.ready_since - datetime.now(UTC).timestamp()) < 15
            assert (pod.node, pod.ip.startswith("127.0."), pod.variant) == ("fake-node", True, "decode")
            stage.resize(control_plane, namespace, 0)
            await look_until(fleet, PodState.TERMINATING)
            await stage.until(fleet, lambda view: not stage.pods(view), what="no pod")
            assert (await stage.workload(fleet)).requested == 0

    asyncio.run(play())
    assert seen in (
        [PodState.PENDING, PodState.STARTING, PodState.READY, PodState.TERMINATING],
        [PodState.STARTING, PodState.READY, PodState.TERMINATING],  # bound before anybody looked
    )


def test_a_pod_without_a_node_waits_in_the_schedulers_words(control_plane: ControlPlane, namespace: str) -> None:
    words = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    gated = stage.deployment("decode", 1, pod={"schedulingGates": [{"name": "test/never"}]})  # nobody binds it

    async def play() -> None:
        policy = stage.policy(namespace, stage.variant("decode", namespace))
        async with stage.fleet(control_plane.kubeconfig(), policy) as fleet:
            control_plane.request("POST", stage.APPS.format(namespace=namespace), gated)
            (pod,) = stage.pods(await stage.until(fleet, lambda view: len(stage.pods(view)) == 1))
            assert (pod.state, pod.scheduled, pod.node) == (PodState.PENDING, None, "")
            path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}/status"
            control_plane.request("PATCH", path, {"status": {"conditions": [condition]}})
            await stage.until(fleet, lambda view: stage.pods(view)[0].blocked_by == words, what="the message")

    asyncio.run(play())


@pytest.mark.usefixtures("kubelet")
def test_a_withdrawn_pod_is_draining_and_comes_back(control_plane: ControlPlane, namespace: str) -> None:
    keys = (ACTIVE_PORTS, ACTIVE_PORTS_LEGACY, DRAIN_STARTED, DRAIN_DEADLINE)
    withdrawn = dict(zip(keys, ("", "", "2026-11-23T10:00:00Z", "2026-11-23T10:10:00Z"), strict=True))

    async def play() -> None:
        create(control_plane, namespace, "decode", 2)
        policy = stage.policy(namespace, stage.variant("decode", namespace))
        async with stage.fleet(control_plane.kubeconfig(), policy) as fleet:
            pod = stage.pods(await stage.until(fleet, lambda view: stage.ready(view) == 2))[0]
            path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}"
            control_plane.request("PATCH", path, {"metadata": {"annotations": withdrawn}})
            await stage.until(fleet, lambda view: stage.ready(view) == 1)
            (found,) = (await stage.workload(fleet)).in_state(PodState.DRAINING)
            assert (found.name, found.draining_since, found.drain_deadline) == (pod.name, 1795428000.0, 1795428600.0)
            control_plane.request("PATCH", path, {"metadata": {"annotations": dict.fromkeys(keys)}})
            await stage.until(fleet, lambda view: stage.ready(view) == 2)

    asyncio.run(play())


@pytest.mark.usefixtures("kubelet")
def test_a_rollout_is_seen_while_it_lasts(control_plane: ControlPlane, namespace: str) -> None:
    async def play() -> None:
        create(control_plane, namespace, "decode", 2, **{STARTUP_SECONDS: "1"})
        policy = stage.policy(namespace, stage.variant("decode", namespace))
        async with stage.fleet(control_plane.kubeconfig(), policy) as fleet:
            await stage.until(fleet, lambda view: (stage.ready(view), rolling(view)) == (2, False))
            template = {"spec": {"template": {"metadata": {"labels": {"revision": "two"}}}}}
            control_plane.request("PATCH", f"{stage.APPS.format(namespace=namespace)}/decode", template)
            both = await stage.until(fleet, lambda view: rolling(view) and len(stage.pods(view)) > 2)
            assert stage.ready(both) >= 2, "pods of both revisions count"
            await stage.until(fleet, lambda view: (stage.ready(view), rolling(view)) == (2, False), what="its end")

    def rolling(view: FleetView) -> bool:
        found = stage.present(view)
        return found is not None and found.rolling_out

    asyncio.run(play())


def test_pausing_one_target_pauses_its_policy(control_plane: ControlPlane, namespace: str) -> None:
    def annotate(key: str, value: str) -> None:
        path = f"{stage.APPS.format(namespace=namespace)}/prefill"
        control_plane.request("PATCH", path, {"metadata": {"annotations": {f"disagg-autoscaler.io/{key}": value}}})

    async def play() -> None:
        for name in ("prefill", "decode"):
            create(control_plane, namespace, name, 0)
        variants = (stage.variant("prefill", namespace), stage.variant("decode", namespace))
        async with stage.fleet(control_plane.kubeconfig(), stage.policy(namespace, *variants)) as fleet:
            seen = await stage.view(fleet)
            assert (seen.paused, seen.paused_scale_down) == (False, False)
            annotate("paused-scale-down", "true")
            await stage.until(fleet, lambda view: view.paused_scale_down and not view.paused)
            annotate("paused", "")
            await stage.until(fleet, lambda view: view.paused)
            annotate("paused", "false")
            await stage.until(fleet, lambda view: not view.paused)

    asyncio.run(play())
