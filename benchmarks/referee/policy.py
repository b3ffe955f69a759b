"""The production Decider as a policy of the referee: gateway counts become profile loads, its engines a fleet.

Timing of engines enters only as a controller could know it: a physics prior of accelerator and model, corrected online
by the forward passes that the engines report. The referee's own table is never read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scipy.special import ndtr

from autoscaler.decider import Decider
from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.observation import EngineLoad, Latency, ModelObservation, Moments, Observation, ProfileLoad
from autoscaler.domain.policy import Behavior, Mode, ScalingRules, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import RequestProfile
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.accelerators import accelerator
from autoscaler.performance.calibrate import WARM_UP
from autoscaler.performance.prior import Prior, Serving, physics_prior
from autoscaler.performance.shapes import built_in
from autoscaler.performance.step import Handover
from autoscaler.plan.parts import ALL, Parts

TICK_MS = 5_000.0
POLICY = "referee/model"
ROLES = {"prefill": Role.PREFILL, "decode": Role.DECODE}
LENGTH_MEMORY_S = 600.0
LONG_AGO = Instant(-WARM_UP)
"""Since when a scenario's first replicas serve: it says that they are up, and its engines are never cold."""
ALONE_ERROR = 0.1  # of what is known of the unloaded TTFT, relative
RESOLVED = 0.003  # share of misses that an estimate has to tell from none
RARE = 1e-6  # requests per second: the one pass that is reported teaches as a prompt that came alone


@dataclass(slots=True)
class Lengths:
    """First two moments of a token count, from sums over ticks: sum of n lengths varies n times as much as one."""

    count: float = 0.0
    total: float = 0.0
    scatter: float = 0.0  # sum over ticks of (sum - n * mean)^2 / n
    ticks: float = 0.0

    def add(self, number: int, total: float, dt: float) -> None:
        """Take in ``number`` lengths with their sum, seen within the last ``dt`` seconds."""
        keep = math.exp(-dt / LENGTH_MEMORY_S)
        self.count, self.total = self.count * keep, self.total * keep
        self.scatter, self.ticks = self.scatter * keep, self.ticks * keep
        if number <= 0:
            return
        if self.count > 0:
            self.scatter += (total - number * self.total / self.count) ** 2 / number
            self.ticks += 1
        self.count, self.total = self.count + number, self.total + total

    def moments(self, at: Instant) -> Signal[Moments]:
        """Return mean and mean square; before five ticks as of an exponential distribution."""
        if self.count <= 0:
            return Missing(GapReason.ABSENT, at)
        mean = self.total / self.count
        variance = self.scatter / self.ticks if self.ticks >= 5 else mean**2
        return Moments(mean, mean**2 + variance)


@dataclass(frozen=True, slots=True)
class Served:
    """How requests are served, as far as the referee tells: it gives means over all profiles only.

    A gateway counts each request; here the shares inside the limits are estimated from the means of each tick: waits as
    at a server that is busy half of the time (``_late``), mean ITLs of requests as normal with a tenth of their mean as
    deviation.
    """

    slo: Mapping[str, SLO]
    alone_s: Mapping[str, float]  # unloaded TTFT by profile
    mean_alone_s: float  # of the mix
    mean_wait_s: float | None  # beyond that, since the last tick
    mean_itl_s: float | None
    count: float

    def ttft(self, profile: str, at: Instant) -> Signal[Latency]:
        """Return the TTFT of a profile; Missing where the means cannot tell its misses from none."""
        if self.mean_wait_s is None:
            return Missing(GapReason.NOT_A_NUMBER, at)
        room = max(1e-3, self.slo[profile].ttft - self.alone_s[profile])
        if _late(ALONE_ERROR * self.mean_alone_s, room) > RESOLVED:
            return Missing(GapReason.INCONSISTENT, at, "means over all profiles do not tell the misses of this one")
        return _latency(self.mean_wait_s, 1.0 - _late(self.mean_wait_s, room), self.count)

    def itl(self, profile: str, at: Instant) -> Signal[Latency]:
        """Return the ITL of a profile."""
        if not self.mean_itl_s:
            return Missing(GapReason.NOT_A_NUMBER, at)
        return _latency(self.mean_itl_s, float(ndtr((self.slo[profile].itl / self.mean_itl_s - 1.0) / 0.1)), self.count)


def _late(mean_wait_s: float, room_s: float) -> float:
    """Return the share of prompts that wait longer than ``room_s``: half of them wait, for exponential times."""
    return 0.5 * math.exp(-0.5 * room_s / mean_wait_s) if mean_wait_s > 0 else 0.0


def _latency(mean_s: float, within: float, count: float) -> Latency:
    return Latency(mean_s, mean_s, mean_s, mean_s, within, count)


