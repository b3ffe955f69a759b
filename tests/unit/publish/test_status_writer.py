"""When a status is written: what changed at once, what drifts now and then, and only by who leads."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autoscaler.domain.policy import SLOPolicy, Written
from autoscaler.domain.record import Result, TickRecord
from autoscaler.domain.units import Instant
from autoscaler.errors import ActuationError
from autoscaler.publish.k8s_events import EventWriter
from autoscaler.publish.status_schema import LONGEST_SPEC
from autoscaler.publish.status_writer import REFRESH, StatusWriter
from tests import planning, ticks
from tests.unit.kube import fake_api

POLICY = planning.policy()
WRITTEN = Written(1, '{"model":"m"}')


@dataclass(frozen=True)
class Found:
    """A resource as the watch knows it."""

    name: str = "model"
    namespace: str = "llm"
    uid: str = "uid-1"
    generation: int = 1
    status: Mapping[str, Any] = field(default_factory=dict)


class Cluster:
    """Takes statuses and Events, or refuses them."""

    def __init__(self, refuses: int = 0) -> None:
        self.statuses: list[dict[str, Any]] = []
        self.events = 0
        self._refuses = refuses

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        if self._refuses:
            return fake_api.refusal(self._refuses, "no")
        if request.path.endswith("/status"):
            self.statuses.append(body["status"])
        else:
            self.events += 1
        return web.json_response(body)


def at(seconds: float, share: float = 0.97, **changes: Any) -> TickRecord:  # noqa: ANN401 - fields of a tick
    """Return a tick some seconds on, with a share of requests inside the limits."""
    latency = replace(ticks.WITHIN, within_slo=share)
    loads = {profile.name: ticks.load(profile.name, latency=latency) for profile in POLICY.profiles}
    model = ticks.observed(POLICY, loads=loads)
    return ticks.tick(POLICY, model=model, at=Instant(planning.NOW + seconds), **changes)


def published(
    cluster: Cluster,
    folder: Path,
    *records: TickRecord,
    found: Found | None = None,
    leads: Callable[[], bool] | None = None,
) -> list[dict[str, Any]]:
    """Return the statuses that a writer has written after some ticks."""

    async def run() -> None:
        async with fake_api.serving(cluster.answer, folder / "kubeconfig") as session:
            there = {POLICY.key: found or Found()}
            writer = StatusWriter(
                session, lambda: there, EventWriter(session, "pod"), may_write=leads or (lambda: True)
            )
            writer.follow([POLICY], {}, {POLICY.key: WRITTEN})
            for record in records:
                await writer.publish(record)

    asyncio.run(run())
    return cluster.statuses


def test_a_quiet_hour_is_one_write(tmp_path: Path) -> None:
    assert len(published(Cluster(), tmp_path, *(at(15.0 * n) for n in range(240)))) == 1


def test_what_drifts_is_written_once_a_minute(tmp_path: Path) -> None:
    drifting = [at(15.0 * n, share=0.9 + 0.001 * n) for n in range(40)]
    assert len(published(Cluster(), tmp_path, *drifting)) == 1 + int(39 * 15.0 / REFRESH)


def test_a_decision_is_written_at_once(tmp_path: Path) -> None:
    statuses = published(Cluster(), tmp_path, at(0.0), at(15.0, wanted=3, result=Result.DONE), at(30.0, wanted=3))
    assert [status["summary"]["prefill"] for status in statuses] == ["2/2", "2/3"]
    assert statuses[-1]["decisions"][0]["wanted"] == 3


def test_what_is_not_known_any_more_is_taken_back(tmp_path: Path) -> None:
    blind = ticks.tick(POLICY, model=ticks.observed(POLICY, fleet={}), at=Instant(planning.NOW + 15))
    last = published(Cluster(), tmp_path, at(0.0), blind)[-1]
    assert last["summary"]["costPerHour"] is None, "a merge patch would leave what it does not mention"


Roll = tuple[list[SLOPolicy], dict[str, tuple[str, ...]], dict[str, Written]]
BROKEN: dict[str, tuple[str, ...]] = {POLICY.key: ("spec.profiles: is empty", "meanwhile its last version")}


def following(folder: Path, *rolls: Roll) -> list[dict[str, Any]]:
    """Return the statuses after a tick with each of some sets of policies."""
    cluster = Cluster()

    async def run() -> None:
        async with fake_api.serving(cluster.answer, folder / "kubeconfig") as session:
            writer = StatusWriter(session, lambda: {POLICY.key: Found(generation=2)}, EventWriter(session, "pod"))
            for n, roll in enumerate(rolls):
                writer.follow(*roll)
                await writer.publish(at(15.0 * n))

    asyncio.run(run())
    return cluster.statuses


def test_a_former_version_that_stands_in_is_told_of_with_what_is_wrong(tmp_path: Path) -> None:
    (status,) = following(tmp_path, ([POLICY], BROKEN, {POLICY.key: WRITTEN}))
    told = {condition["type"]: condition for condition in status["conditions"]}
    assert (told["Ready"]["status"], told["Ready"]["reason"]) == ("False", "PolicyInvalid")
    assert "spec.profiles: is empty\nmeanwhile" in told["Ready"]["message"]
    assert told["MetricsAvailable"]["status"] == "True", "what is decided for goes on being told"
    assert status["variants"][0]["wanted"] == 2
    assert (status["observedGeneration"], status["inOffice"]) == (2, {"generation": 1, "spec": WRITTEN.spec})


def test_a_version_too_large_for_the_status_is_told_of(tmp_path: Path) -> None:
    huge = {POLICY.key: Written(1, "x" * (LONGEST_SPEC + 1))}
    fine, broken = following(tmp_path, ([POLICY], {}, huge), ([POLICY], BROKEN, huge))
    assert (fine["inOffice"], broken["inOffice"]) == (None, None)
    assert fine["conditions"][0]["status"] == "True"
    assert "a restart would hold" in broken["conditions"][0]["message"]


def test_where_nothing_is_in_office_any_more_the_status_says_so(tmp_path: Path) -> None:
    statuses = following(tmp_path, ([POLICY], {}, {POLICY.key: WRITTEN}), ([], BROKEN, {}))
    assert [status["inOffice"] for status in statuses] == [{"generation": 1, "spec": WRITTEN.spec}, None]


def test_a_restart_writes_nothing_that_stands_there_already(tmp_path: Path) -> None:
    (first,) = published(Cluster(), tmp_path, at(0.0))
    known = Found(
        status={**first, "summary": {key: text for key, text in first["summary"].items() if text is not None}}
    )
    assert published(Cluster(), tmp_path, at(15.0), found=known) == []


def test_another_object_of_the_same_name_begins_anew(tmp_path: Path) -> None:
    cluster = Cluster()

    async def run() -> None:
        async with fake_api.serving(cluster.answer, tmp_path / "kubeconfig") as session:
            there = {POLICY.key: Found()}
            writer = StatusWriter(session, lambda: there, EventWriter(session, "pod"))
            writer.follow([POLICY], {}, {POLICY.key: WRITTEN})
            await writer.publish(at(0.0))
            there[POLICY.key] = Found(uid="uid-2")
            await writer.publish(at(15.0))

    asyncio.run(run())
    assert len(cluster.statuses) == 2


def test_a_stand_by_writes_nothing(tmp_path: Path) -> None:
    cluster = Cluster()
    assert published(cluster, tmp_path, at(0.0), at(15.0, wanted=3, result=Result.DONE), leads=lambda: False) == []
    assert cluster.events == 0


def test_a_policy_that_was_deleted_meanwhile_is_no_error(tmp_path: Path) -> None:
    assert published(Cluster(refuses=404), tmp_path, at(0.0)) == []


def test_a_missing_right_is_told_by_its_verb(tmp_path: Path) -> None:
    with pytest.raises(ActuationError, match='grant verb "patch" on "slopolicies/status"'):
        published(Cluster(refuses=403), tmp_path, at(0.0))
