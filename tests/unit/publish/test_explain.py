"""``autoscaler explain`` as a user meets it: the whole chain of a real decision, from the log alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.publish import document, explanation
from autoscaler.publish.explanation import Recorded
from tests.command import run

MORE_PREFILL = "1795372092"  # the recording saturates prefill


def told(capsys: pytest.CaptureFixture[str], log: Path, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    assert run("explain", "--log", str(log), *arguments, "-o", "json") == 0
    return json.loads(capsys.readouterr().out)


def test_the_chain_runs_from_demand_to_target(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = told(capsys, log, "--variant", "prefill-h200")
    assert {item["profile"] for item in one["demand"]} == {"rag", "reasoning", "chat", "default"}
    assert one["forecast"]["unit"] == "uncached prompt tokens/s"
    assert 0 < one["forecast"]["expected_tokens_per_s"] <= one["forecast"]["highest_tokens_per_s"]
    busy, each = one["capacity"]["busy_replicas"], one["capacity"]["tokens_per_s_per_busy_replica"]
    assert busy * each == pytest.approx(one["forecast"]["expected_tokens_per_s"])
    assert one["wanted"]["uncapped"] >= busy
    assert one["wanted"]["attainment"] >= one["wanted"]["goal"]
    steps = [one["wanted"]["uncapped"], *(item["to"] for item in one["amendments"] if item["to"] is not None)]
    assert steps[-1] == one["target"]["wanted"]


def test_the_alternative_says_what_one_replica_less_would_miss_and_save(
    log: Path, records: list[TickRecord], policy: SLOPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    grown = next(r for r in records if r.plan.models[policy.key].variants["prefill-h200"].uncapped > 1)
    one = told(capsys, log, "--variant", "prefill-h200", "--at", str(grown.observation.at))
    less = one["alternatives"][0]
    assert less["replicas"] == one["wanted"]["uncapped"] - 1
    assert less["attainment"] < less["goal"]
    assert less["missed_by"] == pytest.approx(less["goal"] - less["attainment"])
    assert less["saves_per_hour"] == 3.8


def test_any_recorded_tick_is_found_by_time(
    log: Path, records: list[TickRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    third = records[2].observation.at
    for moment in (third, third + 14.0):
        assert told(capsys, log, "--at", str(moment), "--variant", "decode-h200")["at"] == third


def test_people_get_one_page(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "--log", str(log)) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 50
    for word in ("demand", "forecast", "capacity", "wanted", "amended", "target", "instead", "mode Recommend, version"):
        assert word in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--at", "1000"), "no tick up to that time; its first tick is of 2026-11-22"),
        (("--variant", "nobody"), "it decided: llm/qwen3-32b prefill-h200, llm/qwen3-32b decode-h200"),
        (("--at", "noon"), "--at: 'noon' is no time"),
    ],
)
def test_a_question_without_answer_is_told_with_the_way_out(
    log: Path, arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", "--log", str(log), *arguments) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("text", ["no json\n", "[1]\n", '{"kind":"tick"}\n'])
def test_what_is_no_log_is_told(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other"
    path.write_text(text)
    assert run("explain", "--log", str(path)) == 1
    assert f"{path}:1: no record" in capsys.readouterr().err


@pytest.mark.parametrize("at", ["92233722147483648", "1e300", "NaN", "-1e15"])
def test_a_time_outside_of_the_calendar_is_told_as_damage(
    tmp_path: Path, at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"kind":"tick","at":{at},"plan":{{}},"failures":[]}}\n')
    assert run("explain", "--log", str(path)) == 1
    assert "the record is damaged" in capsys.readouterr().err


def test_verification_by_command_line(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, log, "--verify")
    assert found["whole"]
    assert run("explain", "--log", str(log), "--verify", "--anchor", found["last_hash"]) == 0
    log.write_text(log.read_text().replace("Recommend", "Auto", 1))
    capsys.readouterr()
    assert run("explain", "--log", str(log), "--verify") == 1
    assert f"{log}:1: the line is not what was written" in capsys.readouterr().out


def test_other_variants_of_the_role_are_alternatives_with_their_price() -> None:
    def plan(wanted: int, alone: int) -> dict[str, Any]:
        evidence = {"tokens_per_s": 10.0, "replicas_alone": alone}
        return {
            "wanted": wanted,
            "lower": 0,
            "upper": wanted,
            "uncapped": wanted,
            "reasons": [{"code": "ITL_AT_RISK", "message": "", "evidence": evidence}],
        }

    variants = [
        {"name": "h200", "role": "decode", "cost_per_replica_hour": 4.0, "max_replicas": 9},
        {"name": "l40s", "role": "decode", "cost_per_replica_hour": 1.0, "max_replicas": 3},
        {"name": "prefill", "role": "prefill", "cost_per_replica_hour": 4.0, "max_replicas": 9},
    ]
    recorded = Recorded(
        {
            "observation": {"models": {}},
            "plan": {"p": {"variants": {"h200": plan(1, 2), "l40s": plan(3, 6), "prefill": plan(1, 1)}}},
        },
        {"p": {"variants": variants}},
    )
    view = explanation._View(recorded, "p", "h200")  # noqa: SLF001 - the rest of the record does not matter here
    only = {item["instead"]: item for item in explanation._alternatives(view) if "cost_per_hour" in item}  # noqa: SLF001
    assert (only["only h200"]["cost_per_hour"], only["only h200"]["more_per_hour"]) == (8.0, 1.0)
    assert (only["only l40s"]["replicas"], only["only l40s"]["allowed"], only["only l40s"]["more_per_hour"]) == (
        6,
        3,
        -1.0,
    )
    assert "only prefill" not in only


def test_explaining_needs_nothing_but_the_record(records: list[TickRecord], policy: SLOPolicy) -> None:
    recorded = Recorded(document.tick(records[-1]), {})
    one: Any = explanation.explained(recorded, policy.key, "prefill-h200")
    assert one["mode"] is None
    assert one["target"]["requested"] == 1
