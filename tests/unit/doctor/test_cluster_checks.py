"""Every way in which a cluster stands against the autoscaler is produced here, and found by its check."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pytest

from autoscaler.domain.policy import Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.doctor.cluster import CHECKS
from autoscaler.observe.doctor.findings import ClusterLook
from tests import observing

Object: TypeAlias = dict[str, Any]
NOW = Instant(1_795_400_000.0)
POOL = Scheduler(SchedulerKind.INFERENCE_POOL, "qwen")


def deployment(role: str) -> Object:
    labels = {"app": "qwen", "llm-d.ai/role": role}
    container = {
        "name": "engine",
        "args": ["--model", "/models/qwen", "--served-model-name", "m", "--port", "8000"],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    return {
        "metadata": {"name": role, "uid": role, "resourceVersion": "7", "annotations": {}, "managedFields": []},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 600},
            },
        },
    }


def pod(role: str) -> Object:
    time = "2026-11-23T10:00:00Z"
    return {
        "metadata": {
            "name": f"{role}-x",
            "uid": f"{role}-x",
            "creationTimestamp": time,
            "labels": {"app": "qwen", "llm-d.ai/role": role},
            "annotations": {},
        },
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time}]},
    }


@dataclass
class World:
    """A healthy cluster, of which a test spoils one thing."""

    policy: SLOPolicy = field(default_factory=lambda: replace(observing.policy(), scheduler=POOL))
    targets: dict[str, Any] = field(default_factory=lambda: {role: deployment(role) for role in ("prefill", "decode")})
    scalable: dict[str, bool] = field(default_factory=lambda: {"prefill": True, "decode": True})
    objects: dict[str, list[Object]] = field(
        default_factory=lambda: {
            "Pod": [pod("prefill"), pod("decode")],
            "InferencePool": [
                {"metadata": {"name": "qwen"}, "spec": {"selector": {"matchLabels": {"app": "qwen"}}}},
            ],
        }
    )
    denied: tuple[str, ...] = ()
    unread: dict[str, str] = field(default_factory=dict)

    def found(self) -> dict[str, str]:
        """Return everything found, as one text by check."""
        named = {v.name: str(v.target) for v in self.policy.variants}
        look = ClusterLook(
            NOW,
            {named[name]: target for name, target in self.targets.items()},
            {named[name]: scalable for name, scalable in self.scalable.items()},
            {("llm", kind): tuple(objects) for kind, objects in self.objects.items()},
            {"llm": self.denied},
            {("llm", kind): why for kind, why in self.unread.items()},
        )
        checked = [check.of(self.policy, look) for check in CHECKS]
        assert all(one.looked_at for one in checked)
        return {
            one.check: "; ".join(f"{f.subject}: {f.found} -> {f.fix}" for f in one.findings)
            for one in checked
            if one.findings
        }

    def template(self, role: str) -> Object:
        found: Object = self.targets[role]["spec"]["template"]
        return found

    def annotate(self, kind: str, number: int, **annotations: str) -> None:
        named = {"active": "llm-d.ai/active-ports", "since": "disagg-autoscaler.io/drain-started"}
        named["until"] = "disagg-autoscaler.io/drain-deadline"
        self.objects[kind][number]["metadata"]["annotations"] = {named[k]: v for k, v in annotations.items()}


def test_nothing_is_found_in_a_healthy_cluster() -> None:
    assert World().found() == {}


Spoil: TypeAlias = Callable[[World], object]


def absent_target(world: World) -> None:
    world.targets["decode"] = "get deployments.apps llm/decode: not found"
    world.scalable["decode"] = False


def no_scale(world: World) -> None:
    world.scalable["decode"] = False


def _writer(name: str, ref: Object, metrics: list[Object] | None = None) -> Object:
    return {"metadata": {"name": name}, "spec": {"scaleTargetRef": ref, "metrics": metrics or []}}


DECODE: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "decode"}


def hpa(world: World) -> None:
    world.objects["HorizontalPodAutoscaler"] = [_writer("old", DECODE)]


def scaled_object(world: World) -> None:
    world.objects["ScaledObject"] = [_writer("queue", {"name": "decode"})]


def variant_autoscaling(world: World) -> None:
    world.objects["VariantAutoscaling"] = [_writer("decode-wva", DECODE)]


def wva_annotation(world: World) -> None:
    world.targets["decode"]["metadata"]["annotations"]["llm-d.ai/managed"] = "true"


def _managed(world: World, manager: str, operation: str) -> None:
    entry = {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    world.targets["decode"]["metadata"]["managedFields"] = [entry]


def argo(world: World) -> None:
    _managed(world, "argocd-controller", "Update")


def applied_by_the_server(world: World) -> None:
    _managed(world, "ci", "Apply")


def applied_by_kubectl(world: World) -> None:
    key = "kubectl.kubernetes.io/last-applied-configuration"
    world.targets["decode"]["metadata"]["annotations"][key] = '{"spec":{"replicas":2}}'


def no_right(world: World) -> None:
    world.denied = ('patch deployments/scale (API group "apps")',)


def unreadable(world: World) -> None:
    world.unread = {"InferencePool": "forbidden"}


def short_grace(world: World) -> None:
    world.template("prefill")["spec"]["terminationGracePeriodSeconds"] = 30


def default_grace(world: World) -> None:
    del world.template("prefill")["spec"]["terminationGracePeriodSeconds"]


def pool_of_another_name(world: World) -> None:
    world.policy = replace(world.policy, scheduler=Scheduler(SchedulerKind.INFERENCE_POOL, "qwen3"))


def pool_selects_others(world: World) -> None:
    world.objects["InferencePool"][0]["spec"]["selector"] = {"matchLabels": {"app": "llama"}}


def selector_selects_others(world: World) -> None:
    world.policy = replace(world.policy, scheduler=Scheduler(SchedulerKind.POD_SELECTOR, "app in (llama)"))


def pool_not_named(world: World) -> None:
    world.policy = replace(world.policy, scheduler=Scheduler())


def no_role_label(world: World) -> None:
    del world.template("prefill")["metadata"]["labels"]["llm-d.ai/role"]


def other_role_label(world: World) -> None:
    world.template("prefill")["metadata"]["labels"] = {"app": "qwen", "llm-d.ai/role": "decode"}


def hands_over_too(world: World) -> None:
    """A unified variant beside the pair whose label lets the picker use it for prompts of others."""
    roles = replace(observing.policy(roles=tuple(Role)), scheduler=POOL)
    world.policy = roles
    world.targets["unified"] = deployment("unified")
    world.scalable["unified"] = True
    world.template("unified")["metadata"]["labels"] = {"app": "qwen", "llm-d.ai/role": "prefill-decode"}


def value_metric(world: World) -> None:
    metric = {"type": "External", "external": {"metric": {"name": "desired_replicas"}, "target": {"type": "Value"}}}
    world.objects["HorizontalPodAutoscaler"] = [_writer("kserve", {**DECODE, "name": "elsewhere"}, [metric])]


def more_accelerators(world: World) -> None:
    world.template("decode")["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": 8}


def more_accelerators_in_a_group(world: World) -> None:
    worker = copy.deepcopy(world.template("decode"))
    world.targets["decode"]["spec"]["leaderWorkerTemplate"] = {"size": 4, "workerTemplate": worker}
    del world.targets["decode"]["spec"]["template"]


def other_served_name(world: World) -> None:
    world.template("decode")["spec"]["containers"][0]["args"] = ["--served-model-name=Qwen/Qwen3-32B"]


def withdrawn_by_hand(world: World) -> None:
    world.annotate("Pod", 1, active="")


def withdrawn_and_forgotten(world: World) -> None:
    world.annotate("Pod", 1, active="", since="2026-11-22T00:00:00Z", until="2026-11-22T00:10:00Z")


def withdrawn_without_a_readable_deadline(world: World) -> None:
    world.annotate("Pod", 1, active="", since="2026-11-22T00:00:00Z", until="soon")


def unschedulable(world: World) -> None:
    found = world.objects["Pod"][1]
    found["spec"] = {}
    scheduled = {"type": "PodScheduled", "status": "False", "message": "0/8 nodes: insufficient nvidia.com/gpu"}
    found["status"] = {"phase": "Pending", "conditions": [scheduled]}


def crashing(world: World) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m"}}
    world.objects["Pod"][1]["status"]["containerStatuses"] = [{"name": "engine", "state": waiting}]


def paused(world: World) -> None:
    world.targets["prefill"]["metadata"]["annotations"]["disagg-autoscaler.io/paused"] = "true"


def paused_down(world: World) -> None:
    world.targets["prefill"]["metadata"]["annotations"]["disagg-autoscaler.io/paused-scale-down"] = "yes"


def out_of_bounds(world: World) -> None:
    world.targets["decode"]["spec"]["replicas"] = 20


def common_selector(world: World) -> None:
    for role in ("prefill", "decode"):
        world.targets[role]["spec"]["selector"] = {"matchLabels": {"app": "qwen"}}


SEEDED: tuple[tuple[Spoil, str, str], ...] = (
    (absent_target, "targets", "variant decode: get deployments.apps llm/decode: not found"),
    (no_scale, "targets", "Deployment of apps/v1 has no /scale subresource"),
    (hpa, "one-writer", "variant decode: HorizontalPodAutoscaler old scales it"),
    (scaled_object, "one-writer", "variant decode: ScaledObject queue scales it"),
    (variant_autoscaling, "one-writer", "variant decode: VariantAutoscaling decode-wva scales it"),
    (wva_annotation, "one-writer", "variant decode: is managed by WVA"),
    (argo, "replicas-owner", "variant decode: argocd-controller owns spec.replicas"),
    (applied_by_the_server, "replicas-owner", "variant decode: ci owns spec.replicas"),
    (applied_by_kubectl, "replicas-owner", "variant decode: kubectl apply owns spec.replicas"),
    (no_right, "rights", "not allowed: patch deployments/scale"),
    (unreadable, "rights", "not readable: InferencePool: forbidden"),
    (short_grace, "grace-period", "terminationGracePeriodSeconds 30 is below scaleDown.drainTimeout 600 s"),
    (default_grace, "grace-period", "terminationGracePeriodSeconds 30 is below"),
    (pool_of_another_name, "picker-pool", "does not exist; there are: qwen"),
    (pool_selects_others, "picker-pool", "variant decode: its pods are not selected by InferencePool qwen"),
    (selector_selects_others, "picker-pool", "its pods are not selected by pod selector app in (llama)"),
    (pool_not_named, "picker-pool", "InferencePool qwen selects decode, prefill"),
    (no_role_label, "template-role", "variant prefill: its pods have no label llm-d.ai/role"),
    (other_role_label, "template-role", "label llm-d.ai/role is decode, the policy says prefill"),
    (hands_over_too, "template-role", "variant unified: label llm-d.ai/role is prefill-decode beside prefill"),
    (value_metric, "value-metrics", "HorizontalPodAutoscaler kserve: external metric desired_replicas has type Value"),
    (more_accelerators, "accelerators", "one replica asks for 8 accelerators, acceleratorsPerReplica says 1"),
    (more_accelerators_in_a_group, "accelerators", "one replica asks for 4 accelerators"),
    (other_served_name, "served-name", "its engines serve Qwen/Qwen3-32B, the policy expects m"),
    (withdrawn_by_hand, "withdrawn-pods", "pod decode-x: llm-d.ai/active-ports withdraws it"),
    (withdrawn_and_forgotten, "withdrawn-pods", "pod decode-x: is withdrawn past its deadline"),
    (withdrawn_without_a_readable_deadline, "withdrawn-pods", "is withdrawn past its deadline"),
    (unschedulable, "startable-pods", "pod decode-x: pending: 0/8 nodes: insufficient nvidia.com/gpu"),
    (crashing, "startable-pods", "pod decode-x: failed: engine: CrashLoopBackOff"),
    (paused, "paused", "variant prefill: annotation disagg-autoscaler.io/paused is set"),
    (paused_down, "paused", "annotation disagg-autoscaler.io/paused-scale-down is set"),
    (out_of_bounds, "bounds", "20 replicas run, outside of 1 to 8"),
    (common_selector, "selectors", "variant prefill: selects the pods of decode too"),
)


@pytest.mark.parametrize(("spoil", "check", "words"), SEEDED, ids=[spoil.__name__ for spoil, _, _ in SEEDED])
def test_every_seeded_mistake_is_found_with_a_way_out(spoil: Spoil, check: str, words: str) -> None:
    world = World()
    spoil(world)
    told = world.found()
    assert words in told.get(check, ""), told
    assert not told[check].endswith("-> ")


def test_a_drain_in_progress_is_no_finding() -> None:
    world = World()
    world.annotate("Pod", 1, active="", since="2026-11-23T10:00:00Z", until="2027-01-01T00:00:00Z")
    assert world.found() == {}


def test_an_own_write_of_replicas_is_no_finding() -> None:
    world = World()
    _managed(world, "disagg-autoscaler", "Apply")
    assert world.found() == {}


def test_a_short_drain_is_satisfied_with_the_usual_grace() -> None:
    world = World()
    short_grace(world)
    quick = replace(world.policy.scale_down, drain_timeout=Seconds(20.0))
    world.policy = replace(world.policy, scale_down=quick)
    assert world.found() == {}


def test_a_unified_variant_without_a_role_label_beside_a_pair_is_no_finding() -> None:
    world = World()
    hands_over_too(world)
    world.template("unified")["metadata"]["labels"] = {"app": "qwen"}
    assert "template-role" not in world.found()
