"""A controller that reads SLOPolicy resources with the rights that ship, and the questions a person would ask it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.integration.crd import cluster
from tests.integration.loop.conftest import POLICY, TARGET, VARIANT, Scene
from tests.integration.loop.controller import Autoscaler
from tests.servers.control_plane import ControlPlane

RBAC = cluster.ROOT / "manifests" / "rbac"
BASE = cluster.ROOT / "manifests" / "base"
AUTHORIZATION = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = "disagg-autoscaler"
PATIENCE_S = 60.0


def policy(namespace: str, name: str = "loop", *, mode: str = "Recommend", **spec: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a policy for the scene's two Deployments; ``spec``: fields that are set besides."""
    text = POLICY.format(namespace=namespace, mode=mode, patience_s=0, variant=VARIANT, target=TARGET)
    document: dict[str, Any] = yaml.safe_load(text)
    document["metadata"]["name"] = name
    document["spec"] |= spec
    return document


class Operator:
    """Somebody with kubectl: changes policies, and looks at what becomes of them."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        """Take where."""
        self._plane = plane
        self._namespace = namespace
        self._policies = cluster.policies(namespace)

    def create(self, document: dict[str, Any]) -> None:
        """Create a policy."""
        cluster.create(self._plane, self._namespace, document)

    def change(self, name: str, **spec: Any) -> None:  # noqa: ANN401 - fields of a policy
        """Change fields of a policy's spec."""
        self._plane.request("PATCH", f"{self._policies}/{name}", {"spec": spec})

    def delete(self, name: str) -> None:
        """Delete a policy."""
        self._plane.request("DELETE", f"{self._policies}/{name}")

    def status(self, name: str = "loop") -> dict[str, Any]:
        """Return a policy's status."""
        found: dict[str, Any] = self._plane.request("GET", f"{self._policies}/{name}").get("status", {})
        return found

    def row(self, name: str = "loop") -> dict[str, Any]:
        """Return what ``kubectl get`` shows of a policy."""
        return cluster.table(self._plane, self._namespace, name)

    def events(self, name: str = "loop") -> list[dict[str, Any]]:
        """Return the Events of a policy."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self._namespace}/events"
        return [each for each in self._plane.request("GET", path)["items"] if each["regarding"]["name"] == name]

    def condition(self, kind: str, name: str = "loop") -> tuple[str, str, str]:
        """Return status, reason and message of a condition; empty where there is none yet."""
        for found in self.status(name).get("conditions", ()):
            if found["type"] == kind:
                return found["status"], found["reason"], found.get("message", "")
        return "", "", ""

    def sees(self, kind: str, status: str, *reasons: str, name: str = "loop") -> str:
        """Wait until a condition has a status and one of some reasons; return its message."""

        def told() -> bool:
            now = self.condition(kind, name)
            return now[0] == status and (not reasons or now[1] in reasons)

        wait_for(told, lambda: f"{kind} of {name} is {self.condition(kind, name)}, not {status} {reasons}")
        return self.condition(kind, name)[2]


def wait_for(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait until something holds; tell how it is where it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def grant(plane: ControlPlane, namespace: str, *pieces: str) -> None:
    """Create the service account, and bind exactly these pieces of the shipped rights to it in its namespace."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    if ACCOUNT not in {each["metadata"]["name"] for each in plane.request("GET", accounts)["items"]}:
        plane.request("POST", accounts, {"metadata": {"name": ACCOUNT}})
    for kind in ("roles", "rolebindings"):
        plane.request("DELETE", f"{AUTHORIZATION}/namespaces/{namespace}/{kind}")
    for piece in pieces:
        bind(plane, namespace, piece, rules(piece))


def rules(piece: str) -> list[dict[str, Any]]:
    """Return the rules of a piece of the shipped rights."""
    path = BASE / "lease.yaml" if piece == "lease" else RBAC / f"{piece}.yaml"
    first, *_ = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = first["rules"]
    return found


def bind(
    plane: ControlPlane, namespace: str, name: str, given: Sequence[dict[str, Any]], account: str = ACCOUNT
) -> None:
    """Give rules to a service account, in its namespace."""
    base = f"{AUTHORIZATION}/namespaces/{namespace}"
    plane.request("POST", f"{base}/roles", {"metadata": {"name": name}, "rules": list(given)})
    plane.request("POST", f"{base}/rolebindings", _binding("Role", name, namespace, account))


def bind_everywhere(plane: ControlPlane, namespace: str, name: str, given: Sequence[dict[str, Any]]) -> None:
    """Give rules in all namespaces to the service account of a name that no other test uses; end with ``unbind``."""
    plane.request("POST", f"{AUTHORIZATION}/clusterroles", {"metadata": {"name": name}, "rules": list(given)})
    plane.request("POST", f"{AUTHORIZATION}/clusterrolebindings", _binding("ClusterRole", name, namespace, name))


def unbind(plane: ControlPlane, name: str) -> None:
    """Take back what was given everywhere."""
    for kind in ("clusterrolebindings", "clusterroles"):
        plane.request("DELETE", f"{AUTHORIZATION}/{kind}/{name}")


def _binding(kind: str, name: str, namespace: str, account: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def login(plane: ControlPlane, namespace: str, folder: Path, account: str = ACCOUNT) -> Path:
    """Return a kubeconfig with a token of a service account, as a pod would hold it."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    answer = plane.request("POST", path, {"spec": {"expirationSeconds": 3600}})
    config = yaml.safe_load(plane.kubeconfig().read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": answer["status"]["token"]}
    written = folder / "account.kubeconfig"
    written.write_text(yaml.safe_dump(config))
    return written


def controller(scene: Scene, *options: str) -> Autoscaler:
    """Return a controller that reads the resources of the scene's namespace."""
    return Autoscaler(
        scene.folder,
        policy=None,
        prometheus=scene.prometheus.url,
        kubeconfig=login(scene.plane, scene.namespace, scene.folder),
        window="10s",
        options=("--namespace", scene.namespace, *options),
    )


def user(namespace: str, account: str = ACCOUNT) -> str:
    """Return the name under which a controller's requests are in the audit log."""
    return f"system:serviceaccount:{namespace}:{account}"
