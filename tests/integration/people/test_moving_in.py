"""From HPA, KEDA and WVA to a policy, on a real API server: ``policy init``, then ``doctor``, until nothing is left."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.policy import load_policies
from tests.command import run
from tests.integration.people import migration
from tests.servers.control_plane import CONTROLLER_RECOMMEND, ControlPlane


@pytest.fixture
def written(control_plane: ControlPlane, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the policy that ``policy init`` wrote for a namespace as operators have it before."""
    migration.build(control_plane, namespace)
    arguments = ("--namespace", namespace, "--kubeconfig", str(control_plane.kubeconfig()))
    assert run("policy", "init", *arguments) == 0
    path = tmp_path / "policy.yaml"
    path.write_text(capsys.readouterr().out)
    return path


def doctor(
    plane: ControlPlane, policy: Path, capsys: pytest.CaptureFixture[str], user: str = "admin"
) -> dict[str, Any]:
    """Return the findings by check, as texts."""
    run("doctor", "--policy", str(policy), "--kubeconfig", str(plane.kubeconfig(user)), "-o", "json")
    data = json.loads(capsys.readouterr().out)
    return {c["check"]: "; ".join(f"{f['subject']}: {f['found']}" for f in c["findings"]) for c in data["checks"]}


def test_the_policy_keeps_bounds_prices_damping_and_pool(written: Path, namespace: str) -> None:
    loaded = load_policies([written])
    assert loaded.warnings == ()
    (policy,) = loaded.policies
    assert (policy.name, policy.namespace, policy.model, policy.mode) == (
        "qwen3-32b",
        namespace,
        migration.MODEL,
        "Recommend",
    )
    prefill, decode = policy.variant("qwen-prefill"), policy.variant("qwen-decode")
    assert (prefill.role, prefill.min_replicas, prefill.max_replicas) == ("prefill", 2, 9)
    assert (decode.role, decode.min_replicas, decode.max_replicas) == ("decode", 1, 12)
    assert (prefill.cost_per_replica_hour, decode.cost_per_replica_hour) == (7.5, 6.2)
    assert {v.accelerator for v in policy.variants} == {"H200-SXM"}
    assert {v.accelerators_per_replica for v in policy.variants} == {2}
    assert policy.scheduler.selects == "qwen"
    assert {p.name: p.match.priority for p in policy.profiles} == {"interactive": 10, "batch": -5, "default": None}
    # KEDA's HPA has no behavior of its own: the one that waits longer counts, the other's is told
    up, down = policy.behavior.scale_up, policy.behavior.scale_down
    assert {(limit.kind.value, limit.value, float(limit.period)) for limit in up.limits} == {
        ("Percent", 100, 15),
        ("Pods", 4, 15),
    }
    assert down.stabilization_window == 600.0


def test_the_policy_says_what_to_change_and_whom_to_part_with(written: Path) -> None:
    text = written.read_text()
    assert "gateway" not in text
    for line in (
        "# CHANGE: what your users were promised",
        "# ScaledObject qwen-decode has 0; scaling to zero is a matter of scaleToZero",
        "#   kubectl delete horizontalpodautoscaler qwen-prefill-hpa",
        "#   kubectl delete scaledobject qwen-decode",
        "# CHANGE? ScaledObject qwen-decode on qwen-decode does it otherwise",
    ):
        assert line in text


def test_doctor_finds_the_other_writers_until_they_are_gone(
    written: Path, control_plane: ControlPlane, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = doctor(control_plane, written, capsys)
    for writer in (
        "HorizontalPodAutoscaler qwen-prefill-hpa",
        "ScaledObject qwen-decode",
        "VariantAutoscaling qwen-decode",
    ):
        assert f"{writer} scales it" in found["one-writer"]
    assert "wva_desired_replicas has type Value" in found["value-metrics"]

    for path in (
        f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/qwen-prefill-hpa",
        f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects/qwen-decode",
        f"/apis/llmd.ai/v1alpha1/namespaces/{namespace}/variantautoscalings/qwen-decode",
    ):
        control_plane.request("DELETE", path)
    assert {check: text for check, text in doctor(control_plane, written, capsys).items() if text} == {}


def test_doctor_names_every_right_that_is_missing(
    written: Path, control_plane: ControlPlane, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    follow = ["get", "list", "watch"]
    rules = [
        {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": follow},
        {"apiGroups": [""], "resources": ["pods"], "verbs": follow},
    ]
    control_plane.grant(CONTROLLER_RECOMMEND, rules, namespace=namespace)
    text = yaml.safe_load(written.read_text())
    text["spec"]["mode"] = "Auto"
    written.write_text(yaml.safe_dump(text))
    told = doctor(control_plane, written, capsys, CONTROLLER_RECOMMEND)["rights"]
    assert 'not allowed: patch deployments/scale (API group "apps")' in told
    assert 'not allowed: patch pods (API group "")' in told
    assert 'not allowed: watch inferencepools (API group "inference.networking.k8s.io")' in told
    assert "not allowed: get deployments" not in told


def test_a_namespace_without_models_is_told(
    control_plane: ControlPlane, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migration.install(control_plane)
    assert run("policy", "init", "-n", namespace, "--kubeconfig", str(control_plane.kubeconfig())) == 1
    assert "no model is served in" in capsys.readouterr().err
