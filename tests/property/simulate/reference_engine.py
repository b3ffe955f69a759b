"""The engine's rules written once more, slowly: every step of every batch is computed on its own."""

from collections import deque
from dataclasses import dataclass, field

from autoscaler.performance.step import ReplicaModel


@dataclass
class Job:
    """One request: its prompt is computed here (``remote`` false) or its KV arrives (``remote`` true)."""

    arrival: float
    prompt: int
    output: int
    remote: bool
    left: int = field(init=False)
    first: float = -1.0
    finish: float = -1.0
    context: int = 0
    todo: int = 0
    tokens: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = 0 if self.remote else self.prompt
        self.todo = self.output


@dataclass
class SlowEngine:
    """Runs jobs to their end; memory is never short here."""

    model: ReplicaModel
    ahead: bool
    time: float = 0.0
    batch: list[Job] = field(default_factory=list)
    begun: list[Job] = field(default_factory=list)

    def run(self, jobs: list[Job]) -> None:
        coming = deque(sorted(jobs, key=lambda job: job.arrival))
        prompts: deque[Job] = deque()
        joins: list[Job] = []
        planned: list[tuple[Job, int, int]] = []
        planned_joins: list[Job] = []
        while coming or prompts or joins or planned or planned_joins or self.batch or self.begun:
            if not (prompts or joins or planned or planned_joins or self.batch or self.begun):
                self.time = max(self.time, coming[0].arrival)
            while coming and coming[0].arrival <= self.time:
                job = coming.popleft()
                (joins if job.remote else prompts).append(job)
            self.join(planned_joins)
            planned_joins = []
            if not planned and not (self.ahead and self.batch):
                self.join(joins)
                joins = []
                planned = self.chunks(prompts)
            chunks = planned
            planned = self.chunks(prompts) if self.ahead else []
            if self.ahead:
                planned_joins, joins = joins, []
            self.step(chunks)

    def join(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.context = job.prompt
            self.batch.append(job)

    def chunks(self, prompts: deque[Job]) -> list[tuple[Job, int, int]]:
        budget = self.model.limits.max_batched_tokens - len(self.batch)
        out = []
        for job in self.begun:
            if job.left and budget > 0:
                out.append(self.cut(job, budget))
                budget -= out[-1][1]
        while prompts and budget > 0 and len(self.batch) + len(self.begun) < self.model.limits.max_sequences:
            job = prompts.popleft()
            self.begun.append(job)
            out.append(self.cut(job, budget))
            budget -= out[-1][1]
        return out

    def cut(self, job: Job, budget: int) -> tuple[Job, int, int]:
        tokens, before = min(budget, job.left), job.prompt - job.left
        job.left -= tokens
        return job, tokens, before

    def step(self, chunks: list[tuple[Job, int, int]]) -> None:
        step, count = self.model.step, len(self.batch)
        decoding = float(step.step_s(count, sum(job.context for job in self.batch)))
        if chunks:
            tokens = sum(chunk[1] for chunk in chunks)
            attended = sum(taken * (taken + 2 * before) for _, taken, before in chunks)
            self.time += float(self.model.prefill.pass_s(tokens, attended))
            self.time += decoding - float(step.step_s(0, 0)) if count else 0.0
        elif count:
            self.time += decoding
        for job in list(self.batch):
            job.context += 1
            self.token(job)
        for job, taken, before in chunks:
            if before + taken == job.prompt:
                self.begun.remove(job)
                job.context = job.prompt
                self.batch.append(job)
                self.token(job)

    def token(self, job: Job) -> None:
        job.todo -= 1
        job.tokens.append(self.time)
        if job.first < 0:
            job.first = self.time
        if job.todo <= 0:
            job.finish = self.time
            self.batch.remove(job)
