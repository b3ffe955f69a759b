"""Traces from files: CSV, JSON lines or Parquet with a row per request, Mooncake's JSON lines, or rates per minute.

Columns ``arrival_s, input_tokens, output_tokens[, profile][, hash_ids]``; Mooncake: ``timestamp`` (ms),
``input_length``, ``output_length``, ``hash_ids``; the referee: ``arrival_ms``, and ``prefix`` for ``hash_ids``. Files
may be gzipped. A CSV writes ``hash_ids`` separated by blanks.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.domain.profile import DEFAULT_PROFILE
from autoscaler.errors import InputError
from autoscaler.simulate.trace import HASH_BLOCK_TOKENS, Trace, checked

Columns = Mapping[str, Sequence[Any]]

REQUIRED = ("arrival_s", "input_tokens", "output_tokens")
IN_MS = {"timestamp", "arrival_ms"}
OTHERS = {
    **dict.fromkeys(IN_MS, "arrival_s"),
    "input_length": "input_tokens",
    "output_length": "output_tokens",
    "prefix": "hash_ids",
}
"""Names that others give to our columns."""


DAMAGE = (OSError, EOFError, zlib.error, csv.Error, ValueError, TypeError, OverflowError, RecursionError)
"""What the readers of other people's formats say of a file that is cut, garbled or of another kind."""

MOST_PROFILES = 256
LONGEST_NAME = 253


