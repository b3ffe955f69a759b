"""The decision log: what it holds can be proven, it never outgrows its limit, and a crash does not end the chain."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import ModelPlan, Plan, VariantPlan
from autoscaler.domain.pool import Role
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.record import TickRecord
from autoscaler.domain.units import Instant
from autoscaler.publish import chain, file
from autoscaler.publish.file import DecisionLog
from tests import planning


def tick(at: float = 1000.0) -> TickRecord:
    reason = Reason(Code.BOUNDED, {"from": 3, "to": 2})
    model = ModelPlan("llm/model", {"decode": VariantPlan.of(2, reason)})
    return TickRecord(Observation(Instant(at)), Plan(Instant(at), {"llm/model": model}))


def write(path: Path, ticks: int, first: int = 0, **options: int) -> DecisionLog:
    log = DecisionLog(path, [planning.policy()], **options)

    async def publish() -> None:
        for n in range(first, first + ticks):
            await log.publish(tick(1000.0 + 15 * n))

    asyncio.run(publish())
    log.close()
    return log


def lines(path: Path) -> list[tuple[str, str]]:
    return [
        (f"{part.name}:{number}", line)
        for part in file.generations(path)
        for number, line in enumerate(part.read_text().splitlines(), start=1)
    ]


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for _, line in lines(path)]


def test_a_log_as_it_was_written_is_whole_and_names_its_policy(tmp_path: Path) -> None:
    log = write(tmp_path / "log" / "decisions.jsonl", 3)
    found = entries(tmp_path / "log" / "decisions.jsonl")
    assert [entry["kind"] for entry in found] == ["policies", "tick", "tick", "tick"]
    assert found[0]["prev"] == chain.GENESIS
    assert found[1]["policies"] == found[0]["versions"]
    assert found[0]["policies"]["llm/model"]["model"] == "m"
    verdict = chain.verified(lines(tmp_path / "log" / "decisions.jsonl"))
    assert verdict.whole
    assert verdict.last == log.last
    assert verdict.lines == log.last.sequence == 4


def test_the_version_of_a_policy_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 1)
    log = DecisionLog(path, [planning.policy(planning.variant(Role.DECODE, most=9))])
    log.close()
    first, _, last = entries(path)
    assert first["versions"].keys() == last["versions"].keys() == {"llm/model"}
    assert first["versions"] != last["versions"]


def forge_number(text: list[str]) -> None:
    text[2] = text[2].replace('"wanted":2', '"wanted":3')


def forge_with_a_fitting_seal(text: list[str]) -> None:
    entry = json.loads(text[2])
    for key in ("seq", "prev", "hash"):
        entry.pop(key)
    link = chain.link_of(text[1])
    assert link is not None
    text[2], _ = chain.sealed({**entry, "plan": {}}, link)


def take_a_line(text: list[str]) -> None:
    del text[2]


def swap(text: list[str]) -> None:
    text[2], text[3] = text[3], text[2]


def repeat(text: list[str]) -> None:
    text.insert(2, text[2])


def no_json(text: list[str]) -> None:
    text[2] = "wanted: 3"


def add_a_key(text: list[str]) -> None:
    text[2] = text[2].replace('"kind"', '"by":"nobody","kind"', 1)


@pytest.mark.parametrize(
    "forge", [forge_number, forge_with_a_fitting_seal, take_a_line, swap, repeat, no_json, add_a_key]
)
def test_every_forgery_shows_and_is_located(tmp_path: Path, forge: Any) -> None:  # noqa: ANN401 - one of the functions
    path = tmp_path / "log"
    write(path, 4)
    text = path.read_text().splitlines()
    forge(text)
    path.write_text("\n".join(text) + "\n")
    verdict = chain.verified(lines(path))
    assert not verdict.whole
    assert all(found.where in {"log:3", "log:4", "log:5"} for found in verdict.breaks)


def test_what_was_cut_off_shows_against_a_noted_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    noted = write(path, 4).last.digest
    assert chain.verified(lines(path), [noted[:12]]).whole
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert chain.verified(lines(path)).whole, "a chain alone cannot know what came after it"
    (found,) = chain.verified(lines(path), [noted[:12]]).breaks
    assert "cut off" in found.problem


def test_rotation_is_bounded_and_the_chain_runs_through_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for keep in (1, 3):
        write(path, 60, max_bytes=8_000, keep=keep)
        assert len(file.generations(path)) == keep + 1
        longest = max(len(line) for _, line in lines(path))
        assert sum(part.stat().st_size for part in file.generations(path)) < (keep + 1) * (8_000 + 2 * longest)
        verdict = chain.verified(lines(path))
        assert verdict.whole
        assert verdict.first is not None
        assert verdict.first.sequence > 1, "older generations are gone"
        assert all(
            json.loads(part.read_text().splitlines()[0])["kind"] == "policies" for part in file.generations(path)
        )


def test_a_missing_generation_shows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 60, max_bytes=8_000, keep=3)
    file.generation(path, 1).write_text(file.generation(path, 2).read_text())
    assert not chain.verified(lines(path)).whole


@pytest.mark.parametrize("torn", ['{"seq":5,"prev":"ab', "x" * 200_000], ids=["short", "longer than a block"])
def test_a_line_that_a_crash_cut_short_goes_and_the_chain_goes_on(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "log"
    write(path, 2)
    with path.open("a") as damaged:
        damaged.write(torn)
    write(path, 2, first=2)
    verdict = chain.verified(lines(path))
    assert verdict.whole
    assert verdict.lines == 6


def test_a_crash_right_after_rotation_does_not_end_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 2)
    path.replace(file.generation(path, 1))
    path.touch()
    write(path, 1)
    assert chain.verified(lines(path)).whole


def test_the_chain_goes_on_behind_a_line_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line, link = chain.sealed({"kind": "tick", "note": "y" * 150_000}, chain.START)
    path.write_text(line + "\n")
    assert write(path, 1).last.sequence == link.sequence + 2
    assert chain.verified(lines(path)).whole


def test_a_log_without_seals_fails_verification_instead_of_being_adopted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"at":1.0}\n')
    write(path, 1)
    assert [found.where for found in chain.verified(lines(path)).breaks] == ["log:1"]


def test_the_newest_hash_goes_to_the_process_log_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with capture_logs() as events:
        last = write(path, file.NOTED_EVERY + 5).last
    assert [event["event"] for event in events] == ["decision_log_sealed"] * 2, "once in a while, and at the end"
    assert [event["sequence"] for event in events] == [file.NOTED_EVERY, last.sequence]
    assert chain.verified(lines(path), [event["hash"] for event in events]).whole
