"""What a monitoring system would have seen: scrapes every few seconds, rates over a window, gaps where they are.

Demand comes from the picker's counters (offered, not served), uncached tokens and step times from the engines. Nothing
is known that a scrape could not have told.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from autoscaler.domain.fleet import PodState
from autoscaler.domain.observation import (
    UNREAD,
    EngineLoad,
    Latency,
    ModelObservation,
    Moments,
    Observation,
    ProfileLoad,
)
from autoscaler.domain.policy import SchedulerKind
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import Gap, GapReason, Missing, Signal, mapped
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant
from autoscaler.errors import ObservationError
from autoscaler.performance.buckets import share_within
from autoscaler.simulate.engine import Engine
from autoscaler.simulate.environment import LATE, Environment
from autoscaler.simulate.fleet import Fleet
from autoscaler.simulate.meters import ITL_BOUNDS, TTFT_BOUNDS, ProfileSample
from autoscaler.simulate.pods import SimulatedPod
from autoscaler.simulate.settings import Scraping
from autoscaler.simulate.traffic import Traffic

SERVING = (PodState.READY, PodState.DRAINING, PodState.TERMINATING)

PEAK_WINDOW_S = 60.0  # queues are read by their maximum over so long, as the real path reads them

Counters: TypeAlias = tuple[float, ...]
(REQUESTS, PROMPT, COMPUTED, OUTPUT, GAPS, GAP_S, PREFILLS, PREFILL_S, QUEUE_S, TTFT_S, PREEMPTIONS) = range(11)

Gauges: TypeAlias = tuple[int, int, int, float]
"""Requests running, waiting and deferred, and the share of KV memory in use."""

EngineSample: TypeAlias = tuple[Counters, Gauges]
"""What one scrape of an engine tells."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """All series at one moment."""

    at: float
    profiles: tuple[ProfileSample, ...]
    engines: Mapping[str, EngineSample]


class Scraper:
    """Scrapes a cluster and answers with observations. The switches are for faults."""

    def __init__(self, env: Environment, fleet: Fleet, traffic: Traffic, scraping: Scraping) -> None:
        """Scrape the engines of a fleet and the picker of its traffic from now on."""
        self.down = False  # nobody answers queries
        self.skipping = False  # no scrape succeeds
        self.frozen = False  # scrapes succeed and repeat the same values
        self.hides: Callable[[SimulatedPod], bool] = lambda _: False  # pods whose series are missing
        self._env = env
        self._fleet = fleet
        self._traffic = traffic
        self._scraping = scraping
        kept = int((scraping.window + scraping.delay + scraping.stale_after) / scraping.interval) + 3
        self._scrapes: deque[Scrape] = deque(maxlen=kept)
        env.at(env.now, self._scrape, None, LATE)

    def forget(self) -> None:
        """Lose all samples (a Prometheus that restarts without its disk)."""
        self._scrapes.clear()

    def _scrape(self, _: None) -> None:
        now = self._env.now
        self._env.at(now + self._scraping.interval, self._scrape, None, LATE)
        if self.skipping:
            return
        if self.frozen and self._scrapes:
            last = self._scrapes[-1]
            self._scrapes.append(Scrape(now, last.profiles, last.engines))
            return
        engines = {}
        for name, pod in self._fleet.pods.items():
            if pod.state in SERVING and not self.hides(pod):
                pod.engine.advance(now)
                engines[name] = sampled(pod.engine)
        self._scrapes.append(Scrape(now, tuple(meters.snapshot() for meters in self._traffic.meters), engines))

    def observation(self, now: Instant) -> Observation:
        """Return what the scrapes tell at ``now``.

        Raises:
            ObservationError: nobody answers.
        """
        if self.down:
            msg = "the simulated Prometheus does not answer; it is switched off by a fault of the scenario"
            raise ObservationError(msg)
        policy = self._fleet.policy
        seen = [scrape for scrape in self._scrapes if scrape.at <= now - self._scraping.delay]
        newest = seen[-1].at if seen else 0.0
        gap = self._gap(seen, now)
        window = [scrape for scrape in seen if scrape.at >= newest - self._scraping.window - 1e-6]
        alone = None if len(window) > 1 else Missing(GapReason.ABSENT, Instant(self._env.now), "fewer than two scrapes")
        loads = Loads(self._fleet, self._traffic, window, gap or alone)
        fleet = {variant.name: self._fleet.workload(variant.name) for variant in policy.variants}
        model = ModelObservation(
            policy=policy.key,
            loads=MappingProxyType(loads.by_profile()),
            fleet=MappingProxyType(fleet),
            engines=MappingProxyType(loads.by_pod()),
            unmatched_share=gap or 0.0,
            membership=UNREAD if policy.scheduler.kind is SchedulerKind.NONE else self._traffic.membership(),
        )
        gaps = ((Gap("scrape", "", gap),) if gap else ()) + tuple(loads.partial(newest))
        return Observation(now, MappingProxyType({policy.key: model}), gaps)

    def _gap(self, seen: Sequence[Scrape], now: Instant) -> Missing | None:
        if not seen:
            return Missing(GapReason.ABSENT, Instant(0.0), "no scrape yet")
        if seen[-1].at < now - self._scraping.delay - self._scraping.stale_after:
            return Missing(GapReason.STALE, Instant(seen[-1].at), "scrapes fail")
        return None


def sampled(engine: Engine) -> EngineSample:
    """Return what a scrape of an engine tells now."""
    m = engine.meters
    return (
        (m.requests, m.prompt_tokens, m.computed_tokens, m.output_tokens, m.gaps, m.gap_s, m.prefills, m.prefill_s,
         m.queue_s, m.ttft_s, m.preemptions),
        (engine.running, engine.waiting, engine.transferring, engine.kv_use_ratio),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Series:
    """One engine's samples within a window, oldest first."""

    times: Sequence[float]
    gauges: Sequence[Gauges]
    risen: Sequence[float]  # how much each counter rose from the first sample to the last


