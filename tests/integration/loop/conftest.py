"""The stage of the loop's stories: a namespace with two Deployments under load, and a real Prometheus that sees it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import PrometheusFactory
from tests.integration.loop.controller import Autoscaler, Sizes
from tests.integration.loop.traffic import Discovery, Traffic
from tests.servers.control_plane import CONTROLLER_AUTO, CONTROLLER_RECOMMEND, ControlPlane, eventually
from tests.servers.prometheus import PrometheusServer

DEPLOYMENTS = "/apis/apps/v1/namespaces/{namespace}/deployments"
NAMES = ("prefill", "decode")

LOOK = {"verbs": ["get", "list", "watch"]}
RIGHTS = [
    {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], **LOOK},
    {"apiGroups": [""], "resources": ["pods"], **LOOK},
    {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]},
]
"""All that a controller in mode Auto needs; in mode Recommend it gets them too: not to write is its own decision."""

POLICY = """\
apiVersion: disagg-autoscaler.io/v1alpha1
kind: SLOPolicy
metadata: {{name: loop, namespace: {namespace}}}
spec:
  model: m
  mode: {mode}
  profiles:
    - {{name: rag, match: {{fairnessID: rag}}, slo: {{ttft: 3s, itl: 50ms, attainment: 0.95}}}}
    - {{name: default, slo: {{ttft: 5s, itl: 60ms, attainment: 0.95}}}}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: {patience_s}}}}}
  pools:
    prefill: {{variants: [{{name: prefill, {variant}, scaleTargetRef: {{{target}, name: prefill}}}}]}}
    decode: {{variants: [{{name: decode, {variant}, scaleTargetRef: {{{target}, name: decode}}}}]}}
"""
VARIANT = (
    "accelerator: H200-SXM, acceleratorsPerReplica: 1, costPerReplicaHour: 3.8, minReplicas: 1, maxReplicas: 8, "
    "performanceProfile: h200-tp1-qwen3-32b"
)
TARGET = "apiVersion: apps/v1, kind: Deployment"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a story plays with."""

    plane: ControlPlane
    namespace: str
    prometheus: PrometheusServer
    traffic: Traffic
    discovery: Discovery
    sizes: Sizes
    folder: Path

    @property
    def key(self) -> str:
        """Return the policy's key."""
        return f"{self.namespace}/loop"

    def controller(
        self, mode: str, *, prometheus: str | None = None, patience_s: int = 300, window: str | None = "10s"
    ) -> Autoscaler:
        """Return a controller for the scene's policy; ``patience_s``: its stabilization window on the way down."""
        policy = self.folder / "policy.yaml"
        policy.write_text(
            POLICY.format(namespace=self.namespace, mode=mode, patience_s=patience_s, variant=VARIANT, target=TARGET)
        )
        return Autoscaler(
            self.folder,
            policy=policy,
            prometheus=prometheus or self.prometheus.url,
            kubeconfig=self.plane.kubeconfig(CONTROLLER_AUTO if mode == "Auto" else CONTROLLER_RECOMMEND),
            window=window,
        )

    def ready(self) -> dict[str, int]:
        """Return the ready replicas of each Deployment, as the API server counts them."""
        found = self.plane.request("GET", DEPLOYMENTS.format(namespace=self.namespace))
        return {item["metadata"]["name"]: item["status"].get("readyReplicas", 0) for item in found["items"]}

    def wanted(self, tick: dict[str, Any]) -> dict[str, int]:
        """Return what a tick wants of each variant; nothing where it knew too little to want anything."""
        model = tick["plan"].get(self.key, {"variants": {}})
        return {name: plan["wanted"] for name, plan in model["variants"].items()}

    def settled(self, ticks: list[dict[str, Any]], *, since: float = 0.0) -> bool:
        """Tell whether five ticks in a row (later than ``since``) found both pools grown to what they want, ready."""
        last = [tick for tick in ticks if tick["at"] > since][-5:]
        wishes = [self.wanted(tick) for tick in last]
        found = [{name: self.found(tick, name) for name in NAMES} for tick in last]
        grown = len(last) == 5 and all(wishes[0].get(name, 0) > 1 for name in NAMES)
        return grown and all(wish == wishes[0] for wish in wishes) and all(seen == wishes[0] for seen in found)

    def found(self, tick: dict[str, Any], variant: str) -> int | None:
        """Return the replicas that a tick saw requested and ready; None where that differs, or is not known."""
        workload = tick["observation"]["models"][self.key]["fleet"][variant]
        ready = sum(pod["state"] == "ready" for pod in workload.get("pods", ()))
        return ready if workload.get("requested") == ready else None


class Staging(Protocol):
    """Sets the scene."""

    def __call__(self, *, rate: float, replicas: int = 1) -> Scene:
        """Return a scene with Deployments of some replicas, ready, under a load of ``rate`` requests/s."""
        ...


@pytest.fixture
def staging(
    control_plane: ControlPlane,
    kubelet: None,  # noqa: ARG001 - looks after the pods
    namespace: str,
    prometheus_server: PrometheusFactory,
    tmp_path: Path,
) -> Iterator[Staging]:
    """Return who sets the scene; all of it is struck after the test."""
    with ExitStack() as stack:

        def stage(*, rate: float, replicas: int = 1) -> Scene:
            for name in NAMES:
                control_plane.request("POST", DEPLOYMENTS.format(namespace=namespace), deployment(name, replicas))
            for user in (CONTROLLER_AUTO, CONTROLLER_RECOMMEND):
                control_plane.grant(user, RIGHTS, namespace=namespace)
            prometheus = prometheus_server()
            traffic = stack.enter_context(Traffic(rate))
            discovery = Discovery(control_plane, namespace, traffic, prometheus)
            sizes = stack.enter_context(Sizes(control_plane, namespace))
            scene = Scene(control_plane, namespace, prometheus, traffic, discovery, sizes, tmp_path)
            eventually(lambda: scene.ready() == dict.fromkeys(NAMES, replicas), within_s=60, what="the first pods")
            stack.enter_context(discovery)
            return scene

        yield stage


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment whose pods serve nothing by themselves."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "engine", "image": "engine"}]}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }
