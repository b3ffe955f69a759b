"""Load per minute from trace files: the shared development traces, or anybody's own.

Understood: tables by minute (columns ``minute``, ``req``/``req_PROFILE``, ``prefill_tok…``, ``decode_tok…``), the
digitised Azure week (``conv_*``), and tables of requests (``arrival_s``, ``input_tokens``, ``output_tokens``, perhaps
``profile``), each as CSV, gzipped CSV or Parquet.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from autoscaler.backtest.forecasts import FEWEST, Series
from autoscaler.errors import InputError
from autoscaler.performance.step import FloatArray

SHARED = Path(os.environ.get("DISAGG_SHARED", "../shared")) / "traces"
DEVELOPMENT = (
    "azure2024_conv_week_digitized_1min.csv.gz",
    "servegen_language_m-large_synth_1min_x0.1.csv.gz",
    "servegen_language_m-small_synth_1min_x0.02.csv.gz",
    "servegen_multimodal_mm-image_synth_1min_x1.csv.gz",
    "azure2023_conv_1min.csv",
    "mooncake_conversation_1min.csv",
)
SIGNALS = {"requests": "req", "prompt_tokens": "prefill_tok", "output_tokens": "decode_tok"}
OUTAGE = 8
"""Minutes in which nothing of a trace was seen: the measurement failed, not the load."""

Columns: TypeAlias = Mapping[str, FloatArray]


def development() -> tuple[Path, ...]:
    """Return the development traces.

    Raises:
        InputError: they are not there.
    """
    if not SHARED.is_dir():
        msg = f"DISAGG_SHARED: no traces in {SHARED}; name trace files, or set DISAGG_SHARED to the folder above them"
        raise InputError(msg)
    return tuple(SHARED / name for name in DEVELOPMENT)


def read(path: Path) -> tuple[Series, ...]:
    """Return the series of a trace file: each profile, and all together where there are several.

    Raises:
        InputError: the file is not there, or not one of the known forms.
    """
    if not path.is_file():
        msg = f"{path}: no such trace"
        raise InputError(msg)
    try:
        read_table = pyarrow.parquet.read_table if path.suffix == ".parquet" else pyarrow.csv.read_csv
        table = read_table(str(path))
    except pa.ArrowInvalid as error:
        msg = f"{path}: neither CSV nor Parquet ({error})"
        raise InputError(msg) from error
    names = list(table.column_names)
    columns = {name: table[name].to_numpy() for name in names}
    if "arrival_s" in names:
        columns = _by_minute(columns)
    elif "conv_recon" in names:
        columns = _azure_week(columns)
    elif not any(name.startswith("req") for name in names):
        msg = f"{path}: columns {names}; wanted arrival_s, or req and prefill_tok and decode_tok by minute"
        raise InputError(msg)
    return tuple(_series(_stem(path), columns))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")


def _azure_week(columns: Columns) -> dict[str, FloatArray]:
    """Give the digitised token envelopes the noise of the request rate."""
    noise = columns["conv_recon"] / columns["conv_mid"]
    return {
        "req": columns["conv_recon"],
        "prefill_tok": columns["conv_in_mid"] * noise,
        "decode_tok": columns["conv_out_mid"] * noise,
    }


def _by_minute(columns: Mapping[str, Any]) -> dict[str, FloatArray]:
    minute = (columns["arrival_s"] // 60.0).astype(np.int64)
    profiles = columns.get("profile", np.full(len(minute), "all"))
    out: dict[str, FloatArray] = {}
    whole = int(minute.max())  # the last minute is cut off
    for profile in sorted(set(profiles.tolist())):
        mine = (profiles == profile) & (minute < whole)
        for prefix, weights in (("req", None), ("prefill_tok", "input_tokens"), ("decode_tok", "output_tokens")):
            weight = None if weights is None else columns[weights][mine]
            out[f"{prefix}_{profile}"] = np.bincount(minute[mine], weights=weight, minlength=whole).astype(np.float64)
    return out


def _series(trace: str, columns: Columns) -> Iterator[Series]:
    profiles = [name.removeprefix("req").removeprefix("_") for name in columns if name.startswith("req")]
    everything = sum(_column(columns, "req", profile) for profile in profiles)
    silent = _outages(np.asarray(everything))
    groups: dict[str, Sequence[str]] = {profile or "all": [profile] for profile in profiles}
    if len(profiles) > 1:
        groups["all"] = profiles
    for group, members in groups.items():
        requests = np.sum([_column(columns, "req", member) for member in members], axis=0)
        if requests.mean() < FEWEST:
            continue
        for signal, prefix in SIGNALS.items():
            amounts = np.sum([_column(columns, prefix, member) for member in members], axis=0)
            grain = 1.0 if signal == "requests" else 2.0 * float(amounts.sum() / requests.sum())
            yield Series(trace, group, signal, np.where(silent, np.nan, amounts / 60.0), grain)


def _column(columns: Columns, prefix: str, profile: str) -> FloatArray:
    return np.asarray(columns[f"{prefix}_{profile}" if profile else prefix], dtype=np.float64)


def _outages(total: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return the minutes that belong to a long silence of the whole trace."""
    silent = total == 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    out = np.zeros(len(total), dtype=bool)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        out[start:end] = end - start >= OUTAGE
    return out
