"""What kustomize and helm make of the manifests: complete, equal in what matters, and with no right too many."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.cli import shards
from autoscaler.policy import load_policies
from tests.contract.manifests.rendering import (
    CHART,
    MANIFESTS,
    OVERLAYS,
    Object,
    kustomized,
    linted,
    of_kind,
    templated,
    the,
)
from tools.servers import find

pytestmark = pytest.mark.integration  # needs kustomize and helm

SETTINGS = (
    (),
    ("mode=Auto",),
    ("mode=Auto", "namespaces={llm}", "monitoring.enabled=true", "replicas=1"),
    ("shard=2/4", "listen.tokenSecret=s"),
)
LOOKING = {"get", "list", "watch"}
WORKLOADS = {"", "apps", "leaderworkerset.x-k8s.io", "disaggregatedset.x-k8s.io"}


def rules(objects: list[Object], binding: str) -> list[dict[str, Any]]:
    """Return the rules that bindings of a kind give to the controller."""
    roles = {found["metadata"]["name"]: found for found in of_kind(objects, "ClusterRole")}
    return [rule for bound in of_kind(objects, binding) for rule in _rules(roles, bound)]


def _rules(roles: dict[str, Object], bound: Object) -> list[dict[str, Any]]:
    reference = bound["roleRef"]
    return list(roles[reference["name"]]["rules"]) if reference["kind"] == "ClusterRole" else []


def writes_on_workloads(given: list[dict[str, Any]]) -> set[str]:
    """Return what may be written on workloads and pods."""
    return {
        resource
        for rule in given
        if set(rule["verbs"]) - LOOKING and WORKLOADS & set(rule["apiGroups"])
        for resource in rule["resources"]
    }


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_chart_passes_its_linter(settings: tuple[str, ...]) -> None:
    assert linted(*settings) == ""


@pytest.mark.parametrize(
    "value", ["mode=auto", "namespaces={a,b}", "prometheus.url=prometheus:9090", "replica=3", "shard=4"]
)
def test_the_chart_refuses_a_value_that_means_nothing(value: str) -> None:
    assert linted(value) != ""


def test_recommend_gets_no_verb_that_writes_on_a_workload() -> None:
    for objects in (kustomized("recommend"), templated()):
        given = rules(objects, "ClusterRoleBinding")
        assert given
        assert not writes_on_workloads(given)
        assert not any("act" in found["metadata"]["name"].split("-") for found in of_kind(objects, "ClusterRole"))


def test_auto_writes_scales_and_pods_and_nothing_else() -> None:
    for objects in (kustomized("auto"), kustomized("cluster"), templated("mode=Auto")):
        assert writes_on_workloads(rules(objects, "ClusterRoleBinding")) == {
            "pods",
            "deployments/scale",
            "statefulsets/scale",
            "leaderworkersets/scale",
            "disaggregatedsetrolescalers/scale",
        }


def test_a_namespaced_install_binds_nothing_cluster_wide() -> None:
    for objects in (kustomized("namespaced"), templated("mode=Auto", "namespaces={llm}")):
        assert not of_kind(objects, "ClusterRoleBinding")
        bound = [found for found in of_kind(objects, "RoleBinding") if found["roleRef"]["kind"] == "ClusterRole"]
        assert {found["metadata"]["namespace"] for found in bound} == {"llm"}
        (container,) = the(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        assert "--namespace=llm" in container["args"]


def test_no_rule_has_a_wildcard_and_no_secret_is_readable() -> None:
    for objects in (*map(kustomized, OVERLAYS), templated("mode=Auto")):
        for found in (*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")):
            for rule in found["rules"]:
                assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
                assert not {"secrets", "configmaps"} & set(rule["resources"])


def test_kustomize_and_helm_run_the_same_pod() -> None:
    ours, theirs = (
        the(objects, "Deployment")["spec"]["template"]["spec"] for objects in (kustomized("auto"), templated())
    )
    (container,), (charts,) = ours.pop("containers"), theirs.pop("containers")
    assert charts.pop("args") == [*container.pop("args"), "--lease=disagg-autoscaler/disagg-autoscaler"]
    assert charts.pop("imagePullPolicy") == "IfNotPresent"
    assert charts == container
    for spec in (ours, theirs):
        spec.pop("topologySpreadConstraints")  # by their labels
    assert ours == theirs


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_pod_is_restricted(overlay: str) -> None:
    pod = the(kustomized(overlay), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert writable == {"/tmp", "/var/lib/disagg-autoscaler"}  # noqa: S108 - an emptyDir of the pod's own
    assert not {"command"} & container.keys()


def test_the_chart_carries_the_same_files() -> None:
    """They are links: nothing can differ. A packer that does not follow links would break the chart, seen here."""
    for link in (*(CHART / "files").iterdir(), *(CHART / "crds").iterdir()):
        assert link.is_symlink()
        assert link.resolve().is_relative_to(MANIFESTS)


def test_the_alerts_do_what_they_say(tmp_path: Path) -> None:
    folder = MANIFESTS / "overlays" / "monitoring"
    groups = yaml.safe_load((folder / "alerts.yaml").read_text(encoding="utf-8"))["spec"]["groups"]
    tests = (folder / "alerts_test.yaml").read_text(encoding="utf-8")
    assert all(rule["alert"] in tests for group in groups for rule in group["rules"]), "an alert without a test"
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    (tmp_path / "alerts_test.yaml").write_text(tests)
    promtool = find.locate(["promtool"])["promtool"]
    command = [str(promtool), "test", "rules", "alerts_test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_deployment_fits_its_policy() -> None:
    """Every workload that the policy scales is there, with the replicas, labels and accelerators that it speaks of."""
    folder = MANIFESTS / "examples" / "llm-d"
    objects = [
        found
        for path in sorted(folder.glob("*.yaml"))
        for found in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if found and found.get("kind") != "Kustomization"
    ]
    (policy,) = load_policies([MANIFESTS.parent / "policies" / "rag-and-reasoning.yaml"]).policies
    deployments = {found["metadata"]["name"]: found for found in of_kind(objects, "Deployment")}
    pool = the(objects, "InferencePool")
    for variant in policy.variants:
        found = deployments[variant.target.name]
        template = found["spec"]["template"]
        assert found["metadata"]["namespace"] == policy.namespace
        assert "replicas" not in found["spec"], "who applies this must not set what the autoscaler sets"
        assert template["metadata"]["labels"]["llm-d.ai/role"] == variant.role.value
        assert pool["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        engine = next(each for each in template["spec"]["containers"] if each["name"] == "engine")
        assert int(engine["resources"]["limits"]["nvidia.com/gpu"]) == variant.accelerators_per_replica
        assert policy.model in engine["args"]
    route = the(objects, "HTTPRoute")
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert (backend["kind"], backend["name"]) == ("InferencePool", pool["metadata"]["name"])


def test_a_shard_of_the_chart_may_hold_its_own_lease() -> None:
    objects = templated("shard=2/4")
    (deployment,) = (found for found in objects if found["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    namespace, _, name = next(arg for arg in container["args"] if arg.startswith("--lease=")).partition("/")
    assert "--shard=2/4" in container["args"]
    wanted = shards.parsed("2/4").lease((namespace, name))
    assert wanted is not None
    rules = [rule for found in objects if found["kind"] == "Role" for rule in found["rules"]]
    assert [wanted[1]] in [rule.get("resourceNames") for rule in rules]


def test_a_token_for_the_metrics_is_mounted_and_shown_by_prometheus() -> None:
    objects = templated("listen.tokenSecret=listen", "monitoring.enabled=true")
    (deployment,) = (found for found in objects if found["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert "--listen-token-file=/var/run/listen/token" in pod["containers"][0]["args"]
    assert "/var/run/listen" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert "listen" in [volume.get("secret", {}).get("secretName") for volume in pod["volumes"]]
    (monitor,) = (found for found in objects if found["kind"] == "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "listen", "key": "token"}}
