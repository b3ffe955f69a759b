"""Benchmark files, read into points to fit: our grid JSON (prefill, decode and mixed steps of one idle engine)."""

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoscaler.errors import InputError
from autoscaler.performance.fit import DecodePoint, MixedPoint, PrefillPoint

LONGEST_STEP_S = 5.0
SHORTEST_STEP_S = 1e-4
LONGEST_PREFILL_S = 600.0


@dataclass(frozen=True, slots=True)
class Grid:
    """What one benchmark file says of an engine."""

    decode: tuple[DecodePoint, ...]
    prefill: tuple[PrefillPoint, ...]  # with passes over several prompts
    mixed: tuple[MixedPoint, ...]
    kv_capacity_tokens: float | None
    max_sequences: int
    max_batched_tokens: int
    block_tokens: int
    accelerator: str
    llm: str
    engine_version: str
    config: Mapping[str, object]  # the model's config.json, where the file has it
    date: dt.date | None = None


def read_json(path: Path) -> Mapping[str, object]:
    """Return the object in a JSON file.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"{path}: not a JSON file that can be read: {error}"
        raise InputError(msg) from error
    if not isinstance(found, Mapping):
        msg = f"{path}: a JSON object is expected, not {type(found).__name__}"
        raise InputError(msg)
    return found


def read_grid(path: Path) -> Grid:
    """Return the points of our grid JSON.

    Raises:
        InputError: fields are absent, not finite, or cannot be in seconds; or there is no point at all.
    """
    body = read_json(path)
    decode = tuple(_decode_point(row, f"{path}: decode[{i}]") for i, row in enumerate(_rows(body, "decode", path)))
    prefill = tuple(_prefill_point(row, f"{path}: prefill[{i}]") for i, row in enumerate(_rows(body, "prefill", path)))
    mixed = tuple(_mixed_point(row, f"{path}: mixed[{i}]") for i, row in enumerate(_rows(body, "mixed", path)))
    if not decode and not prefill:
        msg = f"{path}: the grid is empty: neither decode nor prefill has a point"
        raise InputError(msg)
    engine = _mapping(body.get("engine", {}))
    return Grid(
        decode,
        prefill,
        tuple(point for point in mixed if point.prefill_tokens >= 2048),
        number(body, "kv_capacity_tokens", str(path), above=0) if "kv_capacity_tokens" in body else None,
        int(number(engine, "max_num_seqs", f"{path}: engine", above=0)) if "max_num_seqs" in engine else 256,
        int(number(engine, "max_num_batched_tokens", f"{path}: engine", above=0))
        if "max_num_batched_tokens" in engine
        else 8192,
        int(number(body, "block_size", str(path), above=0)) if "block_size" in body else 16,
        str(body.get("gpu", "unknown")),
        str(body.get("tag", "unknown")),
        str(body.get("vllm", "unknown")),
        _mapping(body.get("model", {})),
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _rows(body: Mapping[str, object], field: str, path: Path) -> Sequence[Mapping[str, object]]:
    rows = body.get(field, [])
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        msg = f"{path}: {field}: a list of objects is expected"
        raise InputError(msg)
    return rows


def number(row: Mapping[str, object], field: str, place: str, *, above: float, most: float = math.inf) -> float:
    """Return a finite number inside its bounds.

    Raises:
        InputError: it is absent, no number, not finite, or out of bounds, which hints at another unit.
    """
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{place}.{field}: a number is expected, not {value!r}"
        raise InputError(msg)
    if not math.isfinite(value):
        msg = f"{place}.{field}: {value} is not a measurement; leave the row out"
        raise InputError(msg)
    if not above < value <= most:
        unit = "; are these milliseconds? seconds are expected" if field.endswith("_s") else ""
        msg = f"{place}.{field}: {value:g} cannot be; expected above {above:g}" + (
            f" and at most {most:g}" if most < math.inf else ""
        )
        raise InputError(msg + unit)
    return float(value)


def _decode_point(row: Mapping[str, object], place: str) -> DecodePoint:
    return DecodePoint(
        number(row, "batch", place, above=0),
        number(row, "ctx", place, above=0),
        number(row, "itl_s", place, above=SHORTEST_STEP_S, most=LONGEST_STEP_S),
    )


def _prefill_point(row: Mapping[str, object], place: str) -> PrefillPoint:
    """Return a point; of prompts queued together, the first pass: those that returned first, all at once."""
    tokens = number(row, "tokens", place, above=0)
    if "queued" not in row:
        return PrefillPoint(tokens, number(row, "ttft_s", place, above=SHORTEST_STEP_S, most=LONGEST_PREFILL_S))
    each = row.get("ttft_each_s")
    if not isinstance(each, Sequence) or not each:
        msg = f"{place}.ttft_each_s: a list of seconds is expected, not {each!r}"
        raise InputError(msg)
    times = [
        number({"ttft_each_s": value}, "ttft_each_s", place, above=SHORTEST_STEP_S, most=LONGEST_PREFILL_S)
        for value in each
    ]
    first = min(times)
    return PrefillPoint(tokens, first, sum(time <= 1.001 * first for time in times))


def _mixed_point(row: Mapping[str, object], place: str) -> MixedPoint:
    during = row.get("itl_during_s")
    if not isinstance(during, Sequence) or not during:
        msg = f"{place}.itl_during_s: a list of seconds is expected, not {during!r}"
        raise InputError(msg)
    return MixedPoint(
        number(row, "prefill", place, above=0),
        sum(number({"itl_during_s": gap}, "itl_during_s", place, above=0, most=LONGEST_PREFILL_S) for gap in during),
        len(during),
        number(row, "itl_base_s", place, above=SHORTEST_STEP_S, most=LONGEST_STEP_S),
    )


def read_benchmark(path: Path) -> Grid:
    """Return the points in a benchmark file: our grid JSON, ``vllm bench serve`` or GuideLLM JSON.

    Raises:
        InputError: it is none of them, or holds nothing to fit, or values that cannot be.
    """
    body = read_json(path)
    if "decode" in body or "prefill" in body:
        return read_grid(path)
    if "median_tpot_ms" in body or "mean_tpot_ms" in body:
        return _served(body, path)
    if "benchmarks" in body:
        return _guided(body, path)
    found = ", ".join(list(body)[:6]) or "nothing"
    msg = f"{path}: neither a grid, nor of vllm bench serve, nor of GuideLLM (it has {found})"
    raise InputError(msg)


def _single(decode: tuple[DecodePoint, ...], prefill: tuple[PrefillPoint, ...], body: Mapping[str, object]) -> Grid:
    model = str(body.get("model_id", body.get("model", "unknown")))
    return Grid(decode, prefill, (), None, 256, 8192, 16, "unknown", model, "unknown", {})


def _served(body: Mapping[str, object], path: Path) -> Grid:
    """Return the one operating point of a ``vllm bench serve`` run: concurrency by Little's law, lengths by totals."""
    place = str(path)
    completed = number(body, "completed", place, above=0)
    prompt = number(body, "total_input_tokens", place, above=0) / completed
    output = number(body, "total_output_tokens", place, above=0) / completed
    tpot_s = number(body, "mean_tpot_ms", place, above=SHORTEST_STEP_S * 1e3, most=LONGEST_STEP_S * 1e3) / 1e3
    batch = max(1.0, completed * output * tpot_s / number(body, "duration", place, above=0))
    prefill: tuple[PrefillPoint, ...] = ()
    if body.get("max_concurrency") == 1:
        ttft_s = number(body, "median_ttft_ms", place, above=SHORTEST_STEP_S * 1e3, most=LONGEST_PREFILL_S * 1e3) / 1e3
        prefill = (PrefillPoint(prompt, ttft_s),)  # with one request at a time, TTFT is prefill alone
    return _single((DecodePoint(batch, prompt + output / 2, tpot_s),), prefill, body)


