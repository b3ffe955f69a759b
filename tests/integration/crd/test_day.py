"""A day with SLOPolicy resources: what the controller says of them, and what it does, on real servers."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.crd import cluster, story
from tests.integration.crd.story import Operator
from tests.integration.loop.conftest import Staging
from tests.servers.control_plane import ControlPlane

pytestmark = pytest.mark.slow

HPAS = "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
HPA = {
    "metadata": {"name": "theirs"},
    "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "decode"}, "maxReplicas": 2},
}


@pytest.fixture(autouse=True)
def _crd(control_plane: ControlPlane) -> None:
    cluster.install(control_plane)


def test_policies_come_change_and_go_while_it_runs(staging: Staging) -> None:
    scene = staging(rate=2.0)
    operator = Operator(scene.plane, scene.namespace)
    story.grant(scene.plane, scene.namespace, "look", "report")  # what the overlay recommend gives
    with story.controller(scene) as running:
        story.wait_for(
            lambda: running.ticks() != [] and running.get("/readyz")[0] == 200, lambda: str(running.ticks()[-1:])
        )

        operator.create(story.policy(scene.namespace))
        operator.sees("Ready", "True", "AsWanted")
        assert operator.condition("MetricsAvailable")[:2] == ("True", "SeriesFresh")
        assert operator.condition("AbleToScale")[:2] == ("True", "RecommendOnly")
        row = operator.row()
        assert (row["Mode"], row["Ready"], row["Prefill"][:2], row["Decode"][:2]) == ("Recommend", "True", "1/", "1/")
        assert row["Cost/h"] == "7.60"
        assert row["Attainment"].endswith("%")

        lost = story.policy(scene.namespace, "lost")
        for pool in lost["spec"]["pools"].values():
            pool["variants"][0]["performanceProfile"] = "nonesuch"
            pool["variants"][0]["scaleTargetRef"]["name"] += "-elsewhere"
        operator.create(lost)
        assert "nonesuch" in operator.sees("Ready", "False", "PolicyInvalid", name="lost")
        double = story.policy(scene.namespace, "twice")
        operator.create(double)
        assert "is scaled by variant" in operator.sees("Ready", "False", "PolicyInvalid", name="twice")
        assert operator.condition("Ready")[0] == "True", "a bad one stops no other"
        assert [each["reason"] for each in operator.events("lost")] == ["PolicyInvalid"]

        before = running.next_tick()["at"]
        operator.delete("loop")
        operator.delete("lost")
        operator.sees("Ready", "True", name="twice")  # the older one has let go of the workloads
        ticks = [tick for tick in running.ticks() if tick["at"] > before]
        assert any(set(tick["plan"]) == {f"{scene.namespace}/twice"} for tick in ticks)
        assert not [key for key in running.metrics() if f"{scene.namespace}/loop" in key[1]]
        assert running.terminate() == 0
    asked = scene.plane.audit_events(story.user(scene.namespace))
    assert not [event for event in asked if event.code == 403], "the rights that ship suffice"
    writes = scene.plane.writes(story.user(scene.namespace))
    assert {write.resource for write in writes} == {"slopolicies/status", "events"}, "mode Recommend scales nothing"
    assert all(write.code < 300 for write in writes)


def test_an_edit_that_cannot_be_used_leaves_the_former_version_in_office(staging: Staging) -> None:
    scene = staging(rate=2.0)
    operator = Operator(scene.plane, scene.namespace)
    story.grant(scene.plane, scene.namespace, "look", "report")
    operator.create(story.policy(scene.namespace))
    with story.controller(scene) as running:
        operator.sees("Ready", "True", "AsWanted")
        broken = story.policy(scene.namespace)["spec"]["pools"]
        for pool in broken.values():
            pool["variants"][0]["performanceProfile"] = "nonesuch"  # which no server can know
        operator.change("loop", pools=broken)
        told = operator.sees("Ready", "False", "PolicyInvalid")
        assert "nonesuch" in told
        assert "last version that could be used is decided for" in told
        before = running.next_tick()["at"]
        story.wait_for(lambda: running.ticks()[-1]["at"] > before, lambda: str(running.ticks()[-1:]))
        assert set(running.ticks()[-1]["plan"]) == {scene.key}, "it is decided for all the same"
        operator.change("loop", pools=story.policy(scene.namespace)["spec"]["pools"])
        operator.sees("Ready", "True", "AsWanted")


def test_a_restart_goes_on_with_the_version_in_office(staging: Staging) -> None:
    scene = staging(rate=2.0)
    operator = Operator(scene.plane, scene.namespace)
    story.grant(scene.plane, scene.namespace, "look", "report", "act")
    operator.create(story.policy(scene.namespace, mode="Auto"))
    with story.controller(scene) as running:
        operator.sees("Ready", "True", "AsWanted")
        assert operator.status()["inOffice"]["generation"] == 1
        running.kill()
        broken = story.policy(scene.namespace)["spec"]["pools"]
        for pool in broken.values():
            pool["variants"][0]["performanceProfile"] = "nonesuch"
        operator.change("loop", pools=broken)  # while nobody looks
        scene.traffic.turn(60.0)
        ended = time.time()
        running.start()
        told = operator.sees("Ready", "False", "PolicyInvalid")
        assert "nonesuch" in told
        assert "last version that could be used is decided for" in told
        story.wait_for(lambda: sum(scene.sizes.now().values()) > 2, lambda: f"sizes {scene.sizes.now()}; {told}")
        assert set(running.until(lambda ticks: ticks[-1]["at"] > ended, "a tick")[-1]["plan"]) == {scene.key}
        status = operator.status()
        assert status["observedGeneration"] == 2
        assert status["inOffice"]["generation"] == 1
        assert json.loads(status["inOffice"]["spec"])["mode"] == "Auto"

        operator.change("loop", mode="Recommend")  # beside the slip, and obeyed
        story.wait_for(
            lambda: "in mode Recommend" in operator.condition("Ready")[2], lambda: str(operator.condition("Ready"))
        )
        operator.sees("AbleToScale", "True", "RecommendOnly")
        operator.change("loop", pools=story.policy(scene.namespace)["spec"]["pools"], mode="Auto")
        operator.sees("Ready", "True", "AsWanted")
        story.wait_for(lambda: operator.status()["inOffice"]["generation"] == 4, lambda: str(operator.status()))
    asked = scene.plane.audit_events(story.user(scene.namespace))
    assert not [event for event in asked if event.code == 403], "the rights that ship suffice"


def test_a_standby_takes_over_from_a_leader_that_is_killed(staging: Staging, tmp_path: Path) -> None:
    scene = staging(rate=2.0)
    operator = Operator(scene.plane, scene.namespace)
    story.grant(scene.plane, scene.namespace, "look", "report", "act", "lease")
    operator.create(story.policy(scene.namespace, mode="Auto"))
    lease = ("--lease", f"{scene.namespace}/disagg-autoscaler")
    with story.controller(scene, *lease) as leader:
        operator.sees("Ready", "True", "AsWanted")
        with story.controller(replace(scene, folder=tmp_path), *lease) as standby:
            standby.next_tick()
            sizes = scene.sizes.now()
            leader.kill()
            scene.traffic.turn(60.0)
            story.wait_for(
                lambda: sum(scene.sizes.now().values()) > sum(sizes.values()),
                lambda: f"sizes {scene.sizes.now()}; {standby.ticks()[-1]['outcome']}",
            )
            refused = [done for tick in standby.ticks() for done in tick["outcome"] if "stand-by" in done["detail"]]
            assert all(done["result"] == "refused" for done in refused)
    asked = scene.plane.audit_events(story.user(scene.namespace))
    assert not [event for event in asked if event.code == 403], "the rights that ship suffice"


def test_conditions_through_a_bad_day(staging: Staging) -> None:
    scene = staging(rate=2.0)
    operator = Operator(scene.plane, scene.namespace)
    story.grant(scene.plane, scene.namespace, "look", "report", "act")
    operator.create(story.policy(scene.namespace, mode="Auto"))
    with story.controller(scene, "--picker", f"http://{scene.traffic.address}/picker"):
        operator.sees("Ready", "True", "AsWanted")
        operator.sees("WithinBudget", "True", "NoBudget")
        operator.sees("AbleToScale", "True", "Writable")
        operator.sees("SchedulerInSync", "True", "NotManaged")

        scene.discovery.scrape(on=False)  # no metrics
        assert "since" in operator.sees("MetricsAvailable", "False", "SeriesAbsent", "SeriesStale", "SeriesPartial")
        operator.sees("Ready", "False", "MetricsMissing")
        scene.discovery.scrape(on=True)  # recovery
        operator.sees("MetricsAvailable", "True", "SeriesFresh")
        operator.sees("Ready", "True", "AsWanted")

        operator.change("loop", budget={"acceleratorLimits": {"H200-SXM": 3}})  # budget short
        scene.traffic.turn(60.0)
        operator.sees("WithinBudget", "False", "BudgetShort")
        operator.change("loop", budget={"acceleratorLimits": {"H200-SXM": 16}})
        operator.sees("WithinBudget", "True", "BudgetSuffices")
        story.wait_for(lambda: sum(scene.sizes.now().values()) > 3, lambda: f"sizes {scene.sizes.now()}")
        story.wait_for(
            lambda: any(each["reason"] == "Scaled" for each in operator.events()), lambda: str(operator.events())
        )

        scene.plane.request("POST", HPAS.format(namespace=scene.namespace), HPA)  # another writer
        assert "HorizontalPodAutoscaler theirs" in operator.sees("AbleToScale", "False", "ForeignWriter")

        operator.change("loop", scheduler={"podSelector": "app in (prefill,decode)"})  # the picker lists nobody
        assert "should be listed" in operator.sees("SchedulerInSync", "False", "OutOfSync")
        reasons = [each["reason"] for each in operator.events()]
    asked = scene.plane.audit_events(story.user(scene.namespace))
    assert not [event for event in asked if event.code == 403], "the rights that ship suffice"
    assert {"BudgetShort", "ForeignWriter", "OutOfSync", "MetricsAvailable", "WithinBudget", "Scaled"} <= set(reasons)
    assert len(reasons) <= 20, "a policy gets so many new Events in ten minutes"


@pytest.mark.parametrize(
    ("resource", "verb", "kind", "reason"),
    [
        pytest.param("deployments/scale", "patch", "AbleToScale", "WriteRefused", id="scale"),
        pytest.param("deployments", "list", "AbleToScale", "WorkloadUnknown", id="look"),
    ],
)
def test_a_missing_verb_is_named_by_a_condition(
    staging: Staging, resource: str, verb: str, kind: str, reason: str
) -> None:
    scene = staging(rate=60.0)
    operator = Operator(scene.plane, scene.namespace)
    story.grant(scene.plane, scene.namespace, "report")
    given = [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb or resource not in rule["resources"]]}
        for rule in (*story.rules("look"), *story.rules("act"))
    ]
    story.bind(scene.plane, scene.namespace, "given", [rule for rule in given if rule["verbs"]])
    operator.create(story.policy(scene.namespace, mode="Auto"))
    with story.controller(scene):
        message = operator.sees(kind, "False", reason)
    assert f'grant verb "{verb}" on "{resource}"' in message
    assert f'namespace "{scene.namespace}"' in message