@dataclass(slots=True)
class ProfileCounts:
    """What the gateway told of one profile so far."""

    input: Lengths = field(default_factory=Lengths)
    output: Lengths = field(default_factory=Lengths)

    def load(
        self, profile: str, counts: Mapping[str, int], dt: float, at: Instant, fresh: float, served: Served
    ) -> ProfileLoad:
        """Return the load of a profile: offered rates, lengths seen so far, and how requests were served."""
        self.input.add(counts["requests"], counts["input_tokens"], dt)
        self.output.add(counts.get("completed", 0), counts.get("output_tokens", 0), dt)
        rate, prompt = counts["requests"] / dt, counts["input_tokens"] / dt
        output = self.output.moments(at)
        return ProfileLoad(
            profile=profile,
            requests_per_second=rate,
            prompt_tokens_per_second=prompt,
            uncached_prompt_tokens_per_second=prompt * fresh,
            output_tokens_per_second=output if isinstance(output, Missing) else rate * output.mean,
            prompt_tokens=self.input.moments(at),
            output_tokens=output,
            ttft=served.ttft(profile, at),
            itl=served.itl(profile, at),
            queued_requests=0.0,
        )


class RefereePolicy:
    """Translates between the referee and a Decider."""

    def __init__(
        self,
        scenario: Any,  # noqa: ANN401 - the referee's Scenario, of a package that has no types
        parts: Parts = ALL,
    ) -> None:
        """Begin with what the scenario announces: promises, bounds, prices, and what data sheets say."""
        self.policy = slo_policy(scenario)
        self.decider = Decider([self.policy], {POLICY: priors(scenario)}, period=Seconds(TICK_MS / 1000), parts=parts)
        self.kv_tokens = float(scenario.engine["num_gpu_blocks"] * scenario.engine["block_size"])
        self.counts = {name: ProfileCounts() for name in scenario.slo}
        self.hit_rate = 0.0
        self.mean_alone_s = 0.0
        self.seen: dict[str, Instant] = {}
        self.served: dict[str, Instant] = {}

    def initial_tick_ms(self) -> float:
        """Return the time of the first tick."""
        return TICK_MS

    def on_tick(self, snapshot: dict[str, Any]) -> dict[str, float | int | None]:
        """Decide once."""
        observation = self.observe(snapshot)
        plan = self.decider.decide(observation).models[POLICY]
        wanted = {name: variant.target for name, variant in plan.variants.items()}
        return {
            "target_prefill": wanted["prefill"],
            "target_decode": wanted["decode"],
            "next_tick_ms": snapshot["now_ms"] + TICK_MS,
        }

    def observe(self, snapshot: dict[str, Any]) -> Observation:
        """Return the snapshot in our terms."""
        at = Instant(snapshot["now_ms"] / 1000)
        traffic = snapshot["traffic"]
        dt = traffic["duration_s"] or TICK_MS / 1000
        if traffic["hit_rate_count"]:
            self.hit_rate += min(1.0, dt / 60.0) * (traffic["avg_kv_hit_rate"] - self.hit_rate)
        served = self._served(snapshot, at)
        loads = {
            name: self.counts[name].load(name, counts, dt, at, 1.0 - self.hit_rate, served)
            for name, counts in snapshot["gateway"].items()
        }
        fleet = {pool: self._workload(snapshot, pool, at) for pool in ROLES}
        engines = {
            f"{pool}-{row['worker_id']}": self._engine(row, pool, at)
            for pool in ROLES
            for row in snapshot[f"{pool}_fpm_snapshots"]
        }
        idle = {pod.name for workload in fleet.values() for pod in workload.in_state(PodState.READY)} - engines.keys()
        engines |= {name: idle_engine(name, self.kv_tokens, at) for name in idle}
        return Observation(at, {POLICY: ModelObservation(POLICY, loads, fleet, engines, 0.0)})

    def _served(self, snapshot: Mapping[str, Any], at: Instant) -> Served:
        traffic = snapshot["traffic"]
        model = self.decider.replica_model(POLICY, "prefill")
        alone = {}
        for name in self.counts:
            prompt = self.counts[name].input.moments(at)
            tokens = 0.0 if isinstance(prompt, Missing) else prompt.mean
            fresh = tokens * (1.0 - self.hit_rate)
            alone[name] = float(model.prefill.latency_s(fresh, tokens - fresh) + model.handover.latency_s(tokens))
        step_s = (traffic["avg_itl_ms"] or 0.0) / 1000
        return Served(
            slo={profile.name: profile.slo for profile in self.policy.profiles},
            alone_s={name: seconds + step_s for name, seconds in alone.items()},
            mean_alone_s=self.mean_alone_s,
            mean_wait_s=self._mean_wait(traffic, snapshot["gateway"], alone, step_s),
            mean_itl_s=traffic["avg_itl_ms"] / 1000 if traffic["itl_count"] else None,
            count=float(traffic["ttft_count"]),
        )

    def _mean_wait(
        self,
        traffic: Mapping[str, Any],
        gateway: Mapping[str, Mapping[str, int]],
        alone: Mapping[str, float],
        step_s: float,
    ) -> float | None:
        """Return the mean of TTFT beyond what prompts take alone, over the requests completed since the last tick."""
        done = {name: counts.get("completed", 0) for name, counts in gateway.items()}
        mix, count = sum(done.values()), traffic["ttft_count"]
        if not (mix and count):
            return None
        unloaded = sum(alone[name] * n for name, n in done.items()) / mix + step_s
        self.mean_alone_s += 0.1 * (unloaded - self.mean_alone_s)
        return float(traffic["avg_ttft_ms"]) / 1000 - unloaded

    def _workload(self, snapshot: dict[str, Any], pool: str, at: Instant) -> Workload:
        pods = []
        for state, listed in (
            (PodState.READY, "active"),
            (PodState.STARTING, "starting"),
            (PodState.DRAINING, "draining"),
        ):
            for worker in snapshot[f"{listed}_{pool}_ids"]:
                name = f"{pool}-{worker}"
                found = at <= TICK_MS / 1000
                created = self.seen.setdefault(name, LONG_AGO if found else at)
                if state is PodState.READY:
                    self.served.setdefault(name, LONG_AGO if found else at)
                ready = self.served.get(name)
                pods.append(Pod(name, pool, state, created, scheduled=created, ready_since=ready))
        return Workload(pool, snapshot[f"non_draining_{pool}_count"], tuple(pods))

    def _engine(self, row: dict[str, Any], pool: str, at: Instant) -> EngineLoad:
        decode = pool == "decode"
        absent = Missing(GapReason.ABSENT, at)
        batch = row["num_decode_requests"] if decode else row["num_prefill_requests"]
        wall = row["wall_time"]
        return EngineLoad(
            pod=f"{pool}-{row['worker_id']}",
            running=float(batch),
            waiting=float(row["num_queued_decode"] if decode else row["num_queued_prefill"]),
            deferred=0.0,
            kv_use_ratio=row["sum_decode_kv_tokens"] / self.kv_tokens,
            kv_capacity_tokens=self.kv_tokens,
            prompt_tokens_per_second=absent,
            computed_prompt_tokens_per_second=row["sum_prefill_tokens"] * RARE if not decode else absent,
            output_tokens_per_second=batch / wall if wall and decode else absent,
            requests_per_second=RARE if not decode else absent,
            itl_mean_s=wall if decode and batch else absent,
            prefill_mean_s=wall if not decode and batch else absent,
            queue_mean_s=absent,
            ttft_mean_s=absent,
            preemptions_per_second=absent,
            newest_sample=at,
        )


