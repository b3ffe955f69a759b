"""Dynamo's planner: SLA mode with throughput and load loop, or an easy mode. It writes replicas itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.backtest.baselines import dynamo_capacity, dynamo_forecast, dynamo_load
from autoscaler.backtest.baselines.dynamo_capacity import Engine, Shape
from autoscaler.backtest.players import sight as see
from autoscaler.backtest.players.loops import bounded
from autoscaler.backtest.players.sight import Player, Sight, Traffic
from autoscaler.domain.observation import EngineLoad, ModelObservation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import known
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.step import ReplicaModel


@dataclass(frozen=True, slots=True)
class Loops:
    """Which loops run, and how tight the SLA is that the planner is given."""

    interval: Seconds = Seconds(180.0)  # of the throughput loop
    sla_factor: float = 1.0  # of the tightest SLO
    easy: dynamo_load.Target | None = None  # None: SLA mode


def engine_of(model: ReplicaModel) -> Engine:
    """Return the planner's view of an engine: what a perfect profiling run would have told it."""
    return Engine(
        prefill_s=lambda tokens: float(model.prefill.latency_s(tokens)),
        decode_s=lambda batch, kv: float(model.step.step_s(batch, kv)),
        max_batched_tokens=model.limits.max_batched_tokens,
        max_sequences=model.limits.max_sequences,
        max_kv_tokens=model.limits.kv_capacity_tokens,
    )


class DynamoPlayer(Player):
    """One engine type per role: the first variant of each; others stay as they are."""

    def __init__(self, policy: SLOPolicy, models: Mapping[str, ReplicaModel], loops: Loops) -> None:
        """Play with the given loops; the tightest SLO of all profiles is the SLA, since the planner knows one."""
        super().__init__(policy)
        self._loops = loops
        self._ttft_s = min(profile.slo.ttft for profile in policy.profiles) * loops.sla_factor
        self._itl_s = min(profile.slo.itl for profile in policy.profiles) * loops.sla_factor
        self._engines = {v.name: engine_of(models[v.name]) for v in policy.variants}
        self._floor: dict[Role, int] = {}
        self._counts: list[float] = []
        self._inputs: list[float] = []
        self._outputs: list[float] = []
        self._planned = Instant(0.0)

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Run the throughput loop when it is due, and the load loop."""
        sights = {s.variant.name: s for s in self.sights(at, observed)}
        firsts = [self.policy.pool(role)[0].name for role in Role if self.policy.pool(role)]
        pools = {sights[name].variant.role: sights[name] for name in firsts if name in sights}
        flow = see.traffic(observed.loads)
        if at >= self._planned + self._loops.interval and self._loops.easy is None and flow.requests_per_second > 0:
            self._planned = at
            self._forecast(flow, pools)
        if any(s.requested != s.ready or len(s.engines) != s.ready for s in pools.values()):
            return {}  # scaling in progress: held
        moved = {s.variant.name: self._load(role, s, flow) for role, s in pools.items() if s.ready}
        return {name: bounded(self.policy.variant(name), replicas) for name, replicas in moved.items()}

    def _forecast(self, flow: Traffic, pools: Mapping[Role, Sight]) -> None:
        """Set the floor of the load loop from the rate, and the lengths, forecast one interval ahead."""
        self._counts.append(flow.requests_per_second * self._loops.interval)
        self._inputs.append(flow.input_tokens)
        self._outputs.append(flow.output_tokens)
        predict = dynamo_forecast.Kalman().forecast
        rate = predict(self._counts) / self._loops.interval
        shape = _shape(predict(self._inputs), predict(self._outputs), flow)
        for role, shown in pools.items():
            engine = self._engines[shown.variant.name]
            capacities = []
            if role.prefills:
                capacities.append(dynamo_capacity.prefill_capacity(engine, shape, self._ttft_s).rps)
            if role.decodes:
                capacities.append(dynamo_capacity.decode_capacity(engine, shape, self._itl_s).rps)
            self._floor[role] = dynamo_capacity.replicas(rate, min(capacities), shown.requested)

    def _load(self, role: Role, shown: Sight, flow: Traffic) -> int:
        shape = _shape(flow.input_tokens, flow.output_tokens, flow)
        if self._loops.easy is not None:
            return self._easy(role, shown, shape, self._loops.easy)
        engine, wishes = self._engines[shown.variant.name], []
        if role.prefills:
            queued = [_queued_prompts(e) * shape.input_tokens for e in shown.engines]
            wishes.append(dynamo_load.prefill(engine, shape, queued, ttft_s=self._ttft_s, ready=shown.ready))
        if role.decodes:
            context = shape.input_tokens + shape.output_tokens / 2
            states = [
                dynamo_load.DecodeState(_requests(e), known(e.kv_use_ratio, 0.0) * engine.max_kv_tokens)
                for e in shown.engines
            ]
            wishes.append(dynamo_load.decode(engine, context, states, itl_s=self._itl_s, ready=shown.ready))
        return max(self._floor.get(role, 1), *wishes)

    def _easy(self, role: Role, shown: Sight, shape: Shape, target: dynamo_load.Target) -> int:
        wishes = []
        if role.prefills:
            context = max(1, shape.input_tokens)
            queued = [_queued_prompts(e) * shape.input_tokens / context for e in shown.engines]
            wishes.append(dynamo_load.easy(dynamo_load.Kind.PREFILL, target, queued, shown.ready))
        if role.decodes:
            use = [known(e.kv_use_ratio, 0.0) for e in shown.engines]
            wishes.append(dynamo_load.easy(dynamo_load.Kind.DECODE, target, use, shown.ready))
        return max(wishes)


def _shape(inputs: float, outputs: float, flow: Traffic) -> Shape:
    return Shape(max(1, math.ceil(inputs)), max(1, math.ceil(outputs)), 1.0 - flow.uncached_share)


def _queued_prompts(engine: EngineLoad) -> float:
    """Return prompts that wait on an engine; one that reports nothing has none, as its event stream would say."""
    return known(engine.waiting, 0.0)


def _requests(engine: EngineLoad) -> float:
    return known(engine.running, 0.0) + known(engine.waiting, 0.0)
