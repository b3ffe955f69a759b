"""What each profile of one policy offers, and how it is served: from the picker's series, else from engine totals."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from autoscaler.domain.observation import Latency, Moments, ProfileLoad
from autoscaler.domain.policy import MetricsSource, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing, Signal, combined, mapped
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe import coverage
from autoscaler.observe.catalogue import PICKER_READINGS, POD, Windows
from autoscaler.observe.engines import Engines, decodes, prefills
from autoscaler.observe.profiles import ProfileTable
from autoscaler.observe.samples import Histogram, Row, Snapshot, as_signal, grouped, ratio, slope, total

USAGE_RATIO = (0.9, 1.05)
"""Token observations per finished response between which the picker's token histograms can be believed.

Through v0.10.0 they are observed once per chunk that carries usage: up to 146 times a response."""

MORE_FINISHED_THAN_CAME = 1.5
"""How many times more requests may finish than came or were inside before the picker's count is disbelieved."""

_ENGINES_ONLY = frozenset({MetricsSource.VLLM, MetricsSource.SGLANG})


@dataclass(slots=True)
class _Inferred:
    """The fields of one profile that were taken from totals of all profiles."""

    fields: list[str] = field(default_factory=list)

    def note(self, name: str) -> None:
        self.fields.append(name)