def _guided(body: Mapping[str, object], path: Path) -> Grid:
    """Return one operating point per benchmark of a GuideLLM report."""
    decode: list[DecodePoint] = []
    prefill: list[PrefillPoint] = []
    for index, row in enumerate(_rows(body, "benchmarks", path)):
        place = f"{path}: benchmarks[{index}].metrics"
        metrics = _mapping(row.get("metrics", {}))
        prompt, output = (_guided_mean(metrics, f"{kind}_token_count", place) for kind in ("prompt", "output"))
        batch = max(1.0, _guided_mean(metrics, "request_concurrency", place))
        itl_ms = _guided_mean(metrics, "inter_token_latency_ms", place)
        number({"itl_s": itl_ms / 1e3}, "itl_s", place, above=SHORTEST_STEP_S, most=LONGEST_STEP_S)
        decode.append(DecodePoint(batch, prompt + output / 2, itl_ms / 1e3))
        if batch <= 1.05:
            prefill.append(PrefillPoint(prompt, _guided_mean(metrics, "time_to_first_token_ms", place) / 1e3))
    if not decode:
        msg = f"{path}: benchmarks: the report is empty"
        raise InputError(msg)
    return _single(tuple(decode), tuple(prefill), body)


def _guided_mean(metrics: Mapping[str, object], name: str, place: str) -> float:
    """Return the mean of successful requests."""
    successful = _mapping(_mapping(metrics.get(name, {})).get("successful", {}))
    return number(successful, "mean", f"{place}.{name}.successful", above=0)
