"""How good bounds are soon after a cold start: ``python -m benchmarks.forecast_short``, half an hour to an hour a load.

Ticks of 5 s, from the third minute on; what is bounded is the mean over the minute that begins 65 or 185 s ahead.
Loads: the referee's scenarios, and pieces of 45 minutes of recorded days of requests. One half of the loads chooses
settings, the other confirms. The benchmark to beat at P95 ("plain") is the mean of the last minute times the 95 %
quantile of what that ratio was so far.
"""

import argparse
import bisect
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
from joblib import Parallel, delayed

from autoscaler.domain.demand import RateForecast
from autoscaler.domain.observation import Moments, ProfileLoad
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.forecast.room import SIGNALS, LoadForecaster
from autoscaler.performance.step import FloatArray
from benchmarks.forecast_traces import SHARED

TICK = 5.0
HORIZONS = (Seconds(65.0), Seconds(185.0))
HOLD = Seconds(60.0)
FROM = 36
"""Ticks before the first that is judged: three minutes."""

SPAN = 12
"""Ticks that a minute has."""

PIECE_S = 2700.0
FEWEST = 0.2
"""Requests per second; a profile below is not judged."""

UNKNOWN_RATIO = 1.5
"""What the benchmark assumes until a minute of ratios is known."""

SCENARIOS = {"sinusoid": True, "azure-chat": True, "servegen-mix": True, "mix40": False, "mooncake-conversation": False}
"""Of the referee, and whether they choose."""

DAYS = (
    "servegen_language_m-large_requests_24h.parquet",
    "servegen_language_m-small_requests_24h.parquet",
    "servegen_multimodal_mm-image_requests_24h.parquet",
)
PIECES = ((3.0, True), (8.0, False), (13.0, True), (18.5, False))
"""Hours of a day at which a piece begins, and whether it chooses."""

ABSENT = Missing(GapReason.ABSENT, Instant(0.0))