class Loads:
    """The profiles of one policy at one moment."""

    def __init__(
        self, table: ProfileTable, snapshot: Snapshot, engines: Engines, windows: Windows, stale_after: Seconds
    ) -> None:
        """Take the rows of the picker that are of the policy, and its engines."""
        self._table = table
        self._policy: SLOPolicy = table.policy
        self._snapshot = snapshot
        self._engines = engines
        self._windows = windows
        self._stale_after = stale_after
        self._variants = {variant.name: variant.role for variant in self._policy.variants}
        readings = () if self._policy.metrics.source in _ENGINES_ONLY else tuple(r.name for r in PICKER_READINGS)
        self._owned = {name: table.owned(snapshot, name) for name in readings}
        self._split = {name: table.split(rows, snapshot.keys) for name, rows in self._owned.items()}
        self._has_picker = any(self._owned.values()) or self._policy.metrics.source is MetricsSource.EPP_VLLM

    def all(self) -> dict[str, ProfileLoad]:
        """Return the load of every profile."""
        return {profile.name: self._load(profile.name) for profile in self._policy.profiles}

    def unmatched_share(self) -> Signal[float]:
        """Return the share of requests that no match named; without a picker nothing tells requests apart: all."""
        if not self._has_picker:
            return mapped(self._engine_total(), lambda _: 1.0)
        if gap := self._picker_gap("requests"):
            return gap
        rows = self._owned["requests"]
        unmatched = math.fsum(row.value for row in rows if not self._table.attribute(row).matched)
        return as_signal(ratio(unmatched, total(rows)), self._snapshot.at, "share of unmatched requests")

    def _load(self, profile: str) -> ProfileLoad:
        inferred = _Inferred()
        requests = self._requests(profile)
        prompt = self._lengths(profile, "prompt", requests, inferred)
        output = self._lengths(profile, "output", requests, inferred)
        prompt_rate = _product(requests, prompt)
        slo = self._policy.profile(profile).slo
        return ProfileLoad(
            profile=profile,
            requests_per_second=requests,
            prompt_tokens_per_second=prompt_rate,
            uncached_prompt_tokens_per_second=self._uncached(prompt_rate),
            output_tokens_per_second=_product(requests, output),
            prompt_tokens=prompt,
            output_tokens=output,
            ttft=self._own_latency(profile, "ttft", slo.ttft) or self._engine_ttft(requests, slo.ttft, inferred),
            itl=self._itl(profile, requests, slo.itl, inferred),
            queued_requests=self._queued(profile),
            inferred=tuple(inferred.fields),
        )

    def _requests(self, profile: str) -> Signal[float]:
        """Return requests per second as offered."""
        if not self._has_picker:
            # nothing tells requests apart: they all count as the default's
            everything = self._engine_total()
            return everything if profile == self._table.default else mapped(everything, lambda _: 0.0)
        if gap := self._picker_gap("requests", "flow_arrivals", "flow_queue") or self._rates_gap():
            return gap
        if gap := self._contradiction():
            return gap
        if self._owned["flow_arrivals"]:  # requests queue in the picker before they count as dispatched
            left = math.fsum(row.value for row in self._split["flow_arrivals"][profile])
            return max(0.0, left + (slope(self._split["flow_queue"][profile]) or 0.0))
        # a series appears with the first request: where others are fresh, its absence means none came
        return math.fsum(row.value for row in self._split["requests"][profile])

    def _engine_total(self) -> Signal[float]:
        readings = ("engine_newest", "finished", "running_trail", "waiting_trail")
        if gap := self._snapshot.failure(*readings) or self._engines.gap(prefills, self._variants):
            return gap
        if gap := self._engines.rates_gap(prefills):
            return gap
        return as_signal(self._engines.offered(), self._snapshot.at, "finished requests of the engines")

    def _picker_gap(self, *readings: str) -> Missing | None:
        """Return why the picker's series cannot be believed now: not asked, gone, stale, or seen only once."""
        at = self._snapshot.at
        if failure := self._snapshot.failure("picker_newest", *readings):
            return failure
        # of several pickers the one heard longest ago: a silent one takes its share of the requests with it
        by_picker = grouped(self._owned["picker_newest"], (POD,)).values()
        newest = min((max(row.value for row in rows) for rows in by_picker), default=None)
        if newest is None:
            return Missing(GapReason.ABSENT, at, f"no picker series of {self._policy.model} at present")
        if at - newest > self._stale_after:
            return Missing(GapReason.STALE, Instant(newest), f"newest picker sample is {at - newest:.0f} s old")
        if not self._owned["requests"]:
            return Missing(GapReason.ABSENT, at, "the picker has been seen only once so far")
        return None

    def _rates_gap(self) -> Missing | None:
        """Return why the picker's rates cannot be believed: samples leave too much of the window open.

        A picker without samples before the window is new, and counts from 0. One that seems new beside engines that
        are not is none: nobody scraped.
        """
        if failure := self._snapshot.failure("picker_times", "picker_before"):
            return failure
        times, now, before = (
            {pod: rows for (pod,), rows in grouped(self._owned[name], (POD,)).items()}
            for name in ("picker_times", "picker_newest", "picker_before")
        )
        at, window = self._snapshot.at, self._windows.fast
        targets = coverage.of_targets(times, now, at, window)
        if targets.keys().isdisjoint(before) and coverage.gap(targets, at, window):
            return self._engines.rates_gap(lambda _: True)
        return coverage.gap({pod: found for pod, found in targets.items() if pod in before}, at, window)

    def _contradiction(self) -> Missing | None:
        """Return a gap where engines finish more than the picker sent and they held: it does not see all traffic."""
        finished, held = total(self._engines.on(prefills, "finished")), self._engines.in_flight()
        if finished is None or held is None:
            return None
        came = max(math.fsum(row.value for row in self._owned[name]) for name in ("requests", "flow_arrivals"))
        explained = came + held / self._windows.fast
        if finished * self._windows.fast < 10.0 or finished <= MORE_FINISHED_THAN_CAME * explained:
            return None
        detail = f"engines finish {finished:.2f} requests/s, the picker sends {came:.2f}"
        return Missing(GapReason.INCONSISTENT, self._snapshot.at, detail)

    def _lengths(self, profile: str, kind: str, requests: Signal[float], inferred: _Inferred) -> Signal[Moments]:
        """Return the moments of a profile's lengths; of all profiles together where its own are not to be had."""
        if own := self._own_lengths(profile, kind):
            return own
        if isinstance(requests, Missing):
            return requests
        if requests == 0.0:
            return Missing(GapReason.NOT_A_NUMBER, self._snapshot.at, f"no request of {profile} finished")
        side = prefills if kind == "prompt" else decodes
        if gap := self._snapshot.failure(f"engine_{kind}_sum") or self._engines.gap(side, self._variants):
            return gap
        found = self._engines.lengths(kind, side)
        if found is None:
            return Missing(GapReason.NOT_A_NUMBER, self._snapshot.at, f"no {kind} lengths: nothing finished")
        inferred.note(f"{kind}_tokens")
        return found

    def _own_lengths(self, profile: str, kind: str) -> Moments | None:
        """Return what the picker says of a profile's lengths, if it can be believed (see ``USAGE_RATIO``)."""
        if not self._has_picker or self._snapshot.failure("durations"):
            return None
        histogram = Histogram.of(self._split[f"{kind}_tokens_bucket"][profile])
        summed = total(self._split[f"{kind}_tokens_sum"][profile])
        responses = total(self._split["durations"][profile])
        if histogram is None or summed is None or not responses or not histogram.total > 0.0:
            return None
        low, high = USAGE_RATIO
        if not low <= histogram.total / responses <= high:
            return None
        return histogram.moments(summed / histogram.total)

    def _uncached(self, prompt_rate: Signal[float]) -> Signal[float]:
        if prompt_rate == 0.0 or isinstance(prompt_rate, Missing):
            return prompt_rate
        if gap := self._engines.gap(prefills, self._variants):
            return gap
        hit_rate = as_signal(self._engines.hit_rate(), self._snapshot.at, "prefix hit rate of the prefill pods")
        return combined(lambda tokens, share: tokens * (1.0 - share), prompt_rate, hit_rate)

    def _own_latency(self, profile: str, name: str, limit: Seconds) -> Latency | None:
        """Return what the picker measured; None where it has no series for it or nothing happened."""
        if not self._has_picker or self._picker_gap(f"{name}_sum", f"{name}_bucket"):
            return None
        histogram = Histogram.of(self._split[f"{name}_bucket"][profile])
        return self._latency(histogram, total(self._split[f"{name}_sum"][profile]), limit)

    def _latency(
        self, histogram: Histogram | None, summed: float | None, limit: Seconds, shift: float = 0.0
    ) -> Latency | None:
        if histogram is None or summed is None or not histogram.total > 0.0:
            return None
        mean = summed / histogram.total
        return Latency(
            mean_s=mean + shift,
            p50_s=histogram.quantile(0.5) + shift,
            p90_s=histogram.quantile(0.9) + shift,
            p99_s=histogram.quantile(0.99) + shift,
            within_slo=histogram.share_within(limit - shift, mean),
            count=histogram.total * self._windows.fast,
        )

    def _engine_ttft(self, requests: Signal[float], limit: Seconds, inferred: _Inferred) -> Signal[Latency]:
        """Return TTFT over all profiles: of unified pods as it is, of prefill pods shifted by the mean of decode.

        Means of the two add up, quantiles do not: the hand-over is taken as constant (measured, H200 and NIXL: 38 ms
        of transfer; p90 of hand-over and first step 60 ms above its mean).
        """
        if gap := self._idle_or_silent(requests, prefills, *_read("engine_ttft")):
            return gap
        decode = ratio(
            total(self._engines.on(_only(Role.DECODE), "engine_ttft_sum")),
            total(self._engines.on(_only(Role.DECODE), "engine_ttft_count")),
        )
        unified, prefill = self._ttft_on(Role.UNIFIED, limit), None
        if decode is not None and not math.isnan(decode):
            prefill = self._ttft_on(Role.PREFILL, limit, decode)
        elif self._ttft_on(Role.PREFILL, limit) is not None:
            detail = "no first token came from the decode pods"
            return Missing(GapReason.NOT_A_NUMBER, self._snapshot.at, detail)
        return self._noted(_together([part for part in (unified, prefill) if part is not None]), "ttft", inferred)

    def _ttft_on(self, role: Role, limit: Seconds, shift: float = 0.0) -> Latency | None:
        """Return TTFT on the pods of a role, later by a shift; None if nothing was observed there."""
        summed = total(self._engines.on(_only(role), "engine_ttft_sum"))
        return self._latency(self._engines.histogram(_only(role), "engine_ttft"), summed, limit, shift)

    def _itl(self, profile: str, requests: Signal[float], limit: Seconds, inferred: _Inferred) -> Signal[Latency]:
        """Return ITL with the profile's own mean; its distribution from whichever histogram resolves the limit better.

        Profiles share the batches of decode, so their gaps differ little, while a picker's bucket from 20 to 40 ms
        may hold most of them: at 30 ms it read 0.6 where 0.97 was true, the engines' bounds at 25 and 50 ms read 0.96.
        """
        own = self._own_latency(profile, "itl", limit)
        if own is None:
            return self._engine_itl(requests, limit, inferred)
        mine = Histogram.of(self._split["itl_bucket"][profile])
        guessed = 0.0 if mine is None else mine.guessed_at(limit)
        if guessed == 0.0 or self._engines.gap(decodes, self._variants):
            return own
        engine = self._engines.histogram(decodes, "engine_itl")
        if engine is None or not engine.total > 0.0 or engine.guessed_at(limit) >= guessed:
            return own
        inferred.note("itl")
        shared = self._latency(engine, engine.total * own.mean_s, limit)
        return own if shared is None else replace(shared, count=own.count)

    def _engine_itl(self, requests: Signal[float], limit: Seconds, inferred: _Inferred) -> Signal[Latency]:
        if gap := self._idle_or_silent(requests, decodes, *_read("engine_itl")):
            return gap
        histogram = self._engines.histogram(decodes, "engine_itl")
        found = self._latency(histogram, total(self._engines.on(decodes, "engine_itl_sum")), limit)
        return self._noted(found, "itl", inferred)

    def _idle_or_silent(self, requests: Signal[float], side: Callable[[Role], bool], *readings: str) -> Missing | None:
        if isinstance(requests, Missing):
            return requests
        if requests == 0.0:  # others' latencies say nothing of a profile without requests
            return Missing(GapReason.NOT_A_NUMBER, self._snapshot.at, "no request in the window")
        return self._snapshot.failure(*readings) or self._engines.gap(side, self._variants)

    def _noted(self, found: Latency | None, name: str, inferred: _Inferred) -> Signal[Latency]:
        if found is None:
            return Missing(GapReason.NOT_A_NUMBER, self._snapshot.at, f"nothing from which to compute {name}")
        inferred.note(name)
        return found

    def _queued(self, profile: str) -> Signal[float]:
        """Return the requests that flow control holds now; where it is off, or never queued, that is not known."""
        at = self._snapshot.at
        if failure := self._snapshot.failure("flow_queue"):
            return failure
        rows: Sequence[Row] = self._owned.get("flow_queue", [])
        newest = max((row.at for row in rows), default=None)
        if newest is None:
            return Missing(GapReason.ABSENT, at, "no flow-control series: the gate is off, or nothing queued yet")
        return math.fsum(row.value for row in self._split["flow_queue"][profile] if row.at == newest)


@functools.cache
def _only(chosen: Role) -> Callable[[Role], bool]:
    return lambda role: role is chosen


def _together(parts: Sequence[Latency]) -> Latency | None:
    """Return the latency over the requests of several parts; a quantile of all is at most the largest of theirs."""
    count = math.fsum(part.count for part in parts)
    if not count > 0.0:
        return None
    return Latency(
        mean_s=math.fsum(part.count * part.mean_s for part in parts) / count,
        p50_s=max(part.p50_s for part in parts),
        p90_s=max(part.p90_s for part in parts),
        p99_s=max(part.p99_s for part in parts),
        within_slo=math.fsum(part.count * part.within_slo for part in parts) / count,
        count=count,
    )


def _read(histogram: str) -> tuple[str, ...]:
    """Return the readings that a histogram of the engines cannot do without."""
    return tuple(f"{histogram}_{part}" for part in ("sum", "count", "bucket"))


def _product(requests: Signal[float], lengths: Signal[Moments]) -> Signal[float]:
    """Return tokens per second; without requests there are none, whatever their length would be."""
    if requests == 0.0:
        return 0.0
    return requests if isinstance(requests, Missing) else mapped(lengths, lambda length: requests * length.mean)
