"""Counts of all pools together under limits that they share: accelerators by type, cost per hour.

A mixed-integer program (HiGHS). Where all cannot be served, the claims of larger importance are served first, each in
step over its roles, because a request needs both; among equals the total share is largest. What is served is then
spread over variants as far as policies ask and limits allow. Then cost decides: running replicas, and starts spread
over the time in which they must pay. So a limit on one accelerator moves load to another before it costs anybody a
replica.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts when they are asked for: where no budget binds, 23 MB are not taken
from numpy.typing import NDArray

from autoscaler.domain.policy import Budget
from autoscaler.plan.allocation import REPAID_WITHIN, Option, due_of_others

FloatArray = NDArray[np.float64]

SLACK = 1e-6
"""Of a served share: what one step of the program may give back of what the one before it found."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one policy asks for: the options of each of its pools."""

    pools: tuple[tuple[Option, ...], ...]
    importance: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What a claim gets: replicas of each option of each pool, and the share of its load that they serve."""

    counts: tuple[tuple[int, ...], ...]
    served: float


def shared(claims: Sequence[Claim], budget: Budget) -> tuple[Share, ...] | None:
    """Return what each claim gets; None where even the minimums pass a limit."""
    program = _Program.of(claims, budget)
    nothing = np.zeros(2 * len(claims))
    floors = nothing
    for aim in _aims(claims):
        best = program.solved(-aim, np.zeros(len(program.options)), floors)
        if best is None:
            return None
        floors = np.where(aim, np.maximum(0.0, best[-len(nothing) :] - SLACK), floors)
    prices = np.array([option.variant.cost_per_replica_hour for option in program.options])
    cheapest = program.solved(nothing, prices, floors)
    return None if cheapest is None else _told(claims, cheapest)


def _aims(claims: Sequence[Claim]) -> Iterator[FloatArray]:
    """Yield what is made large, one after the other: shares served by importance, then how far they are spread."""
    tiers = [
        np.array([float(claim.importance == importance) for claim in claims])
        for importance in sorted({claim.importance for claim in claims}, reverse=True)
    ]
    yield from (np.concatenate([tier, 0.0 * tier]) for tier in tiers)
    if any(option.spread for claim in claims for pool in claim.pools for option in pool):
        yield from (np.concatenate([0.0 * tier, tier]) for tier in tiers)


def _told(claims: Sequence[Claim], solution: FloatArray) -> tuple[Share, ...]:
    counts = iter(np.rint(solution).astype(int).tolist())
    told = []
    for claim in claims:
        own = tuple(tuple(next(counts) for _ in pool) for pool in claim.pools)
        covered = (
            sum(_useful(o, n) for o, n in zip(pool, row, strict=True)) / (1.0 + spare(pool))
            for pool, row in zip(claim.pools, own, strict=True)
        )
        told.append(Share(own, min((1.0, *covered))))
    return tuple(told)


def _useful(option: Option, count: int) -> float:
    return option.share(count, option.lead)


def spare(pool: Sequence[Option]) -> float:
    """Return the share that a pool needs beyond its load, because its fastest replicas may be lost."""
    return max((option.losses / option.alone for option in pool if option.alone), default=0.0)


@dataclass(frozen=True, slots=True)
class _Program:
    """Columns: replicas and starts of each option; of each claim the share served, and how far spread holds, 0 to 1."""

    options: tuple[Option, ...]
    startups: FloatArray
    limits: "tuple[scipy.optimize.LinearConstraint, ...]"
    bounds: "scipy.optimize.Bounds"

    @classmethod
    def of(cls, claims: Sequence[Claim], budget: Budget) -> "_Program":
        options = tuple(option for claim in claims for pool in claim.pools for option in pool)
        n, k = len(options), 2 * len(claims)
        most = [_most(option) for option in options]
        least = [min(option.variant.min_replicas, top) for option, top in zip(options, most, strict=True)]
        starts = scipy.sparse.hstack(
            [-scipy.sparse.eye_array(n), scipy.sparse.eye_array(n), scipy.sparse.csr_array((n, k))], format="csr"
        )
        requested = np.array([float(option.requested) for option in options])
        bounds = scipy.optimize.Bounds(
            np.array([*least, *[0.0] * (n + k)]), np.array([*most, *[np.inf] * n, *[1.0] * k])
        )
        limits = (
            scipy.optimize.LinearConstraint(starts, lb=-requested),
            *_covering(claims, n),
            *_budget(options, budget, n + k),
        )
        startups = np.array([option.startup / REPAID_WITHIN for option in options])
        return cls(options, startups, limits, bounds)

    def solved(self, shares: FloatArray, prices: FloatArray, floors: FloatArray) -> FloatArray | None:
        """Return the columns of least cost with at least ``floors`` of what claims are served and spread."""
        n = len(self.options)
        lower = np.concatenate([self.bounds.lb[: 2 * n], floors])
        whole = np.concatenate([np.ones(n), np.zeros(len(self.bounds.lb) - n)])
        found = scipy.optimize.milp(
            np.concatenate([prices, prices * self.startups, shares]),
            integrality=whole,
            bounds=scipy.optimize.Bounds(lower, self.bounds.ub),
            constraints=self.limits,
        )
        return None if found.x is None else np.asarray(found.x)


def _most(option: Option) -> float:
    """Return how many replicas are worth counting: of an overdue variant those that came."""
    return float(max(option.variant.min_replicas, option.serving(option.variant.max_replicas, option.lead)))


def _covering(claims: Sequence[Claim], options: int) -> "list[scipy.optimize.LinearConstraint]":
    """Return the rows of each pool of which something is asked.

    Its replicas do at least the claim's served share; and without any one option, the others do what spread asks.
    """
    rows: list[dict[int, float]] = []
    column = 0
    for index, claim in enumerate(claims):
        served, spread = 2 * options + index, 2 * options + len(claims) + index
        for pool in claim.pools:
            if pool and all(option.alone for option in pool):
                shares = {column + place: 1.0 / option.alone for place, option in enumerate(pool)}
                rows.append({**shares, served: -1.0 - spare(pool)})
                for place, due in enumerate(due_of_others(pool, max(option.lead for option in pool))):
                    rows.append({**shares, column + place: 0.0, spread: -due})
            column += len(pool)
    if not rows:
        return []
    matrix = scipy.sparse.lil_array((len(rows), 2 * options + 2 * len(claims)))
    for number, row in enumerate(rows):
        for place, value in row.items():
            matrix[number, place] = value
    return [scipy.optimize.LinearConstraint(matrix.tocsr(), lb=-1e-9)]


def _budget(options: Sequence[Option], budget: Budget, others: int) -> "list[scipy.optimize.LinearConstraint]":
    """Return one row per limit."""
    rows = [
        (
            [float(o.variant.accelerators_per_replica * (o.variant.accelerator == accelerator)) for o in options],
            float(limit),
        )
        for accelerator, limit in budget.accelerator_limits
    ]
    if budget.cost_per_hour is not None:
        rows.append(([o.variant.cost_per_replica_hour for o in options], budget.cost_per_hour))
    return [
        scipy.optimize.LinearConstraint(np.array([[*row, *[0.0] * others]]), ub=limit + 1e-9) for row, limit in rows
    ]
