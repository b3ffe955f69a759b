"""A namespace as operators have it before: llm-d with an HPA, a ScaledObject and WVA, on hand-written CRDs."""

from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from tests.servers.control_plane import ApiError, ControlPlane, eventually

Object: TypeAlias = dict[str, Any]
CRDS = (
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    ("llmd.ai", "v1alpha1", "VariantAutoscaling", "variantautoscalings"),
    ("inference.networking.k8s.io", "v1", "InferencePool", "inferencepools"),
    ("serving.kserve.io", "v1alpha1", "LLMInferenceService", "llminferenceservices"),
    ("llm-d.ai", "v1alpha2", "InferenceObjective", "inferenceobjectives"),
)
MODEL = "Qwen/Qwen3-32B"


def install(plane: ControlPlane) -> None:
    """Serve the kinds of llm-d, KEDA, WVA and KServe, as far as they are read."""
    for group, version, kind, plural in CRDS:
        body = {
            "metadata": {
                "name": f"{plural}.{group}",
                "annotations": {"api-approved.kubernetes.io": "unapproved, test"},
            },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                ],
            },
        }
        with suppress(ApiError):  # another test has created it
            plane.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    for group, version, _, plural in CRDS:
        eventually(partial(_served, plane, f"/apis/{group}/{version}/namespaces/default/{plural}"), what=plural)


def _served(plane: ControlPlane, path: str) -> bool:
    try:
        plane.request("GET", path)
    except ApiError:
        return False
    return True


def custom(plane: ControlPlane, namespace: str, kind: str, name: str, spec: Object) -> None:
    """Create an object of one of CRDS."""
    group, version, _, plural = next(crd for crd in CRDS if crd[2] == kind)
    body = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}
    plane.request("POST", f"/apis/{group}/{version}/namespaces/{namespace}/{plural}", body)


def workload(
    role: str, *, replicas: int = 1, product: str = "NVIDIA-H200", annotations: Object | None = None
) -> Object:
    """Return a Deployment as llm-d's guides write them."""
    labels = {"llm-d.ai/guide": "pd", "llm-d.ai/role": role}
    engine = {
        "name": "vllm",
        "image": "vllm",
        "args": ["vllm serve /models/qwen", "--served-model-name", MODEL, "qwen-rag", "--tensor-parallel-size", "2"],
        "resources": {"limits": {"nvidia.com/gpu": "2"}},
    }
    return {
        "metadata": {"name": f"qwen-{role}", "annotations": annotations or {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [engine],
                    "nodeSelector": {"nvidia.com/gpu.product": product},
                    "terminationGracePeriodSeconds": 600,
                },
            },
        },
    }


def hpa(target: str) -> Object:
    """Return an HPA with damping of its own, on an external metric as WVA publishes it."""
    metric = {"metric": {"name": "wva_desired_replicas"}, "target": {"type": "Value", "value": "1"}}
    return {
        "metadata": {"name": f"{target}-hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 2,
            "maxReplicas": 9,
            "metrics": [{"type": "External", "external": metric}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        },
    }


def build(plane: ControlPlane, namespace: str) -> None:
    """Fill a namespace: prefill by an HPA, decode by KEDA, both priced by WVA, one pool, two objectives."""
    install(plane)
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    plane.request("POST", deployments, workload("prefill", replicas=2, annotations={"llm-d.ai/variant-cost": "7.5"}))
    plane.request("POST", deployments, workload("decode", replicas=3))
    router = workload("decode")
    router["metadata"]["name"] = "gateway"
    router["spec"]["selector"]["matchLabels"] = router["spec"]["template"]["metadata"]["labels"] = {"app": "gateway"}
    router["spec"]["template"]["spec"] = {"containers": [{"name": "envoy", "image": "envoy"}]}
    plane.request("POST", deployments, router)
    hpas = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    plane.request("POST", hpas, hpa("qwen-prefill"))
    target = {"name": "qwen-decode"}
    custom(plane, namespace, "ScaledObject", "qwen-decode", {"scaleTargetRef": target, "maxReplicaCount": 12})
    spec = {"scaleTargetRef": {"kind": "Deployment", **target}, "modelID": MODEL, "variantCost": "6.2"}
    custom(plane, namespace, "VariantAutoscaling", "qwen-decode", spec)
    selector = {"matchLabels": {"llm-d.ai/guide": "pd"}}
    custom(plane, namespace, "InferencePool", "qwen", {"selector": selector, "targetPorts": [{"number": 8000}]})
    for name, priority in (("interactive", 10), ("batch", -5)):
        objective = {"priority": priority, "poolRef": {"name": "qwen"}}
        custom(plane, namespace, "InferenceObjective", name, objective)
