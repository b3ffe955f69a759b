"""Load as columns: when each request arrives, how long it is, which profile it belongs to, which prefix it shares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.profile import DEFAULT_PROFILE
from autoscaler.errors import InputError

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int32]

HASH_BLOCK_TOKENS = 512
"""Tokens of a prompt block that one hash id stands for (as in Mooncake's traces)."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival; row i of every column is request i.

    ``hash_ids``: per request the identities of its prompt's blocks (equal ids: equal prefixes); None: nothing shared.
    """

    arrival_s: FloatArray  # seconds from the start of the trace, rising
    input_tokens: IntArray
    output_tokens: IntArray
    profile: NDArray[np.uint8]  # index into ``profiles``
    profiles: tuple[str, ...] = (DEFAULT_PROFILE,)
    hash_ids: Sequence[tuple[int, ...]] | None = None
    hash_block_tokens: int = HASH_BLOCK_TOKENS
    name: str = "trace"
    kind: str = "recorded"  # recorded, synthetic, digitised or composed: said with every figure

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def duration_s(self) -> float:
        """Return the seconds from the start of the trace to its last arrival."""
        return float(self.arrival_s[-1]) if len(self) else 0.0

    def between(self, start_s: float, end_s: float) -> "Trace":
        """Return the requests that arrive in ``[start_s, end_s)``, with the clock set to zero at ``start_s``."""
        first, last = np.searchsorted(self.arrival_s, [start_s, end_s])
        if first == last:
            msg = f"{self.name}: no request arrives between {start_s} s and {end_s} s; it lasts {self.duration_s:.0f} s"
            raise InputError(msg)
        return self.rows(np.arange(first, last), self.arrival_s[first:last] - start_s)

    def faster(self, factor: float) -> "Trace":
        """Return the same requests in ``1/factor`` of the time."""
        _positive(factor, "time factor", self.name)
        return replace(self, arrival_s=self.arrival_s / factor)

    def scaled(self, factor: float, seed: int = 0, jitter_s: float = 1.0) -> "Trace":
        """Return a trace with ``factor`` times the requests: each kept, dropped or repeated at random.

        Repeated requests are moved by up to ``jitter_s``, so that copies do not arrive together. Thinning moves the
        dispersion of arrivals towards Poisson's; copies keep it.
        """
        _positive(factor, "volume factor", self.name)
        random = np.random.default_rng(seed)
        whole = int(factor)
        copies = whole + (random.random(len(self)) < factor - whole)
        rows = np.repeat(np.arange(len(self)), copies)
        if not len(rows):
            msg = f"{self.name}: nothing is left at a volume factor of {factor}"
            raise InputError(msg)
        arrival = self.arrival_s[rows]
        again = np.append(False, rows[1:] == rows[:-1])  # a value of the array, not a flag
        arrival = np.where(again, arrival + jitter_s * random.random(len(rows)), arrival)
        order = np.argsort(arrival, kind="stable")
        return self.rows(rows[order], arrival[order])

    def jittered(self, step_s: float, seed: int = 0) -> "Trace":
        """Return the trace with every arrival moved on by up to ``step_s``: for coarse time stamps."""
        moved = self.arrival_s + step_s * np.random.default_rng(seed).random(len(self))
        order = np.argsort(moved, kind="stable")
        return self.rows(order, moved[order])

    def rows(self, rows: NDArray[np.intp], arrival_s: FloatArray) -> "Trace":
        """Return some of the requests, at other times of arrival."""
        return replace(
            self,
            arrival_s=arrival_s,
            input_tokens=self.input_tokens[rows],
            output_tokens=self.output_tokens[rows],
            profile=self.profile[rows],
            hash_ids=None if self.hash_ids is None else [self.hash_ids[row] for row in rows],
        )


def checked(trace: Trace) -> Trace:
    """Return a trace that can be replayed.

    Raises:
        InputError: no request, a value that is no number, negative or zero, or arrivals out of order; names the row.
    """
    if not len(trace):
        msg = f"{trace.name}: the trace holds no request"
        raise InputError(msg)
    _all(np.isfinite(trace.arrival_s), trace, "arrival_s", trace.arrival_s, "must be a finite number of seconds")
    _all(trace.arrival_s >= 0, trace, "arrival_s", trace.arrival_s, "must not be negative")
    rising = np.append(True, np.diff(trace.arrival_s) >= 0)  # a value of the array, not a flag
    _all(rising, trace, "arrival_s", trace.arrival_s, "is before the row above; sort the trace by arrival_s")
    _all(trace.input_tokens > 0, trace, "input_tokens", trace.input_tokens, "must be at least 1")
    _all(trace.output_tokens > 0, trace, "output_tokens", trace.output_tokens, "must be at least 1")
    return trace


def _all(good: NDArray[np.bool_], trace: Trace, column: str, values: NDArray[np.generic], rule: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        bad = int(len(good) - good.sum())
        msg = f"{trace.name}: {column} {rule}: row {row + 1} has {values[row]} ({bad} such rows)"
        raise InputError(msg)


def _positive(factor: float, what: str, name: str) -> None:
    if not (np.isfinite(factor) and factor > 0):
        msg = f"{name}: {what} must be positive, not {factor}"
        raise InputError(msg)
