"""Scaling on a real API server: what is written, what is refused, and what nobody is told wrongly."""

import asyncio
import json

import pytest

from autoscaler.act.dry_run import DryRunActuator
from autoscaler.act.kube import KubeActuator
from autoscaler.domain.plan import Action, Withdraw
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import ActionResult, Result
from autoscaler.ports import Actuator
from tests.integration.kube import stage
from tests.servers.audit import AuditEvent
from tests.servers.control_plane import ADMIN, CONTROLLER_AUTO, CONTROLLER_RECOMMEND, ControlPlane, eventually

SCALER = [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]}]
READER = [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get"]}]


@pytest.fixture
def pools(control_plane: ControlPlane, namespace: str) -> SLOPolicy:
    """Two Deployments, of 2 prefill and 3 decode replicas."""
    for name, replicas in (("prefill", 2), ("decode", 3)):
        body = stage.deployment(name, replicas)
        control_plane.request("POST", stage.APPS.format(namespace=namespace), body)
    control_plane.grant(CONTROLLER_AUTO, SCALER, namespace=namespace)
    control_plane.grant(CONTROLLER_RECOMMEND, READER, namespace=namespace)
    return stage.policy(namespace, stage.variant("prefill", namespace), stage.variant("decode", namespace))


def apply(plane: ControlPlane, user: str, policy: SLOPolicy, *actions: Action) -> tuple[ActionResult, ...]:
    async def once() -> tuple[ActionResult, ...]:
        async with stage.session(plane.kubeconfig(user)) as session:
            actuator: Actuator = KubeActuator(session, [policy])
            return (await actuator.apply(actions)).results

    return asyncio.run(once())


def requested(plane: ControlPlane, namespace: str, name: str) -> int:
    found = plane.request("GET", f"{stage.APPS.format(namespace=namespace)}/{name}")
    return int(found["spec"]["replicas"])


def running(plane: ControlPlane, namespace: str, name: str) -> int:
    found = plane.request("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{name}")
    return sum("deletionTimestamp" not in pod["metadata"] for pod in found["items"])


@pytest.mark.usefixtures("kubelet")
def test_two_deployments_are_scaled_and_the_controllers_make_the_pods(
    control_plane: ControlPlane, namespace: str, pools: SLOPolicy
) -> None:
    eventually(lambda: running(control_plane, namespace, "decode") == 3, what="the first pods")
    actions = (stage.scale(namespace, "decode", 5, 3), stage.scale(namespace, "prefill", 1, 2))
    results = apply(control_plane, CONTROLLER_AUTO, pools, *actions)
    assert [(result.action, result.result) for result in results] == [(action, Result.DONE) for action in actions]
    eventually(lambda: running(control_plane, namespace, "decode") == 5, what="5 decode pods")
    eventually(lambda: running(control_plane, namespace, "prefill") == 1, what="1 prefill pod")
    again = apply(control_plane, CONTROLLER_AUTO, pools, *actions)
    assert {result.result for result in again} == {Result.UNCHANGED}


def test_a_write_carries_its_own_field_manager(control_plane: ControlPlane, namespace: str, pools: SLOPolicy) -> None:
    apply(control_plane, CONTROLLER_AUTO, pools, stage.scale(namespace, "decode", 4, 3))
    found = control_plane.request("GET", f"{stage.APPS.format(namespace=namespace)}/decode")
    owners = {entry["manager"]: entry for entry in found["metadata"]["managedFields"]}
    assert owners["disagg-autoscaler"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert owners["disagg-autoscaler"]["subresource"] == "scale"


def test_a_dry_run_leaves_no_write_in_the_audit_log(
    control_plane: ControlPlane, namespace: str, pools: SLOPolicy
) -> None:
    """Even where the user may write."""
    look = {"verbs": ["get", "list", "watch"]}
    rules = [
        *SCALER,
        {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], **look},
        {"apiGroups": [""], "resources": ["pods"], **look},
    ]
    control_plane.grant(CONTROLLER_RECOMMEND, rules, namespace=namespace)

    async def watched() -> tuple[ActionResult, ...]:
        async with stage.fleet(control_plane.kubeconfig(CONTROLLER_RECOMMEND), pools) as fleet:
            await stage.workload(fleet)
            return (await DryRunActuator().apply([stage.scale(namespace, "decode", 9, 3)])).results

    def audited(verb: str) -> list[AuditEvent]:
        events = control_plane.audit_events(CONTROLLER_RECOMMEND)
        return [event for event in events if (event.verb, event.namespace) == (verb, namespace)]

    (result,) = asyncio.run(watched())
    eventually(lambda: bool(audited("list")), what="the audit events")
    assert result.result is Result.DRY_RUN
    assert not [event for event in control_plane.writes(CONTROLLER_RECOMMEND) if event.namespace == namespace]
    assert requested(control_plane, namespace, "decode") == 3


def test_a_count_that_somebody_else_set_is_not_overwritten(
    control_plane: ControlPlane, namespace: str, pools: SLOPolicy
) -> None:
    path = f"{stage.APPS.format(namespace=namespace)}/decode/scale"
    control_plane.request("PATCH", path, {"spec": {"replicas": 7}})
    (result,) = apply(control_plane, CONTROLLER_AUTO, pools, stage.scale(namespace, "decode", 4, 3))
    assert (result.result, requested(control_plane, namespace, "decode")) == (Result.CONFLICT, 7)
    assert "somebody set 7" in result.detail


def test_concurrent_writers_never_lose_an_update(control_plane: ControlPlane, namespace: str, pools: SLOPolicy) -> None:
    """Of writers that start from the same count exactly one succeeds, and its count stands."""

    async def race() -> list[ActionResult]:
        async with stage.session(control_plane.kubeconfig(CONTROLLER_AUTO)) as session:
            writers = [KubeActuator(session, [pools]) for _ in range(8)]
            actions = [[stage.scale(namespace, "decode", 10 + number, 3)] for number in range(8)]
            outcomes = await asyncio.gather(*(w.apply(a) for w, a in zip(writers, actions, strict=True)))
            return [outcome.results[0] for outcome in outcomes]

    results = asyncio.run(race())
    (winner,) = [result for result in results if result.result is Result.DONE]
    assert {result.result for result in results if result is not winner} == {Result.CONFLICT}
    assert winner.action == stage.scale(namespace, "decode", requested(control_plane, namespace, "decode"), 3)


def test_a_missing_right_is_named(control_plane: ControlPlane, namespace: str, pools: SLOPolicy) -> None:
    actions = (stage.scale(namespace, "decode", 4, 3), stage.scale(namespace, "prefill", 2, 2))
    denied, unchanged = apply(control_plane, CONTROLLER_RECOMMEND, pools, *actions)
    assert denied.result is Result.REFUSED
    assert f'grant verb "patch" on "deployments/scale" of API group "apps" in namespace "{namespace}"' in denied.detail
    assert unchanged.result is Result.UNCHANGED


def test_gone_unknown_unscalable_and_foreign_actions_are_refused_with_a_reason(
    control_plane: ControlPlane, namespace: str
) -> None:
    variants = (
        stage.variant("gone", namespace),
        stage.variant("odd", namespace, kind=("example.org/v1", "Odd")),
        stage.variant("account", namespace, kind=("v1", "ServiceAccount")),
    )
    policy = stage.policy(namespace, *variants)
    actions: list[Action] = [stage.scale(namespace, name, 2, 1) for name in ("gone", "odd", "account", "nobody")]
    actions.append(Withdraw(stage.scale(namespace, "gone", 0, 0).variant, "pod"))
    results = apply(control_plane, ADMIN, policy, *actions)
    assert {result.result for result in results} == {Result.REFUSED}
    texts = ["not found", "does not serve it", "no /scale", "no policy", "only scales"]
    assert all(text in result.detail for text, result in zip(texts, results, strict=True)), json.dumps(
        [result.detail for result in results], indent=1
    )


def test_growth_that_counts_on_a_shrink_waits_where_the_shrink_fails(
    control_plane: ControlPlane, namespace: str, pools: SLOPolicy
) -> None:
    stale_shrink, growth = stage.scale(namespace, "prefill", 1, 4), stage.scale(namespace, "decode", 5, 3)
    conflict, left_out = apply(control_plane, CONTROLLER_AUTO, pools, stale_shrink, growth)
    assert (conflict.result, left_out.result) == (Result.CONFLICT, Result.FAILED)
    assert requested(control_plane, namespace, "decode") == 3
    grown, _ = apply(control_plane, CONTROLLER_AUTO, pools, growth, stale_shrink)
    assert grown.result is Result.DONE


def test_an_invalid_count_and_a_dead_server_are_failures(
    control_plane: ControlPlane, namespace: str, pools: SLOPolicy
) -> None:
    (invalid,) = apply(control_plane, CONTROLLER_AUTO, pools, stage.scale(namespace, "decode", -1, 3))
    assert (invalid.result, "HTTP 422" in invalid.detail) == (Result.FAILED, True)
    control_plane.kill_api_server()
    try:
        (dead,) = apply(control_plane, CONTROLLER_AUTO, pools, stage.scale(namespace, "decode", 4, 3))
    finally:
        control_plane.start_api_server()
    assert (dead.result, "no connection" in dead.detail) == (Result.FAILED, True)
