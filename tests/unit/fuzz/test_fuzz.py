"""Some thousand damaged inputs into each parser, drawn anew nowhere: a failure can be had again by its seed."""

import pytest

from autoscaler.errors import InputError
from benchmarks import fuzz
from benchmarks._fuzz_targets import Parser, parsers

SLOW = {"scenario": 800}  # it draws a load


@pytest.mark.slow
@pytest.mark.parametrize("name", parsers())
def test_damage_is_refused_in_words(name: str) -> None:
    inputs = SLOW.get(name, 2000)
    tally = fuzz.fuzz(parsers()[name], inputs, seed=1)
    assert tally.findings == {}
    assert tally.inputs >= inputs
    assert tally.read > 0, "undamaged samples can be read"
    assert tally.refused > 0, "damage is noticed"
    assert tally.answers > 5


def parser(parse: object) -> Parser:
    return Parser("made", "made for this test", (b"sample",), parse)  # type: ignore[arg-type] # any callable


def test_a_crash_is_a_finding_with_its_input() -> None:
    def crash(data: bytes) -> object:
        return dict[bytes, object]()[data]

    tally = fuzz.fuzz(parser(crash), 5, seed=0)
    assert list(tally.findings) == ["KeyError in ?"]
    assert tally.findings["KeyError in ?"] == "sample"


def test_a_refusal_is_none() -> None:
    def refuse(data: bytes) -> object:
        raise InputError(repr(data))

    tally = fuzz.fuzz(parser(refuse), 5, seed=0)
    assert (tally.findings, tally.refused, tally.read) == ({}, tally.inputs, 0)


def test_a_hang_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "TOO_LONG_S", 0.05)

    def hang(_: bytes) -> object:
        while True:
            pass

    with fuzz.watching():
        tally = fuzz.fuzz(parser(hang), 1, seed=0)
    assert list(tally.findings) == ["HangError in ?"]


def test_equal_seeds_give_equal_runs() -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []
        fuzz.fuzz(parser(inputs.append), 50, seed=3)
        seen.append(inputs)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 10
