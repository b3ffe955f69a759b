"""Traces from files, and what is wrong with bad ones."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autoscaler.errors import InputError
from autoscaler.simulate.trace_files import from_columns, read_trace
from tests.unit.simulate.tunnels import evenly

ROWS = [(0.0, 100, 10, "chat"), (1.5, 2000, 50, "rag"), (1.5, 300, 1, "chat")]
COLUMNS = ("arrival_s", "input_tokens", "output_tokens", "profile")


def csv_text() -> str:
    return "\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in ROWS)]) + "\n"


def as_csv(folder: Path) -> Path:
    path = folder / "t.csv"
    path.write_text(csv_text(), encoding="utf-8")
    return path


def as_gzip(folder: Path) -> Path:
    path = folder / "t.csv.gz"
    path.write_bytes(gzip.compress(csv_text().encode()))
    return path


def as_jsonl(folder: Path) -> Path:
    path = folder / "t.jsonl"
    path.write_text("\n".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in ROWS), encoding="utf-8")
    return path


def as_parquet(folder: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.table(dict(zip(COLUMNS, zip(*ROWS, strict=True), strict=True))), path)
    return path


@pytest.mark.parametrize("write", [as_csv, as_gzip, as_jsonl, as_parquet])
def test_every_format_gives_the_same_trace(write: Callable[[Path], Path], tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path))
    assert trace.profiles == ("chat", "rag")
    assert trace.profile.tolist() == [0, 1, 0]
    assert trace.arrival_s.tolist() == [0.0, 1.5, 1.5]
    assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == ([100, 2000, 300], [10, 50, 1])


def test_mooncake_lines_are_read_in_their_units(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    row = {"timestamp": 3000, "input_length": 1030, "output_length": 9, "hash_ids": [0, 1, 7]}
    path.write_text(json.dumps(row), encoding="utf-8")
    trace = read_trace(path, profile="chat")
    assert (trace.arrival_s[0], trace.input_tokens[0], trace.profiles) == (3.0, 1030, ("chat",))
    assert trace.hash_ids == [(0, 1, 7)]


def test_the_referees_files_are_read_in_their_units(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("arrival_ms,input_tokens,output_tokens,profile,prefix\n1500,1030,9,short,0 1 7\n", encoding="utf-8")
    trace = read_trace(path)
    assert (trace.arrival_s[0], trace.input_tokens[0], trace.profiles) == (1.5, 1030, ("short",))
    assert trace.hash_ids == [(0, 1, 7)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrival_s": [1.0, 0.5]}, r"arrival_s is before the row above; sort the trace by arrival_s: row 2 has 0.5"),
        ({"arrival_s": [-1.0, 0.5]}, r"arrival_s must not be negative: row 1 has -1.0"),
        ({"arrival_s": [0.0, float("nan")]}, r"arrival_s must be a finite number of seconds: row 2 has nan"),
        ({"arrival_s": ["0", "soon"]}, r"arrival_s must be a number: row 2 has 'soon'"),
        ({"input_tokens": [10, 0]}, r"input_tokens must be at least 1: row 2 has 0"),
        ({"output_tokens": [-3, 5]}, r"output_tokens must be at least 1: row 1 has -3"),
        ({"input_tokens": [1.5, 2]}, r"input_tokens must be a whole number of tokens: row 1 has 1.5"),
        ({"input_tokens": [float("nan"), 2]}, r"input_tokens must be a whole number of tokens: row 1 has nan"),
        ({"arrival_s": [], "input_tokens": [], "output_tokens": []}, r"the trace holds no request"),
    ],
)
def test_bad_values_are_named_with_column_and_row(changes: dict[str, list[object]], message: str) -> None:
    usual: dict[str, list[object]] = {"arrival_s": [0.0, 0.5], "input_tokens": [10, 20], "output_tokens": [1, 2]}
    with pytest.raises(InputError, match=message):
        from_columns({**usual, **changes}, name="t")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "", r"traces are .csv, .jsonl or .parquet files"),
        ("t.csv", "", r"the file is empty"),
        ("t.csv", "arrival_s,input_tokens\n1,2\n", r"no column output_tokens; there are arrival_s, input_tokens"),
        ("t.csv", "arrival_s,input_tokens,output_tokens\n1,2\n", r"line 2 has 2 fields, the header 3"),
        ("t.jsonl", "{", r"line 1 is no JSON"),
        ("t.jsonl", '{"arrival_s": 1}\n{"x": 1}', r"line 2 has x; the lines above have arrival_s"),
    ],
)
def test_bad_files_are_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_trace(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_trace(tmp_path / "none.csv")


def test_a_part_of_a_trace_begins_at_zero() -> None:
    part = evenly(100, 100.0).between(20.0, 30.0)
    assert (len(part), part.arrival_s[0]) == (10, 0.0)
    with pytest.raises(InputError, match="no request arrives between"):
        evenly(100, 100.0).between(200.0, 300.0)


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_scaling_the_volume_keeps_order_and_number(factor: float) -> None:
    scaled = evenly(2000, 1000.0, profiles=2).scaled(factor, seed=4)
    assert len(scaled) == pytest.approx(2000 * factor, rel=0.08)
    assert (np.diff(scaled.arrival_s) >= 0).all()


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_a_factor_that_is_none_is_refused(factor: float) -> None:
    with pytest.raises(InputError, match="factor must be positive"):
        evenly(10, 10.0).scaled(factor)
    with pytest.raises(InputError, match="factor must be positive"):
        evenly(10, 10.0).faster(factor)


def test_twice_as_fast_is_half_as_long() -> None:
    assert evenly(10, 100.0).faster(2.0).duration_s == 45.0


def test_coarse_time_stamps_can_be_spread() -> None:
    trace = from_columns({"arrival_s": [0, 3, 3, 6], "input_tokens": [1, 2, 3, 4], "output_tokens": [1] * 4}, name="t")
    spread = trace.jittered(3.0, seed=1)
    assert len(set(spread.arrival_s.tolist())) == 4
    assert (np.diff(spread.arrival_s) >= 0).all()