def read_trace(path: Path, *, profile: str = DEFAULT_PROFILE, hash_block_tokens: int = HASH_BLOCK_TOKENS) -> Trace:
    """Read a trace.

    Args:
        path: the ending tells the format: .csv, .jsonl or .parquet, the first two perhaps with .gz.
        profile: of requests in files without a ``profile`` column.
        hash_block_tokens: tokens that a hash id stands for.

    Raises:
        InputError: no such file, another format, a missing column, values that cannot be; names file, column, row.
    """
    readers: dict[str, Callable[[Path], Columns]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending not in readers:
        msg = f"{path}: traces are .csv, .jsonl or .parquet files, the first two perhaps with .gz, not {path.suffix!r}"
        raise InputError(msg)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise InputError(msg)
    try:
        columns = readers[ending](path)
        return from_columns(columns, name=path.name, profile=profile, hash_block_tokens=hash_block_tokens)
    except DAMAGE as error:
        msg = f"{path}: damaged, or no trace: {type(error).__name__}: {str(error)[:200]}"
        raise InputError(msg) from error


def from_columns(
    columns: Columns,
    *,
    name: str,
    profile: str = DEFAULT_PROFILE,
    hash_block_tokens: int = HASH_BLOCK_TOKENS,
    kind: str = "recorded",
) -> Trace:
    """Return a checked trace from named columns.

    Raises:
        InputError: a missing column or values that cannot be.
    """
    columns = _renamed(columns)
    for column in REQUIRED:
        if column not in columns:
            msg = f"{name}: no column {column}; there are {', '.join(columns) or 'none'}"
            raise InputError(msg)
    names, index = _profiles(columns.get("profile"), len(columns["arrival_s"]), profile, name)
    hashes = columns.get("hash_ids")
    return checked(
        Trace(
            arrival_s=_numbers(columns["arrival_s"], name, "arrival_s"),
            input_tokens=_whole(columns["input_tokens"], name, "input_tokens"),
            output_tokens=_whole(columns["output_tokens"], name, "output_tokens"),
            profile=index,
            profiles=names,
            hash_ids=None if hashes is None else [tuple(ids) for ids in hashes],
            hash_block_tokens=hash_block_tokens,
            name=name,
            kind=kind,
        )
    )


def _renamed(columns: Columns) -> Columns:
    """Return others' columns under our names and units; a file with ``arrival_s`` is taken as it is."""
    if "arrival_s" in columns or not IN_MS & columns.keys():
        return columns
    renamed = {OTHERS.get(column, column): values for column, values in columns.items()}
    renamed["arrival_s"] = [float(ms) / 1000.0 for ms in renamed["arrival_s"]]
    return renamed


def _profiles(
    values: Sequence[Any] | None, rows: int, profile: str, name: str
) -> tuple[tuple[str, ...], np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    if values is None:
        return (profile,), np.zeros(rows, dtype=np.uint8)
    if max(len(str(value)) for value in values or ("",)) > LONGEST_NAME:
        msg = f"{name}: a name of a profile is longer than {LONGEST_NAME} characters"
        raise InputError(msg)
    names, index = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    if len(names) > MOST_PROFILES:
        msg = f"{name}: {len(names)} profiles, at most {MOST_PROFILES} are told apart; is `profile` another column?"
        raise InputError(msg)
    return tuple(str(name) for name in names), index.astype(np.uint8)


def _numbers(values: Sequence[Any], name: str, column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    try:
        numbers: np.ndarray[tuple[int], np.dtype[np.float64]] = np.asarray(values, dtype=np.float64)
        if numbers.ndim != 1:
            raise TypeError  # noqa: TRY301 - lists in place of numbers are told as any other row
    except (TypeError, ValueError):
        row, value = next((i, v) for i, v in enumerate(values) if not _is_number(v))
        msg = f"{name}: {column} must be a number: row {row + 1} has {value!r}"
        raise InputError(msg) from None
    return numbers


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return value is not None


def _whole(values: Sequence[Any], name: str, column: str) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    numbers = _numbers(values, name, column)
    bad = ~np.isfinite(numbers) | (numbers != np.round(numbers)) | (np.abs(numbers) > np.iinfo(np.int32).max)
    if bad.any():
        row = int(np.argmax(bad))
        msg = f"{name}: {column} must be a whole number of tokens: row {row + 1} has {values[row]!r}"
        raise InputError(msg)
    return numbers.astype(np.int32)


def _lines(path: Path) -> Iterable[str]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from file
    else:
        with path.open(encoding="utf-8") as file:
            yield from file


def _csv(path: Path) -> Columns:
    rows = csv.reader(_lines(path))
    header = next(rows, None)
    if header is None:
        msg = f"{path}: the file is empty"
        raise InputError(msg)
    table = [row for row in rows if row]
    for number, row in enumerate(table, start=2):
        if len(row) != len(header):
            msg = f"{path}: line {number} has {len(row)} fields, the header {len(header)}"
            raise InputError(msg)
    columns: dict[str, Sequence[Any]] = {column: [row[i] for row in table] for i, column in enumerate(header)}
    for column in {"hash_ids", "prefix"} & columns.keys():
        columns[column] = [[int(block) for block in ids.split()] for ids in columns[column]]
    return columns


def _jsonl(path: Path) -> Columns:
    columns: dict[str, list[Any]] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            msg = f"{path}: line {number} is no JSON: {error.msg}"
            raise InputError(msg) from None
        if not isinstance(row, dict):
            msg = f"{path}: line {number} is no JSON object"
            raise InputError(msg)
        if columns and row.keys() != columns.keys():
            msg = f"{path}: line {number} has {', '.join(row)}; the lines above have {', '.join(columns)}"
            raise InputError(msg)
        for key, value in row.items():
            columns.setdefault(key, []).append(value)
    return columns


def _parquet(path: Path) -> Columns:
    try:
        from pyarrow import parquet  # noqa: PLC0415  # an extra: only needed for this format
    except ImportError:
        msg = f"{path}: reading Parquet needs the extra [sim]: pip install 'disagg-autoscaler[sim]'"
        raise InputError(msg) from None
    wanted = {*REQUIRED, *OTHERS, "profile", "hash_ids"}
    present = [column for column in parquet.read_schema(path).names if column in wanted]
    table = parquet.read_table(path, columns=present)
    return {column: table[column].to_pylist() for column in present}
