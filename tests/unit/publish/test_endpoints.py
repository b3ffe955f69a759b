"""The endpoints file: who serves, by table; replaced as a whole; what is not known keeps its entries."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.plan import Action, Plan, Readmit, VariantRef, Withdraw
from autoscaler.domain.policy import Mode, Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.record import ActionResult, Outcome, Result, TickRecord
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.publish.endpoints import EndpointsFiles
from tests import planning

REF = VariantRef("llm/model", "decode")
GONE = Missing(GapReason.STALE, planning.NOW)


def pod(name: str, state: PodState = PodState.READY) -> Pod:
    ready = None if state is PodState.STARTING else planning.NOW
    return Pod(name, "decode", state, planning.NOW, ready_since=ready, ip="10.0.0.1")


def record(decode: Signal[Workload], *done: tuple[Action, Result]) -> TickRecord:
    fleet: Mapping[str, Signal[Workload]] = {"prefill": Workload("prefill", 0), "decode": decode}
    models = {"llm/model": ModelObservation("llm/model", {}, fleet, {}, 0.0)}
    results = tuple(ActionResult(action, result) for action, result in done)
    return TickRecord(Observation(planning.NOW, models), Plan(planning.NOW), Outcome(results))


def policy(path: Path) -> SLOPolicy:
    return replace(planning.policy(), mode=Mode.AUTO, scheduler=Scheduler(SchedulerKind.ENDPOINTS_FILE, str(path)))


def written(path: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = yaml.safe_load(path.read_text())["endpoints"]
    return listed


def publish(path: Path, *records: TickRecord) -> list[str]:
    files = EndpointsFiles(8000)
    files.follow([policy(path)])
    for each in records:
        asyncio.run(files.publish(each))
    return [entry["name"] for entry in written(path)]


def test_an_entry_names_address_port_and_labels_as_the_picker_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    publish(path, record(Workload("decode", 1, (pod("a"),))))
    labels = {"llm-d.ai/role": "decode", "llm-d.ai/variant": "decode"}
    assert written(path) == [{"name": "a", "namespace": "llm", "address": "10.0.0.1", "port": "8000", "labels": labels}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["endpoints.yaml"], "nothing half written stays"


@pytest.mark.parametrize(
    ("state", "done", "serves"),
    [
        pytest.param(PodState.READY, (), True, id="ready"),
        pytest.param(PodState.STARTING, (), False, id="starting"),
        pytest.param(PodState.DRAINING, (), False, id="draining"),
        pytest.param(PodState.TERMINATING, (), False, id="ending"),
        pytest.param(PodState.READY, ((Withdraw(REF, "b"), Result.DONE),), False, id="withdrawn in this tick"),
        pytest.param(PodState.READY, ((Withdraw(REF, "b"), Result.FAILED),), True, id="not withdrawn after all"),
        pytest.param(PodState.DRAINING, ((Readmit(REF, "b"), Result.DONE),), True, id="readmitted in this tick"),
    ],
)
def test_who_serves(tmp_path: Path, state: PodState, done: tuple[tuple[Action, Result], ...], *, serves: bool) -> None:
    names = publish(tmp_path / "e.yaml", record(Workload("decode", 2, (pod("a"), pod("b", state))), *done))
    assert names == (["a", "b"] if serves else ["a"])


def test_what_is_not_known_keeps_its_entries(tmp_path: Path) -> None:
    assert publish(tmp_path / "e.yaml", record(Workload("decode", 1, (pod("a"),))), record(GONE)) == ["a"]


def test_in_mode_recommend_no_file_is_written(tmp_path: Path) -> None:
    files = EndpointsFiles(8000)
    files.follow([replace(policy(tmp_path / "e.yaml"), mode=Mode.RECOMMEND)])
    asyncio.run(files.publish(record(Workload("decode", 1, (pod("a"),)))))
    assert not (tmp_path / "e.yaml").exists()
