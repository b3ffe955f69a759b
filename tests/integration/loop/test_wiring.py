"""``autoscaler run`` with all its wires: two with one Lease, a picker found by its InferencePool or fed by a file."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.domain.membership import ACTIVE_PORTS
from autoscaler.observe.picker import METRICS_PORT
from tests.emulator.picker import Picker, Pool
from tests.integration.loop.conftest import NAMES, POLICY, RIGHTS, TARGET, VARIANT, Scene, Staging
from tests.integration.loop.controller import Autoscaler
from tests.servers.control_plane import CONTROLLER_AUTO, ApiError, ControlPlane, eventually
from tests.servers.serving import TEXT, Answer, Serving

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PATIENCE_S = 300.0  # a drain takes some ticks, and so do windows and stabilisation
LEAST = {"prefill": 1, "decode": 1}
LOAD = 80.0  # requests/s: more than one replica can serve
POOLS = "inference.networking.k8s.io"
ACTING = [
    *RIGHTS,
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
    {"apiGroups": [POOLS], "resources": ["inferencepools"], "verbs": ["get"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]},
]

CRD: dict[str, Any] = {
    "metadata": {
        "name": f"inferencepools.{POOLS}",
        "annotations": {
            "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api-inference-extension"
        },
    },
    "spec": {
        "group": POOLS,
        "scope": "Namespaced",
        "names": {"plural": "inferencepools", "singular": "inferencepool", "kind": "InferencePool"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def engines(scene: Scene) -> list[dict[str, Any]]:
    found = scene.plane.request("GET", f"/api/v1/namespaces/{scene.namespace}/pods")["items"]
    return [pod for pod in found if pod["metadata"]["labels"]["app"] in NAMES]


def page(members: Callable[[Picker], None]) -> Callable[[str, bytes], Answer]:
    """Return who answers as a picker with these members."""

    def answer(path: str, body: bytes) -> Answer:  # noqa: ARG001 - one page only
        picker = Picker(Pool({}))
        members(picker)
        return 200, TEXT, picker.page(1.0).encode()

    return answer


@contextlib.contextmanager
def by_pool(scene: Scene) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Run a picker in a pod behind the Service that an InferencePool names; yield what the policy says of it."""
    serve_pools(scene.plane)
    core, labels = f"/api/v1/namespaces/{scene.namespace}", {"app": "epp"}
    pod = {"metadata": {"name": "epp", "labels": labels}, "spec": {"containers": [{"name": "epp", "image": "epp"}]}}
    scene.plane.request("POST", f"{core}/pods", pod)
    service = {"metadata": {"name": "epp"}, "spec": {"selector": labels, "ports": [{"port": 9002}]}}
    scene.plane.request("POST", f"{core}/services", service)
    pool = {
        "apiVersion": f"{POOLS}/v1",
        "kind": "InferencePool",
        "metadata": {"name": "pool"},
        "spec": {"selector": {"matchLabels": {"app": "decode"}}, "endpointPickerRef": {"name": "epp"}},
    }
    scene.plane.request("POST", f"/apis/{POOLS}/v1/namespaces/{scene.namespace}/inferencepools", pool)

    def address() -> str:
        return str(scene.plane.request("GET", f"{core}/pods/epp")["status"].get("podIP", ""))

    eventually(lambda: bool(address()), what="the picker's address")
    with Serving(page(lambda picker: picker.relist(engines(scene))), (address(), METRICS_PORT)):
        yield "{inferencePool: pool}", ()


@contextlib.contextmanager
def by_file(scene: Scene) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Run a picker that knows what a file says; yield what the policy and the command line say of it."""
    file = scene.folder / "endpoints.yaml"

    def listed(picker: Picker) -> None:
        for entry in yaml.safe_load(file.read_text(encoding="utf-8"))["endpoints"] if file.exists() else ():
            picker.members[entry["name"]] = ([entry["name"]], entry["labels"]["llm-d.ai/role"], 0.0)

    with Serving(page(listed)) as serving:
        yield f"{{endpointsFile: {file}}}", ("--picker", f"http://{serving.address}/metrics")


def serve_pools(plane: ControlPlane) -> None:
    with contextlib.suppress(ApiError):  # another test has created it
        plane.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)

    def served() -> bool:
        try:
            plane.request("GET", f"/apis/{POOLS}/v1/namespaces/default/inferencepools")
        except ApiError:
            return False
        return True

    eventually(served, what="the new kind")


def controller(scene: Scene, folder: Path, scheduler: str, options: tuple[str, ...]) -> Autoscaler:
    folder.mkdir()
    policy = folder / "policy.yaml"
    text = POLICY.format(namespace=scene.namespace, mode="Auto", patience_s=1, variant=VARIANT, target=TARGET)
    policy.write_text(f"{text}  scheduler: {scheduler}\n", encoding="utf-8")
    return Autoscaler(
        folder,
        policy=policy,
        prometheus=scene.prometheus.url,
        kubeconfig=scene.plane.kubeconfig(CONTROLLER_AUTO),
        window="10s",
        options=("--lease", f"{scene.namespace}/leader", *options),
    )


def written(running: Autoscaler) -> set[str]:
    """Return the kinds of actions that a controller has carried out."""
    return {it["action"] for tick in running.ticks() for it in tick["outcome"] if it["result"] == "done"}


@pytest.mark.parametrize("picker", [by_pool, by_file])
def test_of_two_controllers_one_acts_and_drains_through_the_picker(
    staging: Staging, picker: Callable[[Scene], contextlib.AbstractContextManager[tuple[str, tuple[str, ...]]]]
) -> None:
    scene = staging(rate=LOAD)
    scene.plane.grant(CONTROLLER_AUTO, ACTING, namespace=scene.namespace)
    with (
        picker(scene) as (scheduler, options),
        controller(scene, scene.folder / "one", scheduler, options) as one,
    ):
        eventually(lambda: min(scene.sizes.now().values()) > 1, within_s=PATIENCE_S, what="growth of both pools")
        with controller(scene, scene.folder / "two", scheduler, options) as two:
            two.until(lambda ticks: len(ticks) >= 3, "a second controller that ticks")
            scene.traffic.turn(0.0)
            eventually(lambda: scene.sizes.now() == LEAST, within_s=PATIENCE_S, what="pools drained to the minimum")
            assert written(two) == set(), "the second one stands by"
            assert {"Withdraw", "Scale"} <= written(one)
            assert one.terminate() == 0
            scene.traffic.turn(LOAD)
            eventually(lambda: scene.sizes.now() != LEAST, within_s=PATIENCE_S, what="growth by the second one")
            assert two.terminate() == 0
    withdrawn = [e for e in scene.plane.writes(CONTROLLER_AUTO) if e.namespace == scene.namespace]
    assert {e.resource for e in withdrawn} == {"pods", "deployments/scale", "leases"}
    assert not any(ACTIVE_PORTS in (pod["metadata"].get("annotations") or {}) for pod in engines(scene))