@dataclass(frozen=True, slots=True)
class Piece:
    """Requests of one load, by profile: arrivals (s), prompt and output tokens."""

    name: str
    chooses: bool
    requests: dict[str, tuple[FloatArray, FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True)
class Judged:
    """One signal at one horizon."""

    piece: str
    chooses: bool
    profile: str
    signal: str
    horizon_s: float
    p90: float  # coverage
    p99: float
    bound: float  # mean P90 over mean truth
    early: float  # the same, over the first eight minutes judged
    pinball: float  # of P95, over that of the benchmark
    plain90: float  # coverage of the benchmark's own P90
    plain_bound: float  # and its mean over the mean truth


def pieces() -> Iterator[Piece]:
    """Yield the loads.

    Raises:
        InputError: the shared folder is not there.
    """
    if not SHARED.is_dir():
        msg = f"DISAGG_SHARED: no traces in {SHARED}; set DISAGG_SHARED to the folder above them"
        raise InputError(msg)
    sys.path.insert(0, str(SHARED.parent / "referee"))
    from scenario import load_scenario  # type: ignore[import-not-found]  # noqa: PLC0415 - lives in the shared folder

    for name, chooses in SCENARIOS.items():
        trace = load_scenario(name, startup_s=60.0, seed=0).trace
        columns = (
            np.array([r.arrival_ms / 1e3 for r in trace]),
            np.array([r.input_tokens for r in trace], dtype=np.float64),
            np.array([r.output_tokens for r in trace], dtype=np.float64),
        )
        yield _piece(name, columns, np.array([r.profile for r in trace]), chooses=chooses)
    for file in DAYS:
        columns, profiles = _day(SHARED / file)
        for hour, chooses in PIECES:
            start = 3600.0 * hour
            low, high = np.searchsorted(columns[0], (start, start + PIECE_S))
            arrivals, prompts, outputs = (column[low:high] for column in columns)
            name = f"{file.split('_')[2]}@{hour:g}h"
            yield _piece(name, (arrivals - start, prompts, outputs), profiles[low:high], chooses=chooses)


def _day(path: Path) -> tuple[tuple[FloatArray, FloatArray, FloatArray], "np.ndarray[Any, Any]"]:
    table = pyarrow.parquet.read_table(path).sort_by("arrival_s")
    arrivals, prompts, outputs = (
        table[name].to_numpy().astype(np.float64) for name in ("arrival_s", "input_tokens", "output_tokens")
    )
    return (arrivals, prompts, outputs), np.array(table["profile"].to_pylist())


def _piece(
    name: str,
    columns: tuple[FloatArray, FloatArray, FloatArray],
    profiles: "np.ndarray[Any, Any]",
    *,
    chooses: bool,
) -> Piece:
    arrivals, prompts, outputs = columns
    requests = {}
    for profile in sorted(set(profiles.tolist())):
        mine = profiles == profile
        requests[profile] = (arrivals[mine], prompts[mine], outputs[mine])
    return Piece(name, chooses, requests)


@dataclass(frozen=True, slots=True)
class Binned:
    """One profile by tick: how many requests, and first and second moments of their tokens."""

    count: FloatArray
    prompt: FloatArray  # sums
    prompt2: FloatArray  # sums of squares
    output: FloatArray
    output2: FloatArray

    def load(self, profile: str, tick: int) -> ProfileLoad:
        """Return what is observed at the end of a tick."""
        n = float(self.count[tick])
        prompt, output = float(self.prompt[tick]), float(self.output[tick])
        return ProfileLoad(
            profile,
            n / TICK,
            prompt / TICK,
            prompt / TICK,
            output / TICK,
            Moments(prompt / n, float(self.prompt2[tick]) / n) if n else ABSENT,
            Moments(output / n, float(self.output2[tick]) / n) if n else ABSENT,
            ABSENT,
            ABSENT,
            ABSENT,
        )

    def truth(self, signal: str) -> FloatArray:
        """Return the rate of a signal by tick."""
        return {"requests": self.count, "uncached_prompt_tokens": self.prompt, "output_tokens": self.output}[
            signal
        ] / TICK


def _binned(piece: Piece) -> dict[str, Binned]:
    end = max(float(arrivals[-1]) for arrivals, _, _ in piece.requests.values() if len(arrivals))
    ticks = int(end // TICK)
    out = {}
    for profile, (arrivals, prompts, outputs) in piece.requests.items():
        at = (arrivals // TICK).astype(np.int64)
        sums = [
            np.bincount(at, weights=w, minlength=ticks)[:ticks].astype(np.float64)
            for w in (None, prompts, prompts**2, outputs, outputs**2)
        ]
        out[profile] = Binned(*sums)
    return out


def judged(piece: Piece) -> list[Judged]:
    """Forecast a load tick by tick, as the controller would, and judge every signal."""
    binned = _binned(piece)
    ticks = len(next(iter(binned.values())).count)
    forecaster = LoadForecaster()
    said: dict[tuple[str, str, float], list[RateForecast]] = {}
    for tick in range(ticks):
        at = Instant((tick + 1) * TICK)
        forecaster.observe(at, {name: each.load(name, tick) for name, each in binned.items()})
        if tick < FROM:
            continue
        for name, demand in forecaster.demand(at, HORIZONS, HOLD).items():
            if isinstance(demand, Missing):
                continue
            rates = (
                demand.requests_per_second,
                demand.uncached_prompt_tokens_per_second,
                demand.output_tokens_per_second,
            )
            for signal, forecasts in zip(SIGNALS, rates, strict=True):
                for horizon, forecast in forecasts.items():
                    said.setdefault((name, signal, horizon), []).append(forecast)
    return [
        _judge(piece, profile, signal, horizon, binned[profile].truth(signal), forecasts)
        for (profile, signal, horizon), forecasts in said.items()
        if binned[profile].count.sum() >= FEWEST * TICK * ticks and len(forecasts) == ticks - FROM
    ]


def _judge(
    piece: Piece, profile: str, signal: str, horizon: float, truth: FloatArray, said: list[RateForecast]
) -> Judged:
    lead = int(horizon / TICK)
    sums = np.concatenate([[0.0], np.cumsum(truth)])
    minute = (sums[SPAN:] - sums[:-SPAN]) / SPAN  # minute[i]: mean of ticks i to i + SPAN
    origins = np.arange(FROM, len(truth) - lead - SPAN)
    came = minute[origins + 1 + lead]
    p90, p95, p99 = (np.array([f.mean.at(q) for f in said])[origins - FROM] for q in (0.9, 0.95, 0.99))
    plain90, plain95 = (_plain(minute, origins, lead, q) for q in (0.9, 0.95))
    early = origins < FROM + 8 * SPAN
    return Judged(
        piece.name,
        piece.chooses,
        profile,
        signal,
        horizon,
        p90=float((came <= p90).mean()),
        p99=float((came <= p99).mean()),
        bound=float(p90.mean() / came.mean()),
        early=float(p90[early].mean() / came[early].mean()),
        pinball=_pinball(came, p95, 0.95) / _pinball(came, plain95, 0.95),
        plain90=float((came <= plain90).mean()),
        plain_bound=float(plain90.mean() / came.mean()),
    )


def _plain(minute: FloatArray, origins: "np.ndarray[Any, Any]", lead: int, probability: float) -> FloatArray:
    """Return the last minute's mean times the quantile of its ratio to what came, as far as that was known then."""
    ratios: list[float] = []
    out = []
    known = SPAN - 1  # the newest origin whose outcome has been taken in
    for origin in range(SPAN - 1, int(origins[-1]) + 1):
        while known + lead + SPAN <= origin:
            before = minute[known + 1 - SPAN]
            if before > 0:
                bisect.insort(ratios, float(minute[known + 1 + lead] / before))
            known += 1
        if origin >= origins[0]:
            ratio = UNKNOWN_RATIO
            if len(ratios) >= SPAN:
                ratio = ratios[min(len(ratios) - 1, math.ceil(probability * (len(ratios) + 1)) - 1)]
            out.append(minute[origin + 1 - SPAN] * ratio)
    return np.array(out)


def _pinball(came: FloatArray, bound: FloatArray, probability: float) -> float:
    short = came - bound
    return float(np.maximum(probability * short, (probability - 1.0) * short).mean())


def table(scores: list[Judged]) -> str:
    """Return the means over series of each half, and how far single series lie from them."""
    lines = [
        (
            "| half | horizon | series | P90 covers: mean, lowest, highest | P99 covers | P90 / truth "
            "| in the first 8 min | pinball P95 / plain | plain P90 covers | plain P90 / truth |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for half, chooses in (("chose", True), ("confirm", False)):
        for horizon in HORIZONS:
            some = [s for s in scores if s.chooses is chooses and s.horizon_s == horizon]
            p90 = np.array([s.p90 for s in some])
            lines.append(
                f"| {half} | {horizon:.0f} s | {len(some)} | {p90.mean():.3f}, {p90.min():.3f}, {p90.max():.3f} "
                f"| {np.mean([s.p99 for s in some]):.3f} | {np.mean([s.bound for s in some]):.3f} "
                f"| {np.mean([s.early for s in some]):.3f} | {np.exp(np.mean(np.log([s.pinball for s in some]))):.3f} "
                f"| {np.mean([s.plain90 for s in some]):.3f} | {np.mean([s.plain_bound for s in some]):.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", action="store_true", help="print every series too")
    parser.add_argument("--only", default="", help="loads whose name contains this")
    arguments = parser.parse_args()
    chosen = [piece for piece in pieces() if arguments.only in piece.name]
    scores = [score for some in Parallel(n_jobs=2)(delayed(judged)(piece) for piece in chosen) for score in some]
    if arguments.series:
        for s in scores:
            sys.stdout.write(
                f"{s.piece:24} {s.profile:10} {s.signal:24} {s.horizon_s:4.0f} p90 {s.p90:.3f} p99 {s.p99:.3f} "
                f"bound {s.bound:6.2f} early {s.early:6.2f} pinball {s.pinball:6.2f} "
                f"plain {s.plain90:.3f} {s.plain_bound:6.2f}\n"
            )
    sys.stdout.write(table(scores) + "\n")


if __name__ == "__main__":
    main()
