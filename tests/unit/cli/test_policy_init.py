"""Drafts of policies from what clusters hold: by table, without a cluster."""

from typing import Any, TypeAlias

import pytest
import yaml

from autoscaler.cli import policy_init
from autoscaler.domain.policy import SLOPolicy
from autoscaler.observe import survey
from autoscaler.policy import parse_policy

Object: TypeAlias = dict[str, Any]


def workload(name: str, role: str = "", *args: str, **spec: object) -> Object:
    labels = {"app": name, **({"llm-d.ai/role": role} if role else {})}
    container = {
        "name": "engine",
        "args": [*args] or ["--model", "m"],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    return {
        "metadata": {"name": name, "annotations": {}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], **spec}},
        },
    }


def pair() -> list[Object]:
    return [workload("p", "prefill"), workload("d", "decode")]


def drafted(**kinds: list[Object]) -> str:
    objects = {kind: tuple(found) for kind, found in kinds.items()}
    ((model, found),) = survey.models(objects).items()
    return policy_init.draft("llm", model, found, objects)


def accepted(text: str) -> SLOPolicy:
    assert [*policy_init.doubts(text)] == []
    (policy,) = parse_policy(yaml.safe_load(text)).policies
    return policy


def test_without_any_autoscaler_bounds_are_marked_for_change() -> None:
    text = drafted(Deployment=pair())
    policy = accepted(text)
    assert {(v.min_replicas, v.max_replicas) for v in policy.variants} == {(1, 4)}
    assert text.count("CHANGE: nobody sized it so far") == 2
    assert "behavior:" not in text
    assert "kubectl delete" not in text


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA-H200", "H200-SXM"),
        ("NVIDIA-H100-80GB-HBM3", "H100-SXM"),
        ("NVIDIA-H100-PCIe", "H100-PCIE"),
        ("NVIDIA-A100-SXM4-80GB", "A100-SXM-80GB"),
        ("nvidia-l40s", "L40S"),
        ("NVIDIA-L4", "L4"),
        ("AMD_Instinct_MI300X_OAM", "MI300X"),
        ("Tesla-K80", "unknown"),
    ],
)
def test_accelerators_are_told_by_node_labels(product: str, name: str) -> None:
    workloads = [workload("p", "prefill", nodeSelector={"nvidia.com/gpu.product": product}), workload("d", "decode")]
    text = drafted(Deployment=workloads)
    assert accepted(text).variant("p").accelerator == name
    assert text.count("accelerator: unknown  # CHANGE: no node label tells it") == (2 if name == "unknown" else 1)


def test_an_affinity_tells_the_accelerator_too() -> None:
    expression = {"key": "cloud.google.com/gke-accelerator", "operator": "In", "values": ["nvidia-h100-80gb"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    found = survey.models({"Deployment": (workload("p", "prefill", affinity=affinity),)})
    assert found["m"][0].accelerator == "H100-SXM"


@pytest.mark.parametrize(
    ("arguments", "role"),
    [
        (("--model", "m", "--kv-transfer-config", '{"kv_role":"kv_producer"}'), "prefill"),
        (("--model", "m", "--kv-transfer-config", '{"kv_role":"kv_consumer"}'), "decode"),
        (("--model", "m"), "unified"),
    ],
    ids=["producer", "consumer", "neither"],
)
def test_without_a_label_the_hand_over_tells_the_role(arguments: tuple[str, ...], role: str) -> None:
    found = survey.models({"Deployment": (workload("w", "", *arguments),)})
    assert found["m"][0].role == role


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (("--served-model-name", "alias", "other", "--model", "path"), "alias"),
        (("--served-model-name=alias",), "alias"),
        (("--model=org/m",), "org/m"),
        (("vllm serve org/m --port 8000",), "org/m"),
    ],
    ids=["served names", "one word", "model", "serve"],
)
def test_the_model_is_the_served_name(arguments: tuple[str, ...], model: str) -> None:
    assert [*survey.models({"Deployment": (workload("w", "decode", *arguments),)})] == [model]


