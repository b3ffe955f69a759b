"""The cheapest schedule of one pool that knows the future, level by level.

Replicas are exchangeable, so a pool splits into levels: level k must be on wherever ``need >= k``. A gap in a level
shorter than a start-up is bridged, a longer one is paid with a new start. This is exact (the matrix of the linear
program is totally unimodular); units are replica-bins, the price of a replica is 1.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.backtest.program import Program, before

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def _spans(on: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Return first bin and bin after the last of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], on, [False])).astype(np.int8)))
    return edges[::2], edges[1::2]


def clairvoyant_cost(need: IntArray, startup_bins: int) -> int:
    """Return the least replica-bins, starts included, that meet ``need`` in every bin (C100).

    Args:
        need: fewest ready replicas, shape (bins,).
        startup_bins: what a start costs on top; the first start of every level is paid as well.
    """
    total = 0
    for level in range(1, int(need.max(initial=0)) + 1):
        begins, ends = _spans(need >= level)
        gaps = begins[1:] - ends[:-1]
        total += int((ends - begins).sum()) + startup_bins + int(np.minimum(gaps, startup_bins).sum())
    return total


def bridged(need: IntArray, startup_bins: int) -> IntArray:
    """Return the replicas that are kept ready when every gap not longer than a start-up is bridged, level by level."""
    kept = np.zeros_like(need)
    for level in range(1, int(need.max(initial=0)) + 1):
        begins, ends = _spans(need >= level)
        kept[begins[0] : ends[-1]] += 1
        for left, right in zip(ends[:-1], begins[1:], strict=True):
            if right - left > startup_bins:
                kept[left:right] -= 1
    return kept


@dataclass(frozen=True, slots=True)
class _Step:
    """Lowering the cap of one block from one value of need to the next."""

    block: int
    upper: int
    lower: int
    violated: float
    saved: float


def capped(need: IntArray, load: FloatArray, *, startup_bins: int, block_bins: int, miss_share: float) -> IntArray:
    """Return ``need`` after giving up the bins that cost most per unit of load, within a share of all load.

    Greedy, hence the cost of the result is an upper bound of the true optimum at this attainment (0.3 to 0.8 % high on
    the instances of ``docs/reference``).

    Args:
        need: fewest ready replicas, shape (bins,).
        load: what is lost where need is not met, shape (bins,).
        startup_bins: what a start costs.
        block_bins: length of the blocks within which one cap holds.
        miss_share: share of the load that may be given up.
    """
    caps = np.array([need[a : a + block_bins].max(initial=0) for a in range(0, len(need), block_bins)])
    allowed = miss_share * float(load.sum())
    steps = sorted(_steps(need, load, startup_bins, block_bins), key=lambda s: s.violated / s.saved)
    taken = True
    while taken:  # a step that had to wait for the one above it may be possible in the next round
        taken = False
        for step in steps:
            if caps[step.block] == step.upper and step.violated <= allowed:
                caps[step.block] = step.lower
                allowed -= step.violated
                taken = True
    lowered: IntArray = np.minimum(need, np.repeat(caps, block_bins)[: len(need)])
    return lowered


def _steps(need: IntArray, load: FloatArray, startup_bins: int, block_bins: int) -> Iterator[_Step]:
    for block, start in enumerate(range(0, len(need), block_bins)):
        inside, weight = need[start : start + block_bins], load[start : start + block_bins]
        values = sorted({0, *(int(n) for n in inside)}, reverse=True)
        for upper, lower in itertools.pairwise(values):
            above = inside > lower
            freed = float((np.minimum(inside, upper) - lower)[above].sum())
            saved = freed + (upper - lower) * min(startup_bins, len(inside))
            yield _Step(block, upper, lower, float(weight[above & (inside <= upper)].sum()), saved)


def relaxed_cost(need: IntArray, load: FloatArray, *, startup_bins: int, miss_share: float) -> float:
    """Return the least cost when bins may be given up in part and replicas are fractions: a certified lower bound.

    With ``miss_share`` 0 it equals ``clairvoyant_cost``.
    """
    program, bins = Program(), len(need)
    ready = program.variables(bins, 1.0)
    starts = program.variables(bins, float(startup_bins))
    given_up = program.variables(bins, high=1.0)
    program.rows([(ready, -1.0), (given_up, -need)], high=-need)
    program.rows([(ready, 1.0), (before(ready), -1.0), (starts, -1.0)], high=0.0)
    program.weighted_total(given_up, load, high=miss_share * float(load.sum()))
    solution = program.solved()
    if isinstance(solution, str):  # all bins may be kept, so there always is a solution
        raise TypeError(solution)
    return solution.cost
