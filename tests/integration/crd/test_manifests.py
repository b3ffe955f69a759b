"""The manifests against a real API server: taken whole, and the rights they give are the rights the controller has."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.contract.manifests.rendering import MANIFESTS, NAMESPACE, OVERLAYS, Object, kustomized, templated
from tests.integration.crd import cluster
from tests.servers.control_plane import ApiError, ControlPlane, eventually

APPLY = {"Content-Type": "application/apply-patch+yaml"}

FOREIGN: dict[str, tuple[str, str, str]] = {
    "ServiceMonitor": ("monitoring.coreos.com", "v1", "servicemonitors"),
    "PrometheusRule": ("monitoring.coreos.com", "v1", "prometheusrules"),
    "PodMonitor": ("monitoring.coreos.com", "v1", "podmonitors"),
    "InferencePool": ("inference.networking.k8s.io", "v1", "inferencepools"),
    "HTTPRoute": ("gateway.networking.k8s.io", "v1", "httproutes"),
}
"""Kinds of others that manifests name; their CRDs are not ours to ship, so only their place is checked."""


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Return a control plane with our CRD, stand-ins for those of others, and the namespaces that manifests name."""
    cluster.install(control_plane)
    for kind, (group, version, plural) in FOREIGN.items():
        cluster.stand_in(control_plane, group, version, kind, plural)
    for name in (NAMESPACE, "llm"):
        control_plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield control_plane
    for name in (NAMESPACE, "llm"):
        control_plane.request("DELETE", f"/api/v1/namespaces/{name}")


def apply(plane: ControlPlane, found: Object, *, dry_run: bool = True) -> dict[str, Any]:
    """Apply an object as ``kubectl apply --server-side`` does, as strictly."""
    query = "?fieldManager=tests&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
    return plane.request("PATCH", cluster.place(plane, found) + query, found, headers=APPLY)


def refusals(plane: ControlPlane, objects: list[Object]) -> list[str]:
    """Return what the API server has against objects."""
    found = []
    for each in objects:
        try:
            apply(plane, each)
        except ApiError as error:
            found.append(f"{each['kind']} {each['metadata']['name']}: {error}")
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_taken(plane: ControlPlane, overlay: str) -> None:
    assert refusals(plane, kustomized(overlay)) == []


@pytest.mark.parametrize(
    "settings",
    [(), ("mode=Auto", "monitoring.enabled=true"), ("mode=Auto", "namespaces={llm}", "prometheus.tokenSecret=token")],
    ids=str,
)
def test_the_chart_is_taken(plane: ControlPlane, settings: tuple[str, ...]) -> None:
    assert refusals(plane, templated(*settings)) == []


def test_the_example_is_taken(plane: ControlPlane) -> None:
    folder = MANIFESTS / "examples" / "llm-d"
    objects = [
        found
        for path in folder.glob("*.yaml")
        for found in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if found["kind"] != "Kustomization"
    ]
    assert refusals(plane, objects) == []


def test_a_misspelt_field_would_be_seen(plane: ControlPlane) -> None:
    """The API server is asked as strictly as the tests above believe."""
    (deployment,) = (found for found in kustomized("auto") if found["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = {}
    assert "readinessprobe" in refusals(plane, [deployment])[0]


def may(plane: ControlPlane, verb: str, resource: str, *, group: str = "apps", namespace: str = "llm") -> bool:
    """Ask the API server whether the controller's service account may do something."""
    kind, _, subresource = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": kind, "subresource": subresource, "namespace": namespace}
    body = {"spec": {"user": f"system:serviceaccount:{NAMESPACE}:disagg-autoscaler", "resourceAttributes": asked}}
    review = plane.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(review["status"]["allowed"])


@pytest.mark.parametrize("overlay", ["recommend", "auto", "namespaced"])
def test_the_rights_in_force_are_those_meant(plane: ControlPlane, overlay: str) -> None:
    objects = [found for found in kustomized(overlay) if "rbac" in found["apiVersion"]]
    for found in objects:
        apply(plane, found, dry_run=False)
    try:
        eventually(lambda: may(plane, "list", "pods", group=""), what="the rights")
        acts = overlay != "recommend"
        everywhere = overlay != "namespaced"
        assert may(plane, "patch", "slopolicies/status", group="disagg-autoscaler.io")
        assert may(plane, "patch", "deployments/scale") is acts
        assert may(plane, "patch", "pods", group="") is acts
        assert may(plane, "list", "deployments", namespace="default") is everywhere
        for verb in ("create", "update", "patch", "delete"):
            assert not may(plane, verb, "deployments"), verb
        for verb in ("create", "delete"):
            assert not may(plane, verb, "pods", group=""), verb
        for verb in ("get", "list"):
            assert not may(plane, verb, "secrets", group=""), verb
        assert not may(plane, "patch", "slopolicies", group="disagg-autoscaler.io"), "a policy is the operator's"
        assert may(plane, "create", "leases", group="coordination.k8s.io", namespace=NAMESPACE)
        assert not may(plane, "create", "leases", group="coordination.k8s.io")
    finally:
        for found in objects:
            plane.request("DELETE", cluster.place(plane, found))
