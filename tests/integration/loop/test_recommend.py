"""``recommend`` on a real Prometheus that holds the recording of two H200: keys, decisions, and the demo's timeline."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscaler.cli import wiring
from autoscaler.observe.recording import load_recording
from examples.h200_pd import demo
from tests.command import run
from tests.servers.prometheus import PrometheusServer
from tools.servers import find

pytestmark = pytest.mark.integration

POLICY, FLEET = demo.HERE / "policy.yaml", demo.HERE / "fleet.yaml"
PREFILL, DECODE = "prefill-h200", "decode-h200"
PHASE_4 = demo.FIRST_PHASE + 3 * demo.PHASE

DECISION = {"at", "policy", "mode", "variants", "actions", "demand", "gaps"}
VARIANT = {"name", "role", "requested", "ready", "wanted", "lower", "upper", "uncapped", "reasons"}
REASON = {"code", "message", "evidence"}
DEMAND = {
    *("profile", "requests_per_second", "uncached_prompt_tokens_per_second", "output_tokens_per_second"),
}
SCALE = {"action", "policy", "variant", "replicas", "observed"}
GAP = {"signal", "subject", "reason", "since", "detail"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Prometheus that remembers the recording."""
    try:
        find.locate(find.PROMETHEUS_BINARIES)
    except find.MissingServersError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("recorded")
    load_recording(demo.HERE).write_openmetrics(folder / "recording.om")
    with PrometheusServer(folder) as server:
        server.backfill(folder / "recording.om")
        yield server.url


def recommend(capsys: pytest.CaptureFixture[str], url: str, *arguments: str, fleet: Path | None = FLEET) -> Any:  # noqa: ANN401 - as JSON has it
    fleets = () if fleet is None else ("--fleet", str(fleet))
    code = run("recommend", "--policy", POLICY, "--prometheus", url, *fleets, "--output", "json", *arguments)
    told = capsys.readouterr()
    assert code == 0, told.err
    return json.loads(told.out)


def check_keys(decision: dict[str, Any]) -> None:
    """Check that a decision has exactly the keys that programs rely on."""
    assert decision.keys() == DECISION
    assert all(variant.keys() == VARIANT for variant in decision["variants"])
    assert all(reason.keys() == REASON for variant in decision["variants"] for reason in variant["reasons"])
    assert all(demand.keys() == DEMAND for demand in decision["demand"])
    assert all(action.keys() == SCALE for action in decision["actions"])
    assert all(gap.keys() == GAP for gap in decision["gaps"])


def test_one_decision_within_the_saturated_phase(recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
    decision = recommend(capsys, recorded, "--at", f"{PHASE_4 + 30.0}")
    check_keys(decision)
    assert (decision["at"], decision["policy"], decision["mode"]) == (PHASE_4 + 30.0, "llm/qwen3-32b", "Recommend")
    prefill, decode = decision["variants"]
    assert (prefill["name"], prefill["role"], prefill["requested"], prefill["ready"]) == (PREFILL, "prefill", 1, 1)
    assert (decode["name"], decode["role"], decode["requested"], decode["ready"]) == (DECODE, "decode", 1, 1)
    assert prefill["wanted"] > 1
    assert decode["wanted"] == 1
    assert {"TTFT_AT_RISK", "BACKLOG"} & {reason["code"] for reason in prefill["reasons"]}
    assert {demand["profile"] for demand in decision["demand"]} == {"rag", "reasoning", "chat", "default"}
    assert decision["gaps"] == []
    (action,) = decision["actions"]
    assert (action["action"], action["variant"], action["observed"]) == ("Scale", PREFILL, 1)


def test_without_a_fleet_it_says_what_it_does_not_know(recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
    decision = recommend(capsys, recorded, "--at", f"{PHASE_4 + 30.0}", fleet=None)
    check_keys(decision)
    assert {variant["requested"] for variant in decision["variants"]} == {None}
    assert decision["actions"] == []
    assert {(gap["signal"], gap["reason"]) for gap in decision["gaps"]} == {("fleet", "absent")}


def test_a_time_that_prometheus_does_not_remember_is_a_gap_and_no_wish(
    recorded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    decision = recommend(capsys, recorded, "--at", f"{demo.FIRST_PHASE - 86400.0}", "--history", "0s")
    check_keys(decision)
    assert {variant["wanted"] for variant in decision["variants"]} == {1}
    assert {reason["code"] for variant in decision["variants"] for reason in variant["reasons"]} == {"HELD_ON_GAP"}
    assert {gap["reason"] for gap in decision["gaps"]} == {"absent"}


@pytest.mark.slow
def test_a_series_is_what_the_demo_shows_from_memory(recorded: str, capsys: pytest.CaptureFixture[str]) -> None:
    (policy,) = wiring.policies([POLICY])
    records = asyncio.run(demo.replay(load_recording(demo.HERE), policy))
    shown = demo.timeline(records, policy)
    first, last = records[0].observation.at, records[-1].observation.at
    span = ("--from", repr(float(first)), "--to", repr(float(last)), "--step", f"{demo.PERIOD:g}s")
    series = recommend(capsys, recorded, *span, "--history", "0s", "--window", f"{demo.RATES_OVER:g}s")

    for decision in series:
        check_keys(decision)
    told = [
        {
            "t_s": round(decision["at"] - demo.FIRST_PHASE, 3),
            "phase": demo.phase(decision["at"]),
            "wanted": {variant["name"]: variant["wanted"] for variant in decision["variants"]},
            "requested": {variant["name"]: variant["requested"] for variant in decision["variants"]},
            "reasons": {variant["name"]: variant["reasons"][0]["code"] for variant in decision["variants"]},
        }
        for decision in series
    ]
    assert told == shown


def test_several_policies_are_a_list(recorded: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = POLICY.read_text(encoding="utf-8")
    other = tmp_path / "other.yaml"
    other.write_text(
        text.replace("name: qwen3-32b,", "name: other,")
        .replace("name: qwen-prefill", "name: other-prefill")
        .replace("name: qwen-decode", "name: other-decode")
        .replace("model: m ", "model: another "),
        encoding="utf-8",
    )
    decisions = recommend(
        capsys, recorded, "--policy", str(other), "--at", f"{PHASE_4 + 30.0}", "--history", "0s", fleet=None
    )
    for decision in decisions:
        check_keys(decision)
    assert [decision["policy"] for decision in decisions] == ["llm/qwen3-32b", "llm/other"]


@pytest.mark.parametrize(
    ("at", "seconds"),
    [("2026-11-22T18:28:57.128Z", PHASE_4 + 30.0), ("2026-11-22T19:28:57.128+01:00", PHASE_4 + 30.0)],
)
def test_times_may_be_written_as_people_do(
    recorded: str, capsys: pytest.CaptureFixture[str], at: str, seconds: float
) -> None:
    decision = recommend(capsys, recorded, "--at", at, "--history", "0s")
    assert decision["at"] == pytest.approx(seconds, abs=1e-3)
    assert decision["variants"][0]["wanted"] > 1
