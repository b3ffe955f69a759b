"""A certified lower bound of the cost at which any policy reaches the promised attainment: a linear program.

Time is cut into bins, replicas are fractions, work flows. Per bin t, role p, variant v, profile i:

    min  sum price_v (ready[v,t] bin + start-up_v starts[v,t])
    s.t. backlog[i,t] = backlog[i,t-1] + work[i,t] - dropped[i,t] - sum_v served[i,v,t]
         backlog[i,t] <= work that has arrived and is not yet due
         sum_i served[i,v,t] ratio[i,v] <= bin ready[v,t]           (time of the replica; likewise its KV memory)
         starts[v,t] >= ready[v,t] - ready[v,t-1],   min <= ready <= max,   accelerators within their limits
         requests dropped of a profile <= (1 - attainment) of them

Every rule is looser than the tunnel's: dropped requests cost nothing, roles may drop different ones, replicas that
leave finish nothing, boots need not end, and a variant serves each profile as well as it serves the request that suits
it best. So no policy that attains is cheaper, whatever it knows.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.backtest import work
from autoscaler.backtest.program import Columns, Program, before
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.performance.step import ReplicaModel
from autoscaler.simulate.trace import Trace

FloatArray = NDArray[np.float64]
SEGMENTS = (0.01, 0.05, 0.25, 1.0)
"""Dropped requests of a bin are cut at these shares, dearest first, so that dropping saves less and less."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be served, with what."""

    policy: SLOPolicy
    trace: Trace
    models: Mapping[str, ReplicaModel]  # by variant
    startup: Mapping[str, Seconds]  # by variant
    initial: Mapping[str, int]  # replicas ready at the start, by variant
    bin_s: float = 60.0
    prefix_caching: bool = False

    @property
    def bins(self) -> int:
        """Return the number of bins that cover the arrivals."""
        return max(1, int(np.ceil(self.trace.duration_s / self.bin_s)))


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The bound, and the fractional schedule that reaches it: ready replicas by variant, shape (bins,)."""

    cost: float
    ready: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class _Flow:
    """One profile's work for one role, in replica-seconds of the role's first variant."""

    work: FloatArray  # arriving, shape (bins,)
    backlog_limit: FloatArray  # shape (bins,)
    drop_counts: FloatArray  # requests per bin and segment, shape (bins, segments)
    drop_work: FloatArray  # mean work of these
    allowed_drops: float
    busy: Mapping[str, float]  # replica time per unit of work, by variant
    memory: Mapping[str, float]  # KV memory time per unit of work, by variant


def solve(problem: Problem) -> Relaxed:
    """Return the certified lower bound of the cost over the time of the arrivals.

    Raises:
        InputError: the policy mixes unified with disaggregated variants, or no fleet within the bounds can attain.
    """
    program, ready = Program(), {}
    for variant in problem.policy.variants:
        ready[variant.name] = _replicas(program, problem, variant)
    _accelerators(program, problem, ready)
    works = work.of_fleet(problem.policy, problem.models, problem.trace, prefix_caching=problem.prefix_caching)
    for role in _roles(problem.policy):
        pool = problem.policy.pool(role)
        flows = [_flow(problem, pool, works, index) for index in range(len(problem.trace.profiles))]
        _serve(program, problem, pool, [flow for flow in flows if flow.work.sum() > 0], ready)
    return _solved(program, ready)


def _solved(program: Program, ready: Mapping[str, Columns]) -> Relaxed:
    solution = program.solved()
    if isinstance(solution, str):
        msg = (
            "bound: no fleet within maxReplicas and the accelerator limits reaches the attainment, "
            f"whatever it knows ({solution}); raise the limits or scale the trace down"
        )
        raise InputError(msg)
    return Relaxed(solution.cost, {name: solution.values[columns] for name, columns in ready.items()})


def _roles(policy: SLOPolicy) -> tuple[Role, ...]:
    roles = tuple(role for role in Role if policy.pool(role))
    if Role.UNIFIED in roles and len(roles) > 1:
        msg = f"{policy.key}: the bound needs unified or prefill and decode variants, not both; leave one kind out"
        raise InputError(msg)
    return roles


def _replicas(program: Program, problem: Problem, variant: Variant) -> Columns:
    bins, price = problem.bins, variant.cost_per_replica_hour / 3600.0
    ready = program.variables(bins, price * problem.bin_s, variant.min_replicas, variant.max_replicas)
    starts = program.variables(bins, price * problem.startup[variant.name])
    there = np.zeros(bins)
    there[0] = problem.initial[variant.name]
    program.rows([(ready, 1.0), (before(ready), -1.0), (starts, -1.0)], high=there)
    return ready


def _accelerators(program: Program, problem: Problem, ready: Mapping[str, Columns]) -> None:
    for accelerator, most in problem.policy.budget.accelerator_limits:
        users = [v for v in problem.policy.variants if v.accelerator == accelerator]
        if users:
            terms = [(ready[v.name], float(v.accelerators_per_replica)) for v in users]
            program.rows(terms, high=float(most))


def _flow(problem: Problem, pool: Sequence[Variant], works: Mapping[str, work.VariantWork], profile: int) -> _Flow:
    trace, bins = problem.trace, problem.bins
    mine = np.flatnonzero(trace.profile == profile)
    reference = works[pool[0].name].busy_s[mine]
    if not np.isfinite(reference).all():
        name = trace.profiles[profile]
        msg = f"bound: profile {name} asks for an ITL below one decode step of {pool[0].name}; raise slo.itl"
        raise InputError(msg)
    limits = work.Limits.of(problem.policy, trace)
    due = work.deadlines(pool[0].role, trace, limits)[mine]
    arriving = _binned(trace.arrival_s[mine], reference, problem)
    counts, means = _segments(trace.arrival_s[mine], reference, problem)
    slo = problem.policy.profile(trace.profiles[profile]).slo
    return _Flow(
        work=arriving,
        backlog_limit=np.maximum(0.0, np.cumsum(arriving) - np.cumsum(_binned(due, reference, problem, later=bins))),
        drop_counts=counts,
        drop_work=means,
        allowed_drops=(1.0 - slo.attainment) * len(mine),
        busy={v.name: _best_ratio(works[v.name].busy_s[mine], reference) for v in pool},
        memory={v.name: _best_ratio(works[v.name].memory_s[mine], reference) for v in pool},
    )


def _binned(times: FloatArray, weights: FloatArray, problem: Problem, later: int | None = None) -> FloatArray:
    """Sum weights by bin; what falls after the last bin is counted there, or with ``later`` nowhere."""
    last = problem.bins - 1 if later is None else later
    places = np.minimum((times / problem.bin_s).astype(int), last)
    summed = np.bincount(places, weights, problem.bins + 1)[: problem.bins]
    return summed.astype(np.float64)


def _best_ratio(mine: FloatArray, reference: FloatArray) -> float:
    """Return the smallest ratio over requests that need the role at all."""
    needed = reference > 0
    return float((mine[needed] / reference[needed]).min(initial=np.inf)) if needed.any() else 1.0


def _segments(times: FloatArray, costs: FloatArray, problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Return how many requests each bin has per segment, dearest first, and their mean work."""
    counts, means = np.zeros((problem.bins, len(SEGMENTS))), np.zeros((problem.bins, len(SEGMENTS)))
    places = np.minimum((times / problem.bin_s).astype(int), problem.bins - 1)
    for place in np.unique(places):
        dearest = np.sort(costs[places == place])[::-1]
        cuts = [0, *(int(np.ceil(share * len(dearest))) for share in SEGMENTS)]
        for segment, (first, last) in enumerate(itertools.pairwise(cuts)):
            counts[place, segment] = last - first
            means[place, segment] = dearest[first:last].mean() if last > first else 0.0
    return counts, means


def _serve(
    program: Program,
    problem: Problem,
    pool: Sequence[Variant],
    flows: Sequence[_Flow],
    ready: Mapping[str, Columns],
) -> None:
    bins = problem.bins
    served = {v.name: [program.variables(bins) for _ in flows] for v in pool}
    for index, flow in enumerate(flows):
        backlog = program.variables(bins, 0.0, 0.0, flow.backlog_limit)
        drops = [program.variables(bins, high=flow.drop_counts[:, s]) for s in range(len(SEGMENTS))]
        program.rows(
            [
                (backlog, 1.0),
                (before(backlog), -1.0),
                *((columns, flow.drop_work[:, s]) for s, columns in enumerate(drops)),
                *((served[v.name][index], 1.0) for v in pool),
            ],
            low=flow.work,
            high=flow.work,
        )
        program.weighted_total(np.concatenate(drops), 1.0, high=flow.allowed_drops)
    for variant in pool:
        capacity = (ready[variant.name], -problem.bin_s)
        for kind in ("busy", "memory"):
            terms = [(served[variant.name][i], getattr(flow, kind)[variant.name]) for i, flow in enumerate(flows)]
            program.rows([*terms, capacity], high=0.0)
