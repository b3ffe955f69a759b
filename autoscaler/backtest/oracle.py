"""Schedules made from knowledge of the future: what each role needs per bin, and the informed oracle's blurred view."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.backtest import work
from autoscaler.backtest.players.schedule import Follow
from autoscaler.backtest.scene import Scene
from autoscaler.domain.pool import Role, Variant

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BIN_S = 15.0
KNOWN_S = 600.0
"""Resolution at which the informed oracle knows the rates."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Mean replicas in use per bin if every replica were used to the full, by variant; each as if it served alone."""

    bin_s: float
    busy: Mapping[str, FloatArray]

    @property
    def bins(self) -> int:
        """Return the number of bins."""
        return len(next(iter(self.busy.values())))


def needs_of(scene: Scene, bin_s: float = BIN_S) -> Needs:
    """Return what the trace needs, with each request's work spread over the time in which it is done."""
    trace, limits = scene.trace, work.Limits.of(scene.policy, scene.trace)
    works = work.of_fleet(scene.policy, scene.models, trace, prefix_caching=scene.settings.prefix_caching)
    bins = max(1, int(np.ceil(scene.horizon / bin_s)))
    busy = {}
    for variant in scene.policy.variants:
        mine = works[variant.name]
        replica_s = np.maximum(mine.busy_s, mine.memory_s)
        last = np.maximum(trace.output_tokens - 1.0, 0.0) * limits.itl_s
        seconds = replica_s if variant.role is Role.PREFILL else np.maximum(last, replica_s)
        busy[variant.name] = _spread(trace.arrival_s, seconds, replica_s, bins, bin_s)
    return Needs(bin_s, busy)


def _spread(start: FloatArray, seconds: FloatArray, amount: FloatArray, bins: int, bin_s: float) -> FloatArray:
    """Return how much of each amount, done evenly over its seconds, falls into each bin, as a mean over the bin."""
    edges = np.arange(bins + 1) * bin_s
    end = start + np.maximum(seconds, 1e-9)
    pace = amount / (end - start)
    done = np.zeros(bins + 1)  # at each edge: sum of pace (edge - start) over those begun, less what has ended
    for moments, sign in ((start, 1.0), (end, -1.0)):
        order = np.argsort(moments, kind="stable")
        paces, weighted = np.cumsum(pace[order]), np.cumsum((pace * moments)[order])
        count = np.searchsorted(moments[order], edges)
        there = count > 0
        done[there] += sign * (paces[count[there] - 1] * edges[there] - weighted[count[there] - 1])
    return np.maximum(0.0, np.diff(done)) / bin_s


def averaged(busy: FloatArray, width: int) -> FloatArray:
    """Return the centred moving average over ``width`` bins; the ends are repeated beyond themselves."""
    before = (width - 1) // 2
    padded = np.pad(busy, (before, width - 1 - before), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")


def fleet_for(scene: Scene, busy: Mapping[str, FloatArray], use: Mapping[Role, float]) -> dict[str, IntArray]:
    """Return whole replicas per bin and variant that serve ``busy`` with each replica used to the given share.

    Within a role the variant that does the work at the least cost comes first, up to its maximum, then the next.
    """
    fleet: dict[str, IntArray] = {}
    for role in Role:
        pool = scene.policy.pool(role)
        left = np.ones(len(busy[pool[0].name])) if pool else np.zeros(0)  # share of the load still without replicas
        for variant in sorted(pool, key=lambda v: float(busy[v.name].sum()) * v.cost_per_replica_hour):
            alone = np.maximum(busy[variant.name] / use[role], 1e-12)
            wanted = np.ceil(left * alone - 1e-9)
            counts = np.clip(wanted, variant.min_replicas, variant.max_replicas)
            left = np.maximum(0.0, left - counts / alone)
            fleet[variant.name] = np.maximum(counts, _one(pool, variant)).astype(np.int64)
    return fleet


def _one(pool: tuple[Variant, ...], variant: Variant) -> int:
    """Return 1 for the variant that keeps a role alive, the first of the pool."""
    return 1 if variant.name == pool[0].name else variant.min_replicas


def informed(scene: Scene, startup_s: float, deviations: float) -> Follow:
    """Return a player that provisions a quantile of the load, whose mean and variance it knows per ten minutes."""
    needs = needs_of(scene)
    busy = {name: _quantile(each, needs.bin_s, deviations) for name, each in needs.busy.items()}
    return Follow(scene.policy, fleet_for(scene, busy, dict.fromkeys(Role, 1.0)), needs.bin_s, startup_s)


def _quantile(busy: FloatArray, bin_s: float, deviations: float) -> FloatArray:
    width = round(KNOWN_S / bin_s)
    known = np.empty_like(busy)
    for start in range(0, len(busy), width):
        block = busy[start : start + width]
        known[start : start + width] = block.mean() + deviations * block.std()
    return known
