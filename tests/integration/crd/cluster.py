"""What the tests of the custom resource put on stage: the CRD itself, policies, sessions of service accounts."""

import contextlib
from pathlib import Path
from typing import Any

import yaml

from tests.servers.control_plane import ApiError, ControlPlane, eventually

ROOT = Path(__file__).resolve().parents[3]
CRD = ROOT / "manifests" / "crd" / "slopolicies.yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "/apis/disagg-autoscaler.io/v1alpha1"


def install(plane: ControlPlane) -> None:
    """Install the CRD, or bring it up to date; return when it is served."""
    document = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    name = document["metadata"]["name"]
    try:
        plane.request("POST", CRDS, document)
    except ApiError as error:
        if error.code != 409:
            raise
        version = plane.request("GET", f"{CRDS}/{name}")["metadata"]["resourceVersion"]
        document["metadata"]["resourceVersion"] = version
        plane.request("PUT", f"{CRDS}/{name}", document)
    eventually(lambda: _serves(plane), what="the served kind")


def _serves(plane: ControlPlane) -> bool:
    try:
        plane.request("GET", f"{GROUP}/slopolicies")
    except ApiError:
        return False
    return True


def policies(namespace: str) -> str:
    """Return the path of a namespace's policies."""
    return f"{GROUP}/namespaces/{namespace}/slopolicies"


def create(plane: ControlPlane, namespace: str, policy: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
    """Create a policy in a namespace, as strictly as kubectl does."""
    metadata = {**policy.get("metadata", {}), "namespace": namespace}
    query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
    return plane.request("POST", policies(namespace) + query, {**policy, "metadata": metadata})


def refusal(plane: ControlPlane, namespace: str, policy: dict[str, Any]) -> str:
    """Return why the API server does not take a policy; empty where it would."""
    try:
        create(plane, namespace, policy, dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


def table(plane: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    """Return the row that ``kubectl get`` shows of a policy: cell by column, as the server itself prints it."""
    answer = plane.request(
        "GET",
        f"{policies(namespace)}/{name}",
        headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"},
    )
    columns = [column["name"] for column in answer["columnDefinitions"] if not column["priority"]]
    return dict(zip(columns, answer["rows"][0]["cells"], strict=False))


def stand_in(plane: ControlPlane, group: str, version: str, kind: str, plural: str) -> None:
    """Serve a kind of somebody else, with any content."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    body: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }
    if group.endswith("k8s.io"):  # else the server demands a link to the approval of the API
        body["metadata"] = {**body["metadata"], "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}}
    with contextlib.suppress(ApiError):  # it may be there from another test
        plane.request("POST", CRDS, body)
    eventually(lambda: _answers(plane, f"/apis/{group}/{version}/{plural}"), what=kind)


def _answers(plane: ControlPlane, path: str) -> bool:
    try:
        plane.request("GET", path)
    except ApiError:
        return False
    return True


def place(plane: ControlPlane, found: dict[str, Any]) -> str:
    """Return the path of an object, by what the API server says of its kind."""
    version = found["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    served = {entry["kind"]: entry for entry in plane.request("GET", root)["resources"] if "/" not in entry["name"]}
    kind = served[found["kind"]]
    folder = f"/namespaces/{found['metadata']['namespace']}" if kind["namespaced"] else ""
    return f"{root}{folder}/{kind['name']}/{found['metadata']['name']}"