class Loads:
    """Reads a window of scrapes."""

    def __init__(self, fleet: Fleet, traffic: Traffic, window: Sequence[Scrape], gap: Missing | None) -> None:
        """Read ``window``; with a ``gap``, everything is missing for that reason."""
        self._fleet = fleet
        self._traffic = traffic
        self._window = window
        self._gap = gap
        self._series = {} if self._gap else self._by_pod()

    def by_profile(self) -> dict[str, ProfileLoad]:
        """Return the load of every profile of the policy."""
        index = {name: i for i, name in enumerate(self._traffic.trace.profiles)}
        uncached = self._uncached_share()
        held = [request.profile for request in self._traffic.held]
        return {
            profile.name: self._profile(profile.name, profile.slo, index.get(profile.name), uncached, held)
            for profile in self._fleet.policy.profiles
        }

    def _profile(
        self, name: str, slo: SLO, index: int | None, uncached: Signal[float], held: Sequence[int]
    ) -> ProfileLoad:
        if self._gap is not None:
            return missing_load(name, self._gap)
        if index is None:
            return idle_load(name, Instant(self._window[-1].at))
        first, last = self._window[0].profiles[index], self._window[-1].profiles[index]
        seconds = self._window[-1].at - self._window[0].at
        requests, prompts, prompt_squares, finished, outputs, output_squares, ttft_s, itl_s = risen(first[0], last[0])
        prompt_tokens = self._moments(requests, prompts, prompt_squares)
        output_tokens = self._moments(finished, outputs, output_squares)
        rate = requests / seconds
        prompt_rate = prompts / seconds
        idle = requests == 0
        return ProfileLoad(
            profile=name,
            requests_per_second=rate,
            prompt_tokens_per_second=prompt_rate,
            uncached_prompt_tokens_per_second=0.0 if idle else mapped(uncached, lambda share: share * prompt_rate),
            output_tokens_per_second=0.0 if idle else mapped(output_tokens, lambda moments: rate * moments.mean),
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            ttft=self._latency(TTFT_BOUNDS, risen(first[1], last[1]), ttft_s, slo.ttft),
            itl=self._latency(ITL_BOUNDS, risen(first[2], last[2]), itl_s, slo.itl),
            queued_requests=float(held.count(index)),
        )

    def _moments(self, count: float, total: float, squares: float) -> Signal[Moments]:
        if count <= 0:
            return Missing(GapReason.NOT_A_NUMBER, Instant(self._window[-1].at), "no request in the window")
        return Moments(total / count, squares / count)

    def _latency(
        self, bounds: Sequence[float], counts: Sequence[float], total_s: float, limit_s: float
    ) -> Signal[Latency]:
        count = sum(counts)
        if count <= 0:
            return Missing(GapReason.NOT_A_NUMBER, Instant(self._window[-1].at), "no observation in the window")
        p50, p90, p99 = (quantile(bounds, counts, q) for q in (0.5, 0.9, 0.99))
        return Latency(total_s / count, p50, p90, p99, share_within(bounds, counts, total_s / count, limit_s), count)

    def _uncached_share(self) -> Signal[float]:
        """Return the share of prompt tokens that engines had to compute: one figure for all profiles."""
        if self._gap is not None:
            return self._gap
        prompts = computed = 0.0
        for pod, series in self._series.items():
            if self._fleet.pods[pod].variant.role is not Role.DECODE:
                prompts += series.risen[PROMPT]
                computed += series.risen[COMPUTED]
        if prompts <= 0:
            return Missing(GapReason.NOT_A_NUMBER, Instant(self._window[-1].at), "no prompt was finished in the window")
        return min(1.0, computed / prompts)

    def _by_pod(self) -> dict[str, Series]:
        """Return the samples of each pod that still exists."""
        told: dict[str, list[tuple[float, EngineSample]]] = {}
        for scrape in self._window:
            for pod, sample in scrape.engines.items():
                told.setdefault(pod, []).append((scrape.at, sample))
        return {pod: _series(samples) for pod, samples in told.items() if pod in self._fleet.pods}

    def by_pod(self) -> dict[str, EngineLoad]:
        """Return the load of every engine that was scraped in the window."""
        return {pod: self._engine(pod, series) for pod, series in self._series.items()}

    def _engine(self, pod: str, series: Series) -> EngineLoad:
        times, change, count = series.times, series.risen, len(series.times)
        at, seconds = times[-1], times[-1] - times[0]
        alone = Missing(GapReason.ABSENT, Instant(at), "fewer than two samples")
        idle = Missing(GapReason.NOT_A_NUMBER, Instant(at), "nothing happened in the window")
        running, waiting, deferred, kv_use = zip(*series.gauges, strict=True)
        recent = bisect_left(times, at - PEAK_WINDOW_S)

        def per_second(counter: int) -> Signal[float]:
            return change[counter] / seconds if seconds > 0 else alone

        def mean(total: int, count: int) -> Signal[float]:
            return change[total] / change[count] if change[count] > 0 else idle

        return EngineLoad(
            pod=pod,
            running=sum(running) / count,
            waiting=max(waiting[recent:]),
            deferred=max(deferred[recent:]),
            kv_use_ratio=sum(kv_use) / count,
            kv_capacity_tokens=self._fleet.pods[pod].engine.model.limits.kv_capacity_tokens,
            prompt_tokens_per_second=per_second(PROMPT),
            computed_prompt_tokens_per_second=per_second(COMPUTED),
            output_tokens_per_second=per_second(OUTPUT),
            requests_per_second=per_second(REQUESTS),
            itl_mean_s=mean(GAP_S, GAPS),
            prefill_mean_s=mean(PREFILL_S, PREFILLS),
            queue_mean_s=mean(QUEUE_S, PREFILLS),
            ttft_mean_s=mean(TTFT_S, REQUESTS),
            preemptions_per_second=per_second(PREEMPTIONS),
            newest_sample=Instant(at),
        )

    def partial(self, newest: float) -> list[Gap]:
        """Return a gap for every pod that has served for longer than the newest scrape is old and has no series."""
        if self._gap is not None or not self._window:
            return []
        here = self._window[-1].engines
        silent = [
            name
            for name, pod in self._fleet.pods.items()
            if pod.state in SERVING and name not in here and (pod.ready_since or 0.0) < newest
        ]
        return [Gap("engine", pod, Missing(GapReason.PARTIAL, Instant(newest), "no series")) for pod in silent]


