"""What a flight was worth: attainment per profile, worst ten minutes, cost, stability, losses."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.policy import SLOPolicy
from autoscaler.simulate.pods import Bill, FleetSample
from autoscaler.simulate.results import Fate, Results
from autoscaler.simulate.run import Run

FloatArray = NDArray[np.float64]

WINDOW_S = 600.0
LEAST_REQUESTS = 20
"""Windows with fewer requests say nothing about a share."""

GOOD = 0.9
"""A window below this share counts as bad; a minute below it counts as not recovered."""


@dataclass(frozen=True, slots=True)
class Score:
    """One flight. Shares are of *offered* requests: what was lost, rejected or not finished is a miss."""

    attainment: float
    attainment_by_profile: Mapping[str, float]
    worst_profile: float
    attainment_p99_gaps: float | None  # with the p99 of a request's own gaps in place of their mean; None: not told
    worst_window: float  # attainment of the worst ten minutes, by arrival
    bad_windows: float  # share of ten-minute windows below 90 %
    recovery_s: float  # the longest run of minutes below 90 %
    cost: float
    accelerator_hours: Mapping[str, float]  # by accelerator type
    replica_hours: Mapping[str, Mapping[str, float]]  # by variant and state: booting, ready, draining
    actions: int
    reversals: int
    requests: int
    lost_requests: int
    unfinished_requests: int
    latency_s: Mapping[str, Mapping[str, float]]  # by profile: ttft_p50 ... itl_p99 of finished requests
    windows: tuple[tuple[float, int], ...]  # attainment and requests of every ten minutes, for intervals


def score(policy: SLOPolicy, run: Run) -> Score:
    """Return the score of a flight under its policy's SLOs and prices."""
    results, profiles = run.results, run.results.trace.profiles
    hits = attained(policy, results)
    arrival = results.trace.arrival_s
    by_profile = {
        name: float(hits[results.trace.profile == index].mean())
        for index, name in enumerate(profiles)
        if (results.trace.profile == index).any()
    }
    windows = shares(arrival, hits, WINDOW_S)
    told = [share for share, count in windows if count >= LEAST_REQUESTS] or [float(hits.mean())]
    actions, reversals = moves(run.fleet)
    return Score(
        attainment=float(hits.mean()),
        attainment_by_profile=by_profile,
        worst_profile=min(by_profile.values()),
        attainment_p99_gaps=_strictly_attained(policy, results),
        worst_window=min(told),
        bad_windows=float(np.mean([share < GOOD for share in told])),
        recovery_s=_longest_bad_run(arrival, hits),
        cost=cost(policy, run.bills),
        accelerator_hours=_accelerator_hours(policy, run.bills),
        replica_hours={name: _hours(bill) for name, bill in run.bills.items()},
        actions=actions,
        reversals=reversals,
        requests=len(hits),
        lost_requests=int(np.isin(results.fate, [Fate.LOST, Fate.REJECTED]).sum()),
        unfinished_requests=int((results.fate == Fate.UNFINISHED).sum()),
        latency_s=_latencies(results),
        windows=windows,
    )


def attained(policy: SLOPolicy, results: Results) -> NDArray[np.bool_]:
    """Tell which requests kept both limits of their profile."""
    slos = [policy.profile(name).slo for name in results.trace.profiles]
    return results.within(np.array([slo.ttft for slo in slos]), np.array([slo.itl for slo in slos]))


def _strictly_attained(policy: SLOPolicy, results: Results) -> float | None:
    if not len(results.itl_p99_s):
        return None
    return float(attained(policy, replace(results, itl_s=results.itl_p99_s)).mean())


def cost(policy: SLOPolicy, bills: Mapping[str, Bill]) -> float:
    """Return what the replicas cost: booting, ready and draining alike."""
    return sum(policy.variant(name).cost_per_replica_hour * bill.total_s / 3600.0 for name, bill in bills.items())


def shares(arrival_s: FloatArray, hits: NDArray[np.bool_], window_s: float) -> tuple[tuple[float, int], ...]:
    """Return attainment and number of requests of every window that has any, by arrival."""
    places = (arrival_s // window_s).astype(int)
    counts, good = np.bincount(places), np.bincount(places, hits)
    return tuple((float(g / n), int(n)) for g, n in zip(good, counts, strict=True) if n)


def _longest_bad_run(arrival_s: FloatArray, hits: NDArray[np.bool_]) -> float:
    bad = [share < GOOD for share, _ in shares(arrival_s, hits, 60.0)]
    return 60.0 * max((len(list(run)) for below, run in itertools.groupby(bad) if below), default=0)


def moves(fleet: Sequence[FleetSample]) -> tuple[int, int]:
    """Return how often replicas asked for changed, and how often the direction did, over all variants."""
    actions = reversals = 0
    for name in {sample.variant for sample in fleet}:
        counts = [sample.requested for sample in fleet if sample.variant == name]
        signs = [1 if after > before else -1 for before, after in itertools.pairwise(counts) if after != before]
        actions += len(signs)
        reversals += sum(first != second for first, second in itertools.pairwise(signs))
    return actions, reversals


def _hours(bill: Bill) -> dict[str, float]:
    return {
        "booting": bill.booting_s / 3600.0,
        "ready": bill.ready_s / 3600.0,
        "draining": bill.draining_s / 3600.0,
    }


def _accelerator_hours(policy: SLOPolicy, bills: Mapping[str, Bill]) -> dict[str, float]:
    hours: dict[str, float] = {}
    for name, bill in bills.items():
        variant = policy.variant(name)
        used = variant.accelerators_per_replica * bill.total_s / 3600.0
        hours[variant.accelerator] = hours.get(variant.accelerator, 0.0) + used
    return hours


def _latencies(results: Results) -> dict[str, dict[str, float]]:
    found = {}
    for index, name in enumerate(results.trace.profiles):
        mine = (results.trace.profile == index) & results.done
        if mine.any():
            found[name] = {
                f"{what}_p{q}": float(np.percentile(values[mine], q))
                for what, values in (("ttft", results.ttft_s), ("itl", results.itl_s))
                for q in (50, 90, 99)
            }
    return found


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def interval_over_windows(windows: Sequence[tuple[float, int]], *, draws: int = 2000, seed: int = 0) -> Interval:
    """Return attainment with a 95 % interval by bootstrap over windows (requests within one are correlated)."""
    random = np.random.default_rng(seed)
    good = np.array([share * count for share, count in windows])
    counts = np.array([count for _, count in windows], dtype=np.float64)
    picks = random.integers(0, len(windows), (draws, len(windows)))
    means = good[picks].sum(axis=1) / counts[picks].sum(axis=1)
    return Interval(float(good.sum() / counts.sum()), *(float(q) for q in np.percentile(means, [2.5, 97.5])))


def interval_over_seeds(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> Interval:
    """Return the mean over seeds with a 95 % interval by bootstrap; one seed gives no interval but its value."""
    random = np.random.default_rng(seed)
    drawn = np.asarray(values)[random.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    return Interval(float(np.mean(values)), *(float(q) for q in np.percentile(drawn, [2.5, 97.5])))