def idle_engine(pod: str, kv_tokens: float, at: Instant) -> EngineLoad:
    """Return what an engine reports that has not run a pass yet."""
    absent = Missing(GapReason.ABSENT, at)
    return EngineLoad(pod, 0.0, 0.0, 0.0, 0.0, kv_tokens, 0.0, 0.0, 0.0, 0.0, absent, absent, absent, absent, 0.0, at)


def slo_policy(scenario: Any) -> SLOPolicy:  # noqa: ANN401
    """Return the scenario's promises and bounds as a policy."""
    profiles = tuple(
        RequestProfile(name, SLO(Seconds(slo.ttft_ms / 1000), Seconds(slo.itl_ms / 1000), 0.99))
        for name, slo in scenario.slo.items()
    )
    price = scenario.gpu_per_replica * scenario.price_per_gpu_hour
    variants = tuple(
        Variant(
            name=pool,
            role=role,
            target=ScaleTarget("referee", "apps/v1", "Deployment", pool),
            accelerator=scenario.engine["accelerator"],
            accelerators_per_replica=scenario.gpu_per_replica,
            cost_per_replica_hour=price,
            min_replicas=1,
            max_replicas=scenario.max_replicas,
        )
        for pool, role in ROLES.items()
    )
    instant = ScalingRules(Seconds(0.0))
    return SLOPolicy(
        "model", "referee", scenario.engine["model"], profiles, variants, Mode.AUTO, behavior=Behavior(instant, instant)
    )


def make_policy(scenario: Any, parts: Parts = ALL) -> RefereePolicy:  # noqa: ANN401
    """Build a policy, as the referee calls it."""
    return RefereePolicy(scenario, parts)


def priors(scenario: Any) -> dict[str, Prior]:  # noqa: ANN401
    """Return what data sheets and the model's shape say of a replica; sizes of caches as the engine announces them."""
    engine = scenario.engine
    model, _, precision = engine["model"].partition(" ")
    serving = Serving(
        tensor_parallel=scenario.gpu_per_replica,
        weight_bits=8 if precision == "FP8" else 16,
        kv_bits=8 if precision == "FP8" else 16,
        max_sequences=engine["max_num_seqs"],
        max_batched_tokens=engine["max_num_batched_tokens"],
        block_tokens=engine["block_size"],
    )
    prior = physics_prior(accelerator(engine["accelerator"]), built_in(model), serving)
    link = engine["kv_transfer_gbytes_per_s"] * 1e9
    moved = Handover(0.0, engine["kv_bytes_per_token"] / link if link else 0.0)
    limits = replace(prior.model.limits, kv_capacity_tokens=float(engine["num_gpu_blocks"] * engine["block_size"]))
    known = replace(prior, model=replace(prior.model, handover=moved, limits=limits))
    return dict.fromkeys(ROLES, known)