def _series(samples: Sequence[tuple[float, EngineSample]]) -> Series:
    (_, (first, _)), (_, (last, _)) = samples[0], samples[-1]
    return Series([at for at, _ in samples], [gauges for _, (_, gauges) in samples], risen(first, last))


def risen(first: Sequence[float], last: Sequence[float]) -> list[float]:
    """Return how much counters rose; one that fell was reset and counts from zero."""
    return [after - before if after >= before else after for before, after in zip(first, last, strict=True)]


def quantile(bounds: Sequence[float], counts: Sequence[float], q: float) -> float:
    """Return a quantile of a histogram, interpolated in its bucket as Prometheus does."""
    rank = q * sum(counts)
    below = 0.0
    for lower, upper, count in zip((0.0, *bounds), bounds, counts, strict=False):
        if count > 0 and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return bounds[-1]


def missing_load(profile: str, gap: Missing) -> ProfileLoad:
    """Return a load of which nothing is known."""
    return ProfileLoad(profile, gap, gap, gap, gap, gap, gap, gap, gap, gap)


def idle_load(profile: str, at: Instant) -> ProfileLoad:
    """Return the load of a profile that the picker has counted nothing for."""
    nothing = Missing(GapReason.NOT_A_NUMBER, at, "no request in the window")
    return ProfileLoad(profile, 0.0, 0.0, 0.0, 0.0, nothing, nothing, nothing, nothing, 0.0)
