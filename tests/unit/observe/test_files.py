"""The fleet from a file."""

import asyncio
from pathlib import Path

import pytest

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.observe.files import FileFleet
from tests import observing

POLICY = observing.policy()


def fleet(tmp_path: Path, text: str) -> FileFleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return FileFleet(path, (POLICY,))


def test_counts_and_named_pods(tmp_path: Path) -> None:
    text = """
fleets:
  llm/h200:
    prefill: {requested: 3, ready: 2}
    decode: {pods: [{name: d0}, {name: d1, state: starting}]}
"""
    view = asyncio.run(fleet(tmp_path, text).fleets(Instant(0.0)))[POLICY.key]
    prefill, decode = view.workloads["prefill"], view.workloads["decode"]
    assert isinstance(prefill, Workload)
    assert isinstance(decode, Workload)
    assert (prefill.requested, prefill.ready, prefill.coming) == (3, 2, 1)
    assert (decode.requested, decode.ready) == (2, 1)
    assert decode.pods[1].state is PodState.STARTING
    assert not view.names_pods


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("fleets: [", "YAML: while parsing", id="no yaml"),
        pytest.param("fleet: {}", "fleets", id="another key"),
        pytest.param("fleets: {}", "fleets.llm/h200: missing", id="no policy"),
        pytest.param("fleets: {llm/h200: {prefill: {ready: 1}}}", "fleets.llm/h200.decode: missing", id="no variant"),
        pytest.param("fleets: {llm/x: {}}", "fleets.llm/x: no such policy; known are llm/h200", id="unknown policy"),
        pytest.param("fleets: {llm/h200: {prefil: {ready: 1}}}", "prefil: no such variant", id="unknown variant"),
        pytest.param("fleets: {llm/h200: {prefill: {ready: -1}}}", "prefill.ready", id="negative"),
        pytest.param("fleets: {llm/h200: {prefill: {}, decode: {ready: 1}}}", "give ready or pods", id="neither"),
        pytest.param("fleets: {llm/h200: {prefill: {ready: 1, pods: []}, decode: {ready: 1}}}", "not both", id="both"),
        pytest.param("fleets: {llm/h200: {prefill: {pods: [{name: a, state: up}]}}}", "state", id="unknown state"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InputError) as refused:
        fleet(tmp_path, text)
    assert complaint in str(refused.value)
    assert "fleet.yaml" in str(refused.value)


def test_an_absent_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        FileFleet(tmp_path / "none.yaml", (POLICY,))