def test_what_serves_no_model_is_left_out() -> None:
    gateway = workload("gateway")
    gateway["spec"]["template"]["spec"]["containers"][0] |= {"args": ["-c", "envoy.yaml"], "resources": {}}
    trainer = workload("trainer", "", "train.py")
    assert survey.models({"Deployment": (gateway, trainer)}) == {}


def test_a_group_counts_the_accelerators_of_all_its_pods() -> None:
    group = workload("d", "decode")
    group["spec"]["leaderWorkerTemplate"] = {"size": 4, "workerTemplate": group["spec"].pop("template")}
    policy = accepted(drafted(LeaderWorkerSet=[group], Deployment=[workload("p", "prefill")]))
    assert policy.variant("d").accelerators_per_replica == 4
    assert policy.variant("d").target.kind == "LeaderWorkerSet"


def test_kserve_keeps_its_bounds_and_is_asked_to_let_go() -> None:
    workloads = pair()
    workloads[0]["metadata"]["name"] = "qwen-kserve-prefill"
    for each in workloads:
        each["metadata"]["ownerReferences"] = [{"controller": True, "kind": "LLMInferenceService", "name": "qwen"}]
    spec = {"scaling": {"minReplicas": 3, "maxReplicas": 7}, "prefill": {"scaling": {"maxReplicas": 5}}}
    service = {"metadata": {"name": "qwen"}, "spec": spec}
    text = drafted(Deployment=workloads, LLMInferenceService=[service])
    policy = accepted(text)
    assert {(v.role.value, v.min_replicas, v.max_replicas) for v in policy.variants} == {
        ("decode", 3, 7),
        ("prefill", 1, 5),
    }
    assert "#   take replicas and scaling out of LLMInferenceService qwen, which sets them" in text


def test_the_hpa_that_keda_made_is_not_a_second_writer() -> None:
    reference = {"kind": "Deployment", "name": "d"}
    scaled = {"metadata": {"name": "d"}, "spec": {"scaleTargetRef": reference, "minReplicaCount": 2}}
    labels = {"app.kubernetes.io/managed-by": "keda-operator"}
    spec = {"scaleTargetRef": reference, "maxReplicas": 100}
    hpa = {"metadata": {"name": "keda-hpa-d", "labels": labels}, "spec": spec}
    text = drafted(Deployment=pair(), ScaledObject=[scaled], HorizontalPodAutoscaler=[hpa])
    assert accepted(text).variant("d").min_replicas == 2
    assert "keda-hpa-d" not in text


def test_damping_of_an_hpa_is_kept_word_by_word() -> None:
    rules = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}], "selectPolicy": "Min"},
        "scaleDown": {"selectPolicy": "Disabled", "tolerance": "50m"},
    }
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 8, "behavior": rules}
    text = drafted(Deployment=pair(), HorizontalPodAutoscaler=[{"metadata": {"name": "h"}, "spec": spec}])
    behavior = accepted(text).behavior
    assert [(limit.value, limit.period) for limit in behavior.scale_up.limits] == [(1, 120.0)]
    assert behavior.scale_up.select.value == "Min"
    assert behavior.scale_down.select.value == "Disabled"
    assert behavior.scale_down.tolerance == 0.05


def test_names_from_a_cluster_cannot_break_out_of_the_file() -> None:
    hostile = 'm\n  mode: Auto #"}\t'
    workloads = [workload("p", "prefill", f"--served-model-name={hostile}"), workload("d", "decode")]
    for each in workloads:
        each["metadata"]["annotations"]["llm-d.ai/model-id"] = hostile
        each["spec"]["template"]["spec"]["containers"][0]["args"] = []
    text = drafted(Deployment=workloads)
    document = yaml.safe_load(text)
    assert document["spec"]["model"] == hostile
    assert document["spec"]["mode"] == "Recommend"


def test_two_objectives_of_one_priority_cannot_be_told_apart() -> None:
    def objective(name: str, priority: int) -> Object:
        return {"metadata": {"name": name}, "spec": {"priority": priority, "poolRef": {"name": "pool"}}}

    known = (objective("a", 1), objective("b", 1), objective("c", 2))
    assert [found.name for found in survey.objectives({"InferenceObjective": known}, "pool")] == ["c"]
    assert survey.objectives({"InferenceObjective": known}, "other") == []
