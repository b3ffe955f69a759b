"""The analytic engine and one that computes every step agree; counters and memory add up."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.domain.pool import Role
from autoscaler.performance.profile import load_profile
from autoscaler.performance.step import ReplicaModel
from autoscaler.simulate.engine import Engine, EngineRules
from autoscaler.simulate.environment import Environment
from autoscaler.simulate.request import Request
from tests.property.simulate.reference_engine import Job, SlowEngine

H200 = load_profile("h200-tp1-qwen3-32b").model
SMALL = replace(H200, limits=replace(H200.limits, max_batched_tokens=700, max_sequences=300))


class Notes:
    """Listens to an engine."""

    def __init__(self) -> None:
        self.first: dict[int, float] = {}
        self.finish: dict[int, float] = {}
        self.reserved_at: dict[int, float] = {}
        self.long_gap: dict[int, float] = {}

    def first_token(self, request: Request, time: float) -> None:
        assert request.row not in self.first
        self.first[request.row] = time

    def prefilled(self, engine: Engine, request: Request, time: float) -> None:
        self.finish[request.row] = time
        engine.release(request)

    def reserved(self, engine: Engine, request: Request, time: float) -> None:
        self.reserved_at[request.row] = time
        engine.join(request)

    def finished(self, engine: Engine, request: Request, time: float) -> None:
        assert engine.role is not Role.PREFILL
        assert request.row not in self.finish
        self.finish[request.row] = time
        self.long_gap[request.row] = request.long_gap


def fly(jobs: list[Job], model: ReplicaModel, role: Role, rules: EngineRules) -> tuple[Notes, Engine]:
    """Run jobs through the analytic engine, observing it at odd moments in between."""
    env, notes = Environment(), Notes()
    engine = Engine(env, model, role, notes, rules=rules)
    for row, job in enumerate(jobs):
        take = engine.reserve if job.remote else engine.submit
        env.at(job.arrival, take, Request(row, job.arrival, job.prompt, job.output, 0))

    def observed(_: object) -> None:
        engine.advance(env.now)
        assert engine.running <= model.limits.max_sequences

    for k in range(1, 40):
        env.at(k * 0.317, observed)
    env.run(100_000.0)
    return notes, engine


prompts = st.integers(1, 3000)
outputs = st.integers(1, 400)
gaps = st.floats(0.001, 3.0)
arrivals = st.lists(st.tuples(gaps, prompts, outputs), min_size=1, max_size=25)


def jobs_of(draws: list[tuple[float, int, int]], *, remote: bool) -> list[Job]:
    time, jobs = 0.0, []
    for gap, prompt, output in draws:
        time += gap
        jobs.append(Job(time, prompt, output, remote))
    return jobs


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("remote", [True, False])
@given(draws=arrivals)
@settings(max_examples=60, deadline=None)
def test_many_steps_at_once_end_when_single_steps_do(
    draws: list[tuple[float, int, int]], *, ahead: bool, remote: bool
) -> None:
    jobs = jobs_of(draws, remote=remote)
    role = Role.DECODE if remote else Role.UNIFIED
    notes, _ = fly(jobs, SMALL, role, EngineRules(schedule_ahead=ahead, posting_share=0.0))
    SlowEngine(SMALL, ahead).run(jobs)
    assert notes.first == pytest.approx({row: job.first for row, job in enumerate(jobs)}, abs=1e-6)
    assert notes.finish == pytest.approx({row: job.finish for row, job in enumerate(jobs)}, abs=1e-6)


crowds = st.lists(st.tuples(st.floats(0.001, 0.1), prompts, st.integers(100, 400)), min_size=10, max_size=40)


@given(
    draws=arrivals | crowds,
    remote=st.booleans(),
    ahead=st.booleans(),
    memory=st.integers(3500, 20_000),
    sequences=st.integers(2, 12) | st.just(300),
)
@example(  # one sequence too many: a preempted one is computed again while others join
    draws=[
        (0.25, 2739, 109), (0.06640625, 1020, 104), (0.06640625, 1084, 101), (0.05078125, 189, 99),
        (0.046875, 2723, 98), (0.046875, 130, 97), (0.01953125, 196, 96), (0.00390625, 753, 96), (0.5, 116, 71),
        (0.0625, 457, 66), (0.5, 2, 1), (0.125, 1, 1), (0.125, 1305, 1), (0.0625, 3000, 1), (0.5, 588, 1),
    ],
    remote=True,
    ahead=True,
    memory=15_234,
    sequences=10,
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_every_request_ends_and_every_token_is_counted_even_when_memory_or_places_are_short(
    draws: list[tuple[float, int, int]], *, remote: bool, ahead: bool, memory: int, sequences: int
) -> None:
    jobs = jobs_of(draws, remote=remote)
    limits = replace(SMALL.limits, kv_capacity_tokens=float(memory), max_sequences=sequences)
    model = replace(SMALL, limits=limits)
    role = Role.DECODE if remote else Role.UNIFIED
    notes, engine = fly(jobs, model, role, EngineRules(schedule_ahead=ahead))
    assert sorted(notes.finish) == sorted(notes.first) == list(range(len(jobs)))
    assert engine.idle
    assert engine.kv_tokens == engine.running == engine.waiting == engine.queued_tokens == 0
    assert engine.meters.output_tokens == sum(job.output for job in jobs)
    assert engine.meters.requests == len(jobs)
    assert all(notes.finish[row] >= notes.first[row] > job.arrival for row, job in enumerate(jobs))


@given(draws=arrivals)
@settings(max_examples=40, deadline=None)
def test_a_prefill_replica_computes_every_prompt_once_and_generates_one_token_each(
    draws: list[tuple[float, int, int]],
) -> None:
    jobs = jobs_of(draws, remote=False)
    _, engine = fly(jobs, SMALL, Role.PREFILL, EngineRules())
    assert engine.meters.computed_tokens == engine.meters.prompt_tokens == sum(job.prompt for job in jobs)
    assert engine.meters.output_tokens == engine.meters.requests == len(jobs)
    assert engine.idle


@pytest.mark.parametrize("ahead", [True, False])
@given(draws=arrivals)
@settings(max_examples=40, deadline=None)
def test_the_longest_gaps_of_a_request_are_those_of_its_steps(
    draws: list[tuple[float, int, int]], *, ahead: bool
) -> None:
    jobs = jobs_of(draws, remote=False)
    notes, _ = fly(jobs, SMALL, Role.UNIFIED, EngineRules(schedule_ahead=ahead, posting_share=0.0))
    slow = SlowEngine(SMALL, ahead)
    slow.run(jobs)
    for row, job in enumerate(jobs):
        gaps = sorted((b - a for a, b in itertools.pairwise(job.tokens)), reverse=True)
        if gaps:
            exact = gaps[-(-len(gaps) // 100) - 1]
            assert notes.long_gap[row] == pytest.approx(exact, rel=0.1)  # plain steps differ by their batch
