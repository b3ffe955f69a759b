"""Load that is made, not recorded: rates over time, lengths, burstiness; every trace has its seed.

A rate is piecewise linear between points; arrivals are drawn from it as a renewal process whose gaps have a given
squared coefficient of variation (1: Poisson), by time change: gaps are drawn at rate 1 and stretched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoscaler.errors import InputError
from autoscaler.simulate.trace import FloatArray, IntArray, Trace, checked

FINE_STEP_S = 1.0  # resolution of curved rates
MOST_REQUESTS = 20_000_000  # of one stream; a trace file may hold more


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a prompt or an answer: log-normal, cut to ``least..most``; ``variation`` 0: constant."""

    mean: float
    variation: float = 0.0  # standard deviation over mean
    least: int = 1
    most: int = 1_000_000

    def draw(self, count: int, random: np.random.Generator) -> IntArray:
        """Return token counts, shape (count,)."""
        sigma2 = np.log1p(self.variation**2)
        values = self.mean * np.exp(np.sqrt(sigma2) * random.standard_normal(count) - sigma2 / 2)
        return np.asarray(np.clip(np.round(values), self.least, self.most), dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second over time: linear between points (seconds, rate), zero outside."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        times = [time for time, _ in self.points]
        if len(times) < 2 or times != sorted(times) or any(rate < 0 for _, rate in self.points):
            msg = f"a rate needs two or more points in order of time with rates >= 0, not {self.points}"
            raise InputError(msg)

    def arrivals(self, random: np.random.Generator, squared_variation: float = 1.0) -> FloatArray:
        """Return times of arrival, rising.

        Raises:
            InputError: more requests than can be drawn.
        """
        times, rates = np.array(self.points, dtype=np.float64).T
        expected = np.concatenate([[0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)])
        total = expected[-1]
        if total > MOST_REQUESTS:
            msg = f"a stream of {total:.3g} requests; at most {MOST_REQUESTS:,} are drawn: lower its rate or its time"
            raise InputError(msg)
        draws = int(total + 6 * np.sqrt(total * max(1.0, squared_variation)) + 10)
        if squared_variation > 0:
            gaps = random.gamma(1.0 / squared_variation, squared_variation, draws)
        else:
            gaps = np.ones(draws)
        operational = np.cumsum(gaps) - gaps[0] * random.random()
        return _at(operational[operational < total], times, rates, expected)


def _at(operational: FloatArray, times: FloatArray, rates: FloatArray, expected: FloatArray) -> FloatArray:
    """Return when the expected number of arrivals reaches given values: the root of a quadratic in each segment."""
    segment = np.clip(np.searchsorted(expected, operational, side="right") - 1, 0, len(times) - 2)
    more, start = operational - expected[segment], rates[segment]
    slope = (rates[segment + 1] - start) / np.maximum(times[segment + 1] - times[segment], 1e-12)
    root = np.sqrt(np.maximum(0.0, start**2 + 2.0 * slope * more))
    return np.asarray(times[segment] + 2.0 * more / np.maximum(start + root, 1e-12))


def constant(rate: float, seconds: float) -> Rate:
    """Return the same rate all the time."""
    return Rate(((0.0, rate), (seconds, rate)))


def steps(stages: Sequence[tuple[float, float]]) -> Rate:
    """Return stages of (rate, seconds), one after another."""
    points: list[tuple[float, float]] = []
    at = 0.0
    for rate, seconds in stages:
        points += [(at, rate), (at + seconds, rate)]
        at += seconds
    return Rate(tuple(points))


def sine(low: float, high: float, period_s: float, seconds: float) -> Rate:
    """Return a wave that begins at its low."""
    times = np.arange(0.0, seconds + FINE_STEP_S, min(FINE_STEP_S, seconds))
    middle, swing = (high + low) / 2, (high - low) / 2
    rates = middle - swing * np.cos(2 * np.pi * times / period_s)
    return Rate(tuple(zip(times.tolist(), rates.tolist(), strict=True)))


def burst(base: float, high: float, start_s: float, burst_s: float, seconds: float) -> Rate:
    """Return a rate that jumps to ``high`` for ``burst_s`` seconds."""
    return steps([(base, start_s), (high, burst_s), (base, seconds - start_s - burst_s)])


@dataclass(frozen=True, slots=True)
class Stream:
    """The load of one profile."""

    profile: str
    rate: Rate
    prompt: Lengths
    output: Lengths
    squared_variation: float = 1.0  # of the gaps between arrivals
    shared_prefix_tokens: int = 0  # leading tokens that all prompts of a group have in common
    prefix_groups: int = 1


def compose(streams: Sequence[Stream], seed: int, name: str = "composed") -> Trace:
    """Draw the load of several profiles into one trace; equal seeds give equal traces.

    Raises:
        InputError: no request at all.
    """
    names = tuple(dict.fromkeys(stream.profile for stream in streams))
    randoms = np.random.default_rng(seed).spawn(len(streams))
    parts = [
        _drawn(stream, names.index(stream.profile), random) for stream, random in zip(streams, randoms, strict=True)
    ]
    arrival, prompts, outputs, profile, group = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(arrival, kind="stable")
    trace = Trace(
        arrival_s=arrival[order],
        input_tokens=prompts[order],
        output_tokens=outputs[order],
        profile=profile[order],
        profiles=names,
        name=name,
        kind="synthetic",
    )
    if any(stream.shared_prefix_tokens for stream in streams):
        trace = _with_prefixes(trace, streams, names, group[order])
    return checked(trace)


def _drawn(
    stream: Stream, index: int, random: np.random.Generator
) -> tuple[FloatArray, IntArray, IntArray, np.ndarray[tuple[int], np.dtype[np.uint8]], IntArray]:
    arrival = stream.rate.arrivals(random, stream.squared_variation)
    count = len(arrival)
    prompts = stream.prompt.draw(count, random) + np.int32(stream.shared_prefix_tokens)
    group = random.integers(0, stream.prefix_groups, count).astype(np.int32)
    return arrival, prompts, stream.output.draw(count, random), np.full(count, index, dtype=np.uint8), group


def _with_prefixes(trace: Trace, streams: Sequence[Stream], names: Sequence[str], group: IntArray) -> Trace:
    """Give prompts hash ids: those of a group begin with the same blocks, all others are new."""
    block = trace.hash_block_tokens
    shared = {names.index(stream.profile): stream.shared_prefix_tokens // block for stream in streams}
    first, fresh = {}, 0
    for profile, stream in {names.index(stream.profile): stream for stream in streams}.items():
        for member in range(stream.prefix_groups):
            first[profile, member] = fresh
            fresh += shared[profile]
    hashes = []
    for tokens, profile, member in zip(
        trace.input_tokens.tolist(), trace.profile.tolist(), group.tolist(), strict=True
    ):
        blocks, common = tokens // block, shared[profile]
        start = first[profile, member]
        own = range(fresh, fresh + max(0, blocks - common))
        hashes.append((*range(start, start + min(common, blocks)), *own))
        fresh += len(own)
    return replace(trace, hash_ids=hashes)
