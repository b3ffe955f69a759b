"""What serves models in a namespace, and who sizes it today: the raw material of a first policy. Pure.

Understands llm-d labels, InferencePools, InferenceObjectives, HPAs, ScaledObjects, WVA (annotations and
VariantAutoscalings) and KServe's LLMInferenceServices.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoscaler.domain.pool import Role
from autoscaler.observe.doctor import cluster
from autoscaler.observe.doctor.findings import Json
from autoscaler.observe.engines import ROLE_LABELS

Objects = Mapping[str, tuple[Json, ...]]
"""The objects of a namespace by kind."""

WORKLOADS: Mapping[str, str] = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1",
}
SURVEYED = (
    *WORKLOADS,
    *("HorizontalPodAutoscaler", "ScaledObject", "VariantAutoscaling", "InferencePool"),
    *("LLMInferenceService", "InferenceObjective"),
)
WVA_COST = "llm-d.ai/variant-cost"
WVA_MODEL = "llm-d.ai/model-id"
KEDA_MANAGED = "keda-operator"
UNKNOWN_ACCELERATOR = "unknown"
PRODUCTS: tuple[tuple[str, str], ...] = (
    ("H200", "H200-SXM"),
    ("H100.*(PCIE|NVL)", "H100-PCIE"),
    ("H100", "H100-SXM"),
    ("A100", "A100-SXM-80GB"),
    ("B200", "B200"),
    ("L40S", "L40S"),
    (r"\bL4\b", "L4"),
    ("MI300X", "MI300X"),
)
PRODUCT_LABELS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator",
    "llm-d.ai/accelerator-variant",
)
HPA_DEFAULT: Json = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
            {"type": "Pods", "value": 4, "periodSeconds": 15},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    },
}
"""What an HPA without ``behavior`` does (Kubernetes 1.33)."""
KEDA_MOST = 100  # maxReplicaCount where a ScaledObject names none


@dataclass(frozen=True, slots=True)
class Sized:
    """How somebody sizes a workload today."""

    by: str  # kind and name
    least: int
    most: int
    behavior: Json | None  # None: not by an HPA


@dataclass(frozen=True, slots=True)
class Found:
    """A workload that serves a model."""

    kind: str
    api_version: str
    name: str
    model: str
    role: Role
    role_from: str  # what told the role
    accelerator: str
    accelerators: int
    replicas: int
    cost: float | None
    pool: str  # InferencePool that selects it; empty: none
    sized: tuple[Sized, ...]
    owner: str  # an object above it that may set replicas; empty: none


@dataclass(frozen=True, slots=True)
class Objective:
    """A class of requests that the picker knows by its priority."""

    name: str
    priority: int


def models(objects: Objects) -> dict[str, list[Found]]:
    """Return the workloads that serve models, by model name."""
    found: dict[str, list[Found]] = {}
    for kind in WORKLOADS:
        for workload in objects.get(kind, ()):
            if _serves(workload, objects):
                one = _found(kind, workload, objects)
                found.setdefault(one.model, []).append(one)
    return found


def objectives(objects: Objects, pool: str) -> list[Objective]:
    """Return the objectives of a pool that have a priority of their own."""
    known = []
    for objective in objects.get("InferenceObjective", ()):
        spec = objective.get("spec") or {}
        if (spec.get("poolRef") or {}).get("name") == pool and isinstance(spec.get("priority"), int):
            known.append(Objective(objective["metadata"]["name"], spec["priority"]))
    taken = [objective.priority for objective in known]
    return [objective for objective in known if taken.count(objective.priority) == 1]


def _serves(workload: Json, objects: Objects) -> bool:
    """Tell whether a workload runs engines: it says so by label, or a pool selects it, or it serves on accelerators."""
    if cluster.ROLE_LABEL in cluster.labels_of(workload) or _pool(workload, objects):
        return True
    return cluster.accelerators_of(workload) > 0 and bool(_told_names(workload))


def _found(kind: str, workload: Json, objects: Objects) -> Found:
    metadata = workload["metadata"]
    annotations = metadata.get("annotations") or {}
    role, role_from = _role(workload)
    wva = [v for v in objects.get("VariantAutoscaling", ()) if _points_at(v, kind, metadata["name"])]
    return Found(
        kind=kind,
        api_version=WORKLOADS[kind],
        name=metadata["name"],
        model=_model(workload, wva, objects),
        role=role,
        role_from=role_from,
        accelerator=_accelerator(workload),
        accelerators=max(1, cluster.accelerators_of(workload)),
        replicas=int((workload.get("spec") or {}).get("replicas", 1)),
        cost=_cost([annotations.get(WVA_COST), *((v.get("spec") or {}).get("variantCost") for v in wva)]),
        pool=_pool(workload, objects),
        sized=tuple(_sized(kind, workload, objects)),
        owner=_owner(workload),
    )


def _role(workload: Json) -> tuple[Role, str]:
    label = cluster.labels_of(workload).get(cluster.ROLE_LABEL, "")
    if label in ROLE_LABELS:
        return ROLE_LABELS[label], f"label {cluster.ROLE_LABEL}: {label}"
    words = " ".join(_words(workload))
    for told, role in (("kv_producer", Role.PREFILL), ("kv_consumer", Role.DECODE)):
        if told in words:
            return role, f"--kv-transfer-config says {told}"
    return Role.UNIFIED, f"neither a label {cluster.ROLE_LABEL} nor a kv_role"


def _words(workload: Json) -> list[str]:
    containers = (cluster.template(workload).get("spec") or {}).get("containers") or ()
    return [str(word) for c in containers for word in (*(c.get("command") or ()), *(c.get("args") or ()))]


def _told_names(workload: Json) -> list[str]:
    return [*cluster.served(workload), *_model_paths(workload)]


def _model_paths(workload: Json) -> Iterator[str]:
    """Yield what follows ``--model`` or ``vllm serve``: the served name where no other is given."""
    words = " ".join(_words(workload)).split()
    for number, word in enumerate(words):
        option, _, value = word.partition("=")
        follows = words[number + 1] if number + 1 < len(words) else ""
        if option == "--model":
            yield value or follows
        elif word == "serve" and follows and not follows.startswith("-"):
            yield follows


def _model(workload: Json, wva: Iterable[Json], objects: Objects) -> str:
    labels, annotations = cluster.labels_of(workload), workload["metadata"].get("annotations") or {}
    told = [
        *_told_names(workload),
        annotations.get(WVA_MODEL),
        *((v.get("spec") or {}).get("modelID") for v in wva),
        labels.get("llm-d.ai/model"),
        _pool(workload, objects),
    ]
    return next((str(name) for name in told if name), str(workload["metadata"]["name"]))


def _pool(workload: Json, objects: Objects) -> str:
    for pool in objects.get("InferencePool", ()):
        if cluster.pool_selector(pool).selects(cluster.labels_of(workload)):
            return str(pool["metadata"]["name"])
    return ""


def _accelerator(workload: Json) -> str:
    """Return the accelerator that the pods ask for by node labels or by their own; as the policy names it."""
    spec = cluster.template(workload).get("spec") or {}
    told = [*_node_labels(spec), *((k, v) for k, v in cluster.labels_of(workload).items())]
    for key, value in told:
        if key in PRODUCT_LABELS:
            for pattern, name in PRODUCTS:
                if re.search(pattern, value.upper().replace("_", "-")):
                    return name
    return UNKNOWN_ACCELERATOR


def _node_labels(spec: Json) -> Iterator[tuple[str, str]]:
    yield from (spec.get("nodeSelector") or {}).items()
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for expression in term.get("matchExpressions") or ():
            if expression.get("operator") == "In":
                yield from ((expression["key"], str(value)) for value in expression.get("values") or ())


def _cost(told: Iterable[Any]) -> float | None:
    for text in told:
        try:
            value = float(text)
        except (TypeError, ValueError):
            continue
        if value > 0:
            return value
    return None


def _points_at(writer: Json, kind: str, name: str) -> bool:
    ref = (writer.get("spec") or {}).get("scaleTargetRef") or {}
    return ref.get("name") == name and ref.get("kind", "Deployment") == kind


def _sized(kind: str, workload: Json, objects: Objects) -> Iterator[Sized]:
    """Yield who sizes a workload: ScaledObjects first (the HPA below one is KEDA's own), then HPAs, then KServe."""
    name = workload["metadata"]["name"]
    for found in objects.get("ScaledObject", ()):
        if _points_at(found, kind, name):
            spec = found["spec"]
            config = ((spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig")) or {}
            least, most = int(spec.get("minReplicaCount", 0)), int(spec.get("maxReplicaCount", KEDA_MOST))
            yield Sized(f"ScaledObject {found['metadata']['name']}", least, most, _behavior(config.get("behavior")))
    for found in objects.get("HorizontalPodAutoscaler", ()):
        labels = found["metadata"].get("labels") or {}
        if _points_at(found, kind, name) and labels.get("app.kubernetes.io/managed-by") != KEDA_MANAGED:
            spec = found["spec"]
            by = f"HorizontalPodAutoscaler {found['metadata']['name']}"
            yield Sized(by, int(spec.get("minReplicas", 1)), int(spec["maxReplicas"]), _behavior(spec.get("behavior")))
    yield from _by_kserve(workload, objects)


def _by_kserve(workload: Json, objects: Objects) -> Iterator[Sized]:
    owner = _owner(workload)
    for service in objects.get("LLMInferenceService", ()):
        if owner == f"LLMInferenceService {service['metadata']['name']}":
            spec = service.get("spec") or {}
            part = (spec.get("prefill") or {}) if workload["metadata"]["name"].endswith("-prefill") else spec
            scaling = part.get("scaling") or {}
            if "maxReplicas" in scaling:
                yield Sized(owner, int(scaling.get("minReplicas", 1)), int(scaling["maxReplicas"]), None)


def _behavior(told: Json | None) -> Json:
    """Return what an HPA does: its own behavior, with HPA's defaults where it says nothing."""
    return {way: {**HPA_DEFAULT[way], **((told or {}).get(way) or {})} for way in HPA_DEFAULT}


def _owner(workload: Json) -> str:
    for owner in workload["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            return f"{owner['kind']} {owner['name']}"
    return ""
