"""Players whose replicas a HorizontalPodAutoscaler writes: plain HPA, KEDA, llm-d's guides, WVA."""

from collections.abc import Callable, Mapping, Sequence

from autoscaler.backtest.baselines import hpa, keda, llmd, wva_v1, wva_v2
from autoscaler.backtest.baselines.verdict import Proposal, Verdict, Written
from autoscaler.backtest.players import sight as see
from autoscaler.backtest.players.sight import Player, Sight, Traffic
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.policy import Behavior, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import is_present
from autoscaler.domain.units import Instant, Seconds
from autoscaler.performance.step import ReplicaModel
from autoscaler.plan.behavior import Memory

Proposals = Callable[[Sight, Traffic], Sequence[Proposal]]
"""What the metrics of one HPA object propose."""


class HpaPlayer(Player):
    """One HPA object per variant; all use the same kind of metrics."""

    def __init__(self, policy: SLOPolicy, proposals: Proposals, behavior: Behavior | None) -> None:
        """Play with the given metrics and behaviour."""
        super().__init__(policy)
        self._proposals = proposals
        self._objects = {
            v.name: hpa.Autoscaler(max(1, v.min_replicas), v.max_replicas, behavior) for v in policy.variants
        }
        self._memories: dict[str, Memory] = {}

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Sync every object once."""
        flow = see.traffic(observed.loads)
        wanted = {}
        for shown in self.sights(at, observed):
            recommendation = hpa.combined(shown.requested, self._proposals(shown, flow))
            wanted[shown.variant.name] = self.synced(shown, recommendation)
        return wanted

    def synced(self, shown: Sight, recommendation: Written) -> int:
        """Return the replicas that one object writes."""
        name = shown.variant.name
        memory = self._memories.get(name) or Memory.starting(shown.at, shown.requested)
        replicas, self._memories[name] = self._objects[name].sync(recommendation, shown.requested, memory, shown.at)
        return replicas


def pods(shown: Sight, gauge: see.Gauge, target: float) -> Proposal:
    """Return what a Pods metric proposes."""
    return hpa.pods_metric(shown.requested, target, shown.samples(gauge), unready=shown.pending, missing=shown.missing)


def by_concurrency(prefill: float, decode: float) -> Proposals:
    """Aim at requests (running and waiting) per pod of each role; a unified pod counts as one that decodes."""

    def proposals(shown: Sight, _: Traffic) -> Sequence[Proposal]:
        return [pods(shown, see.concurrency, prefill if shown.variant.role is Role.PREFILL else decode)]

    return proposals


def by_saturation(kv: float, queue: float) -> Proposals:
    """Aim at mean KV use and mean queue, the larger proposal wins (HPA of the WVA benchmark)."""

    def proposals(shown: Sight, _: Traffic) -> Sequence[Proposal]:
        return [pods(shown, see.kv_use, kv), pods(shown, see.waiting, queue)]

    return proposals


def by_queue(running: float, *, guarded: bool) -> Proposals:
    """Aim at running requests per replica (llm-d's queue guide; flow control is off in the tunnel, its queue is 0)."""

    def proposals(shown: Sight, _: Traffic) -> Sequence[Proposal]:
        busy = sum(shown.samples(see.running)) * 16.0 / running
        pending = max(0, shown.requested - shown.ready)
        demand = (
            llmd.queue_guard(0.0, busy, pending=pending, replicas=shown.requested)
            if guarded
            else llmd.queue_demand(0.0, busy)
        )
        return [hpa.external_average(shown.existing, demand, 1.0)]

    return proposals


def by_tokens(policy: SLOPolicy, models: Mapping[str, ReplicaModel], threshold_s: float, kv: float) -> Proposals:
    """Aim at seconds of prefill work in flight per replica and at KV use (llm-d's token-aware P/D guide).

    The divisor is calibrated as the guide says: the token budget of a step over the TTFT of an idle stack. The gauge of
    uncached tokens in flight is rebuilt from requests on prefill pods and their mean uncached prompt.
    """
    peak = {v.name: peak_prefill_tokens_per_s(models[v.name]) for v in policy.variants if v.role.prefills}

    def proposals(shown: Sight, flow: Traffic) -> Sequence[Proposal]:
        found: list[Proposal] = []
        if shown.variant.role.prefills:
            requests = sum(shown.samples(see.concurrency))
            tokens = requests * flow.input_tokens * flow.uncached_share
            found.append(llmd.token_prefill(tokens, peak[shown.variant.name], threshold_s, shown.existing))
        if shown.variant.role.decodes:
            found.append(llmd.token_decode(shown.samples(see.kv_use), kv, shown.existing))
        return found

    return proposals


def peak_prefill_tokens_per_s(model: ReplicaModel) -> float:
    """Return V_P: tokens of a full step over the median TTFT of an idle stack through the serving path."""
    tokens = model.limits.max_batched_tokens
    return tokens / float(model.prefill.latency_s(tokens) + model.handover.latency_s(tokens))


class SloAwarePlayer(HpaPlayer):
    """llm-d's SLO-aware guide: TTFT drives prefill, TPOT drives decode, both drive unified pods."""

    SAMPLES = 3  # of 15 s each

    def __init__(self, policy: SLOPolicy, target: float) -> None:
        """Play with an upper band of ``target`` (0.55 as published); the lower one keeps its ratio to it."""
        super().__init__(policy, lambda shown, _: [self._demand(shown)], llmd.SLO_BEHAVIOR)
        self._rule = llmd.SloAware(upper=target, lower=target * 0.40 / 0.55)
        self._shares: dict[Role, list[float]] = {role: [] for role in Role}

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Take in one sample of the signal, then sync."""
        ttft, tpot = self._share(observed, "ttft"), self._share(observed, "itl")
        for role, share in ((Role.PREFILL, ttft), (Role.DECODE, tpot), (Role.UNIFIED, max(ttft, tpot))):
            self._shares[role] = [*self._shares[role], min(share, self._rule.clamp)][-self.SAMPLES :]
        return super().wanted(at, observed)

    def _share(self, observed: ModelObservation, which: str) -> float:
        """Return the worst profile's p90 over its limit; no traffic reads as 0."""
        shares = [0.0]
        for profile in self.policy.profiles:
            load = observed.loads.get(profile.name)
            latency = None if load is None else load.ttft if which == "ttft" else load.itl
            limit = profile.slo.ttft if which == "ttft" else profile.slo.itl
            if latency is not None and is_present(latency):
                shares.append(latency.p90_s / limit)
        return max(shares)

    def _demand(self, shown: Sight) -> Proposal:
        shares = self._shares[shown.variant.role]
        demand = self._rule.demand(sum(shares) / len(shares), shown.requested, shown.ready)
        return hpa.external_average(shown.existing, demand, 1.0)


class KedaPlayer(HpaPlayer):
    """An HPA made by KEDA; the operator writes only from and to zero, on its own poll."""

    POLL = Seconds(30.0)

    def __init__(self, policy: SLOPolicy, proposals: Proposals, behavior: Behavior) -> None:
        """Play with the given triggers and behaviour."""
        super().__init__(policy, proposals, behavior)
        self._scaled = {v.name: keda.ScaledObject(minimum=v.min_replicas) for v in policy.variants}
        self._last_active: dict[str, Instant] = {}
        self._polled = Instant(0.0)

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Sync the HPA objects; let the operator act every poll."""
        wanted = dict(super().wanted(at, observed))
        if at < self._polled + self.POLL:
            return wanted
        self._polled = at
        for shown in self.sights(at, observed):
            name = shown.variant.name
            active = sum(shown.samples(see.concurrency)) > 0
            if active:
                self._last_active[name] = at
            written = keda.operator(
                self._scaled[name],
                shown.requested,
                active=active,
                error=False,
                last_active=self._last_active.get(name),
                now=at,
            )
            if written is not Verdict.HOLD:
                wanted[name] = written
        return wanted


class WvaPlayer(HpaPlayer):
    """WVA publishes a wish per variant; an HPA with External AverageValue 1 follows it."""

    MAXIMA = Seconds(60.0)

    def __init__(self, policy: SLOPolicy, behavior: Behavior, *, scale: float, percentage: bool) -> None:
        """Play V2, or with ``percentage`` V1; ``scale`` multiplies the KV and queue that it sees."""
        super().__init__(policy, lambda shown, _: [self._followed(shown)], behavior)
        self._scale = scale
        self._percentage = percentage
        self._memory = wva_v2.Memory()
        self._wishes: dict[str, int] = {}
        self._recent: dict[str, list[tuple[Instant, float, float]]] = {}

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Run one cycle of WVA, then sync the HPA objects that read its gauge."""
        sights, flow = self.sights(at, observed), see.traffic(observed.loads)
        if any(shown.engines for shown in sights):
            wishes = self._by_percentage(sights) if self._percentage else self._by_tokens(sights, flow)
            self._wishes = wishes
        else:
            self._wishes = {shown.variant.name: shown.requested for shown in sights}
        return super().wanted(at, observed)

    def _followed(self, shown: Sight) -> Proposal:
        wish = self._wishes.get(shown.variant.name, shown.requested)
        return hpa.external_average(shown.existing, float(wish), 1.0)

    def _by_percentage(self, sights: Sequence[Sight]) -> dict[str, int]:
        wishes: dict[str, int] = {}
        for role in Role:
            group = [shown for shown in sights if shown.variant.role is role]
            variants = [
                wva_v1.Variant(
                    s.variant.name,
                    s.requested,
                    pending=max(0, s.requested - s.ready),
                    desired=self._wishes.get(s.variant.name, 0),
                    minimum=s.variant.min_replicas,
                    maximum=s.variant.max_replicas,
                )
                for s in group
            ]
            replicas = [
                wva_v1.Replica(s.variant.name, kv, queue, s.variant.cost_per_replica_hour)
                for s in group
                for kv, queue in self._maxima(s)
            ]
            if variants:
                wishes.update(wva_v1.targets(variants, replicas))
        return wishes

    def _by_tokens(self, sights: Sequence[Sight], flow: Traffic) -> dict[str, int]:
        variants = [
            wva_v2.Variant(
                name=s.variant.name,
                role="" if s.variant.role is Role.UNIFIED else str(s.variant.role),
                current=s.requested,
                minimum=s.variant.min_replicas,
                maximum=s.variant.max_replicas,
                accelerator=s.variant.accelerator,
                accelerators=s.variant.accelerators_per_replica,
                pending=max(0, s.requested - s.ready),
            )
            for s in sights
        ]
        instances = [
            wva_v2.Instance(
                variant=s.variant.name,
                kv=kv,
                queue=queue,
                total_tokens=capacity,
                input_tokens=flow.input_tokens,
                output_tokens=1.0 if s.variant.role is Role.PREFILL else flow.output_tokens,
                cost=s.variant.cost_per_replica_hour,
                hit_rate=1.0 - flow.uncached_share,
            )
            for s in sights
            for (kv, queue), capacity in zip(
                self._maxima(s), s.samples(lambda engine: engine.kv_capacity_tokens), strict=True
            )
        ]
        if not instances:
            return {s.variant.name: s.requested for s in sights}
        wishes, self._memory = wva_v2.cycle(variants, instances, wva_v2.RouterQueue(), self._memory)
        return wishes

    def _maxima(self, shown: Sight) -> list[tuple[float, float]]:
        """Return KV use and queue of every engine, each the largest of the last minute; absent counts as 0."""
        found = []
        for engine in shown.engines:
            kv = engine.kv_use_ratio if is_present(engine.kv_use_ratio) else 0.0
            queue = engine.waiting if is_present(engine.waiting) else 0.0
            recent = [e for e in self._recent.get(engine.pod, []) if e[0] > shown.at - self.MAXIMA]
            self._recent[engine.pod] = [*recent, (shown.at, kv, queue)]
            found.append(
                (
                    self._scale * max(entry[1] for entry in self._recent[engine.pod]),
                    self._scale * max(entry[2] for entry in self._recent[engine.pod]),
                )
            )
        return found
