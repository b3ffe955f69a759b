"""Checks of what stands in the cluster: targets, other writers, rights, the picker's pool, labels, grace periods."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoscaler.domain import membership
from autoscaler.domain.policy import SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.observe import pods, selectors, targets
from autoscaler.observe.doctor.findings import Check, ClusterLook, Finding, Json, Seen, listed
from autoscaler.observe.engines import ROLE_LABELS
from autoscaler.observe.selectors import Selector

ROLE_LABEL = "llm-d.ai/role"
WVA_MANAGED = "llm-d.ai/managed"
MANAGER = "disagg-autoscaler"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
DEFAULT_GRACE_SECONDS = 30
ACCELERATORS = ("nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "google.com/tpu")
WRITERS: Mapping[str, str] = {
    "HorizontalPodAutoscaler": "delete it: with two writers each undoes what the other did",
    "ScaledObject": "delete it, or pause it by annotation autoscaling.keda.sh/paused: KEDA's HPA writes replicas too",
    "VariantAutoscaling": "delete it: WVA's gauge drives an HPA on the same workload",
}
GITOPS = ("argocd", "flux", "helm", "kustomize-controller")


def template(found: Json) -> Mapping[str, Any]:
    """Return the pod template of a workload (of a group: of its workers, which the leader's falls back to)."""
    spec = found.get("spec") or {}
    group = spec.get("leaderWorkerTemplate") or {}
    return spec.get("template") or group.get("leaderTemplate") or group.get("workerTemplate") or {}


def _targets(policy: SLOPolicy, look: ClusterLook) -> Iterator[tuple[Variant, Json]]:
    """Yield the variants whose targets were found."""
    for variant in policy.variants:
        found = look.targets.get(str(variant.target))
        if isinstance(found, Mapping):
            yield variant, found


def exist(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """Every scale target is there and has /scale."""
    found = []
    for variant in policy.variants:
        answer = look.targets.get(str(variant.target), "was not looked at")
        if isinstance(answer, str):
            fix = "correct scaleTargetRef or metadata.namespace, or install what is missing"
            found.append(Finding(f"variant {variant.name}", answer, fix))
        elif not look.scalable.get(str(variant.target), False):
            text = f"{variant.target.kind} of {variant.target.api_version} has no /scale subresource"
            found.append(Finding(f"variant {variant.name}", text, "name the object that scales it (a role's scaler)"))
    return Seen(listed([str(variant.target) for variant in policy.variants]), found)


def _points_at(writer: Json, variant: Variant) -> bool:
    spec = writer.get("spec") or {}
    ref = spec.get("scaleTargetRef") or {}
    return ref.get("name") == variant.target.name and ref.get("kind", "Deployment") == variant.target.kind


def one_writer(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """Nobody else writes the replicas of a target."""
    found = []
    for variant in policy.variants:
        for kind, fix in WRITERS.items():
            for writer in look.of_kind(policy.namespace, kind):
                if _points_at(writer, variant):
                    name = writer["metadata"]["name"]
                    found.append(Finding(f"variant {variant.name}", f"{kind} {name} scales it", fix))
    for variant, target in _targets(policy, look):
        annotations = target["metadata"].get("annotations") or {}
        if annotations.get(WVA_MANAGED) == "true":
            fix = f"remove the annotation {WVA_MANAGED}: it hands the workload to WVA"
            found.append(Finding(f"variant {variant.name}", "is managed by WVA", fix))
    return Seen(f"{', '.join(WRITERS)} in namespace {policy.namespace}", found)


def owners(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """No tool that applies manifests again and again owns spec.replicas."""
    found = []
    for variant, target in _targets(policy, look):
        for manager in _owners_of_replicas(target):
            fix = "leave replicas out of the manifest (or out of the tool's comparison): it would be reset"
            found.append(Finding(f"variant {variant.name}", f"{manager} owns spec.replicas", fix))
    return Seen("managedFields of the targets", found)


def _owners_of_replicas(target: Json) -> Iterator[str]:
    for entry in target["metadata"].get("managedFields") or ():
        fields = entry.get("fieldsV1") or {}
        if "f:replicas" not in (fields.get("f:spec") or {}) or entry.get("manager") == MANAGER:
            continue
        manager = str(entry.get("manager", ""))
        if entry.get("operation") == "Apply" or manager.lower().startswith(GITOPS):
            yield manager
    applied = (target["metadata"].get("annotations") or {}).get(LAST_APPLIED, "")
    if '"replicas":' in applied:
        yield "kubectl apply"


def rights(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """This login may do what the policy's mode needs."""
    fix = "grant it: manifests/base holds the role for each mode"
    found = [Finding("RBAC", f"not allowed: {right}", fix) for right in look.denied.get(policy.namespace, ())]
    unread = [
        f"{kind}: {why}" for (namespace, kind), why in sorted(look.unread.items()) if namespace == policy.namespace
    ]
    found += [Finding("RBAC", f"not readable: {each}", fix) for each in unread]
    return Seen(f"rights in namespace {policy.namespace} for mode {policy.mode}", found)


def grace(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """A pod that somebody else removes has as long to finish as one that is drained."""
    found = []
    wanted = policy.scale_down.drain_timeout
    for variant, target in _targets(policy, look):
        given = (template(target).get("spec") or {}).get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
        if given < wanted:
            text = f"terminationGracePeriodSeconds {given} is below scaleDown.drainTimeout {wanted:.0f} s"
            fix = f"raise it to {wanted:.0f}: requests on pods that a node drain or a roll-out ends are cut off before"
            found.append(Finding(f"variant {variant.name}", text, fix))
    return Seen("terminationGracePeriodSeconds of the pod templates", found)


def pool(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """The picker's InferencePool is there and selects the pods of every variant."""
    scheduler, known = policy.scheduler, look.of_kind(policy.namespace, "InferencePool")
    if scheduler.kind is SchedulerKind.NONE:
        return Seen(f"InferencePools in namespace {policy.namespace}", [*_unnamed_pool(policy, look, known)])
    if scheduler.kind is SchedulerKind.ENDPOINTS_FILE:
        return Seen("scheduler", skipped="membership is published to a file")
    if scheduler.kind is SchedulerKind.POD_SELECTOR:
        looked, selector = f"pod selector {scheduler.selects}", selectors.of_text(scheduler.selects)
    else:
        looked = f"InferencePool {scheduler.selects}"
        found = next((each for each in known if each["metadata"]["name"] == scheduler.selects), None)
        if found is None:
            names = listed([each["metadata"]["name"] for each in known]) or "none"
            fix = "correct spec.scheduler.inferencePool"
            return Seen(looked, [Finding(looked, f"does not exist; there are: {names}", fix)])
        selector = pool_selector(found)
    fix = "correct the labels of the pod template: the picker sends nothing to pods that it does not select"
    return Seen(
        looked,
        [
            Finding(f"variant {variant.name}", f"its pods are not selected by {looked}", fix)
            for variant, target in _targets(policy, look)
            if not selector.selects(labels_of(target))
        ],
    )


def _unnamed_pool(policy: SLOPolicy, look: ClusterLook, known: Iterable[Json]) -> Iterator[Finding]:
    for each in known:
        name, selector = each["metadata"]["name"], pool_selector(each)
        chosen = [variant.name for variant, target in _targets(policy, look) if selector.selects(labels_of(target))]
        if chosen:
            fix = (
                f"set spec.scheduler.inferencePool: {name}; else pods are removed while the picker still sends to them"
            )
            yield Finding("scheduler", f"none is named, but InferencePool {name} selects {listed(chosen)}", fix)


def pool_selector(found: Json) -> Selector:
    """Return which pods an InferencePool means."""
    return selectors.of_object((found.get("spec") or {}).get("selector") or {})


def labels_of(target: Json) -> Mapping[str, str]:
    """Return the labels of a workload's pods."""
    labels: Mapping[str, str] = (template(target).get("metadata") or {}).get("labels") or {}
    return labels


def role_labels(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """Pod templates carry the role that the picker's filters go by."""
    found = []
    for variant, target in _targets(policy, look):
        label = labels_of(target).get(ROLE_LABEL)
        disaggregated = variant.role is not Role.UNIFIED
        if label is None and disaggregated:
            fix = f"set label {ROLE_LABEL}: {variant.role} in the pod template"
            text = f"its pods have no label {ROLE_LABEL}: the picker takes them for decode pods"
            found.append(Finding(f"variant {variant.name}", text, fix))
        elif label is not None and ROLE_LABELS.get(label) is not variant.role:
            fix = "put the variant under the right role, or correct the label"
            text = f"label {ROLE_LABEL} is {label}, the policy says {variant.role}"
            found.append(Finding(f"variant {variant.name}", text, fix))
        elif label is not None and not disaggregated and policy.pool(Role.PREFILL):
            fix = "take the label off: without it the picker lets them decode, and sends them no prompts for others"
            text = f"label {ROLE_LABEL} is {label} beside prefill: the picker also lets them compute prompts for others"
            found.append(Finding(f"variant {variant.name}", text, fix))
    return Seen(f"label {ROLE_LABEL} of the pod templates", found)


def value_metrics(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """No HPA multiplies a wish by what is there: an external metric of type Value grows without end (KServe, WVA)."""
    found = []
    for hpa in look.of_kind(policy.namespace, "HorizontalPodAutoscaler"):
        for metric in (hpa.get("spec") or {}).get("metrics") or ():
            target = (metric.get("external") or {}).get("target") or {}
            if target.get("type") == "Value":
                name = (metric["external"].get("metric") or {}).get("name", "")
                fix = "use type AverageValue: with Value a constant wish of 3 gives 2, 6, 12, 24, ... up to maxReplicas"
                subject = f"HorizontalPodAutoscaler {hpa['metadata']['name']}"
                found.append(Finding(subject, f"external metric {name} has type Value", fix))
    return Seen(f"metrics of the HorizontalPodAutoscalers in namespace {policy.namespace}", found)


def accelerators(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """Replicas ask for as many accelerators as the policy counts."""
    found = []
    for variant, target in _targets(policy, look):
        asked = accelerators_of(target)
        if asked and asked != variant.accelerators_per_replica:
            text = f"one replica asks for {asked} accelerators, acceleratorsPerReplica says "
            fix = "correct acceleratorsPerReplica: budgets and the physics prior go by it"
            found.append(Finding(f"variant {variant.name}", f"{text}{variant.accelerators_per_replica}", fix))
    return Seen("resource limits of the pod templates", found)


def accelerators_of(target: Json) -> int:
    """Return the accelerators of one replica: of a group, of all its pods; 0 where none are asked for."""
    group = (target.get("spec") or {}).get("leaderWorkerTemplate") or {}
    if not group:
        return _of_pod(template(target))
    worker = group.get("workerTemplate") or {}
    return _of_pod(group.get("leaderTemplate") or worker) + (int(group.get("size", 1)) - 1) * _of_pod(worker)


def _of_pod(found: Json) -> int:
    containers = (found.get("spec") or {}).get("containers") or ()
    limits = [(container.get("resources") or {}).get("limits") or {} for container in containers]
    return sum(int(limit.get(name, 0)) for limit in limits for name in ACCELERATORS)


def served_names(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """The engines are told to serve the model under the name that the policy expects."""
    found = []
    wanted = {policy.model, *(p.match.model_name for p in policy.profiles if p.match.model_name)}
    for variant, target in _targets(policy, look):
        told = set(served(target))
        if told and not told & wanted:
            text = f"its engines serve {listed([*told])}, the policy expects {policy.model}"
            found.append(Finding(f"variant {variant.name}", text, "correct spec.model: metrics carry the served name"))
    return Seen("--served-model-name of the engines", found)


def served(target: Json) -> Iterator[str]:
    """Yield the names under which a workload's engines are told to serve their model."""
    for container in (template(target).get("spec") or {}).get("containers") or ():
        words = " ".join(str(w) for w in (*(container.get("command") or ()), *(container.get("args") or ()))).split()
        for number, word in enumerate(words):
            option, _, value = word.partition("=")
            if option == "--served-model-name":
                yield from [value] if value else _until_option(words[number + 1 :])


def _until_option(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        if word.startswith("-"):
            return
        yield word


def withdrawn(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """No pod was left out of the picker's sight: by an earlier controller, or by hand."""
    found, count = [], 0
    for pod in _pods(policy, look):
        count += 1
        annotations = pod["metadata"].get("annotations") or {}
        if not membership.withdrawn(annotations) or pod["metadata"].get("deletionTimestamp"):
            continue
        name = f"pod {pod['metadata']['name']}"
        if membership.DRAIN_STARTED not in annotations:
            text, fix = f"{membership.ACTIVE_PORTS} withdraws it, and this autoscaler did not", "remove the annotation"
            found.append(Finding(name, text, fix))
        elif _passed(annotations.get(membership.DRAIN_DEADLINE, ""), look):
            fix = "run `autoscaler undrain`: no controller looks after it"
            found.append(Finding(name, "is withdrawn past its deadline", fix))
    return Seen(f"annotation {membership.ACTIVE_PORTS} of {count} pods", found)


def _pods(policy: SLOPolicy, look: ClusterLook) -> Iterator[Json]:
    """Yield the pods that the selectors of the targets select."""
    chosen = [_target_selector(target) for _, target in _targets(policy, look)]
    for pod in look.of_kind(policy.namespace, "Pod"):
        labels = pod["metadata"].get("labels") or {}
        if any(selector.selects(labels) for selector in chosen):
            yield pod


def _target_selector(target: Json) -> Selector:
    return selectors.of_object((target.get("spec") or {}).get("selector") or {})


def _passed(deadline: str, look: ClusterLook) -> bool:
    try:
        return pods.instant(deadline) < look.at
    except ValueError:
        return True  # a deadline that nobody can read is kept by nobody


def startable(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """No pod waits for what will not come."""
    found, count = [], 0
    for pod in _pods(policy, look):
        count += 1
        seen = pods.seen(pod).pod
        if seen.blocked_by:
            fix = "free capacity or mend the pod: its variant is counted on later, or not at all"
            found.append(Finding(f"pod {seen.name}", f"{seen.state}: {seen.blocked_by[:200]}", fix))
    return Seen(f"states of {count} pods", found)


def paused(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """Nothing is paused and forgotten."""
    found = []
    for variant, target in _targets(policy, look):
        seen = targets.seen(target, built_in=False)
        for key, is_set in ((targets.PAUSED, seen.paused), (targets.PAUSED_SCALE_DOWN, seen.paused_scale_down)):
            if is_set:
                found.append(Finding(f"variant {variant.name}", f"annotation {key} is set", "remove it to go on"))
    return Seen("pause annotations of the targets", found)


def bounds(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """What runs lies within the bounds, so that the first decision changes nothing by force."""
    found = []
    for variant, target in _targets(policy, look):
        running = (target.get("spec") or {}).get("replicas")
        if running is not None and not variant.min_replicas <= running <= variant.max_replicas:
            text = f"{running} replicas run, outside of {variant.min_replicas} to {variant.max_replicas}"
            fix = "correct minReplicas or maxReplicas, unless the first tick is meant to change it"
            found.append(Finding(f"variant {variant.name}", text, fix))
    return Seen("spec.replicas of the targets", found)


def disjoint(policy: SLOPolicy, look: ClusterLook) -> Seen:
    """No two targets mean the same pods."""
    found = []
    known = [*_targets(policy, look)]
    for number, (variant, target) in enumerate(known):
        for other, its in known[number + 1 :]:
            if _target_selector(its).selects(labels_of(target)) or _target_selector(target).selects(labels_of(its)):
                text = f"selects the pods of {other.name} too"
                fix = "give each a label of its own (llm-d.ai/variant) in selector and template"
                found.append(Finding(f"variant {variant.name}", text, fix))
    return Seen("selectors of the targets against each other's pod templates", found)


CHECKS: tuple[Check[ClusterLook], ...] = (
    Check("targets", exist),
    Check("one-writer", one_writer),
    Check("replicas-owner", owners),
    Check("value-metrics", value_metrics),
    Check("rights", rights),
    Check("picker-pool", pool),
    Check("template-role", role_labels),
    Check("served-name", served_names),
    Check("accelerators", accelerators),
    Check("grace-period", grace),
    Check("selectors", disjoint),
    Check("bounds", bounds),
    Check("paused", paused),
    Check("withdrawn-pods", withdrawn),
    Check("startable-pods", startable),
)
