"""How a replica leaves without losing a request: a state machine as data, recomputed each tick from the cluster alone.

    ACTIVE --victim--> DRAINING --every picker drops it--> UNROUTED --holds no work--> EMPTY --/scale lowered--> gone
       ^                  |                                   |                          |
       +---- readmitted: wanted again, or its deadline has passed -----------------------+

A pod's state is what is noted on it (``Drain``); a note is written in one tick and acted on in a later one, when the
cluster shows it. So the controller may die between any two writes: the next one finds the same state. Each tick names
the whole set of pods that should be withdrawn; our notes on any other pod are removed in the same tick.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.membership import Drain, Membership
from autoscaler.domain.observation import EngineLoad, Latency, ModelObservation
from autoscaler.domain.plan import Action, Announce, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.signal import GapReason, Missing, Signal, is_present, known
from autoscaler.domain.units import Instant, Seconds, after

SETTLE = Seconds(5.0)
"""A request that was picked just before its pod was dropped is on its way through gateway and sidecar for so long."""

HANDOVERS = 2.0
"""A decode pod's engine knows nothing of a request whose prompt is still computed elsewhere: so many times the longest
time to first token (p99 of any profile) are waited for it."""

CLOCK_SLACK = Seconds(60.0)
"""A drain that began further in the future, or ends further off than a drain may last, was noted by another clock."""

PENDING = Seconds(120.0)
"""A removal that was asked for and is not done keeps its pods withdrawn for so long beyond their deadlines: after an
outage a workload's controller acts up to 45 s late, and it would take another pod for one that serves again."""

BALANCE = Seconds(300.0)
"""A warm pod waits no longer than this for the other role to come closer to its plan."""

SAMPLE_AHEAD = Seconds(2.0)
"""A sample may be so much newer than our own clock says it is."""

UNREADY = (PodState.PENDING, PodState.STARTING, PodState.FAILED)


@dataclass(frozen=True, slots=True)
class Scene:
    """What one policy's drains are decided from."""

    at: Instant
    policy: SLOPolicy
    observed: ModelObservation
    targets: Mapping[str, int]  # by variant name
    held: frozenset[str] = frozenset()  # variants of which nothing may change now, but for deadlines

    @property
    def membership(self) -> Signal[Membership]:
        """Return what the pickers list; a picker that lists none of the pods it should is not believed."""
        told = self.observed.membership
        if isinstance(told, Missing):
            return told
        serving = {pod.name for workload in self._workloads() for pod in workload.in_state(PodState.READY)}
        for picker, members in told.pickers.items():
            if serving and not members & serving:
                detail = f"picker {picker} lists none of {len(serving)} ready pods; is it the picker of this pool?"
                return Missing(GapReason.INCONSISTENT, self.at, detail)
        return told

    def _workloads(self) -> Iterable[Workload]:
        return (workload for workload in self.observed.fleet.values() if is_present(workload))

    def settled(self, role: Role) -> Seconds | None:
        """Return how long after its last routing a pod has surely got all its requests; None: not known now."""
        if role is not Role.DECODE or not self.policy.pool(Role.PREFILL):
            return SETTLE
        longest = 0.0
        for load in self.observed.loads.values():
            match load.ttft:
                case Latency():
                    longest = max(longest, load.ttft.p99_s)
                case Missing(GapReason.NOT_A_NUMBER):
                    pass  # no request came, so none is on its way
                case _:
                    return None
        longest = max((longest, *self._queues()))
        return Seconds(SETTLE + HANDOVERS * longest)

    def _queues(self) -> Iterable[float]:
        """Yield how long each prefill pod's queue takes: who waits there has no time to first token yet."""
        for variant in self.policy.pool(Role.PREFILL):
            workload = self.observed.fleet.get(variant.name)
            for pod in workload.pods if isinstance(workload, Workload) else ():
                engine = self.observed.engines.get(pod.name)
                if engine is not None and is_present(engine.waiting) and is_present(engine.prefill_mean_s):
                    yield engine.waiting * engine.prefill_mean_s


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do now, in execution order, and what there is to say about it, by variant."""

    actions: tuple[Action, ...] = ()
    reasons: Mapping[str, tuple[Reason, ...]] = field(default_factory=lambda: MappingProxyType({}))


def steps(scene: Scene) -> Steps:
    """Return the next step of every drain, and of every growth.

    Order: readmissions (capacity without a cold start), growth, withdrawals and notes, removals, announcements. Growth
    stays within the budget as it is used now: what a removal releases is used when it is released.
    """
    decoders = sum(len(_routed(scene, variant)) for variant in scene.policy.variants if variant.role.decodes)
    spare = decoders if scene.policy.scale_to_zero.enabled else max(0, decoders - 1)
    pools = []
    for variant in scene.policy.variants:
        workload = scene.observed.fleet.get(variant.name)
        if isinstance(workload, Workload):
            pool = _Pool(scene, variant, workload, spare if variant.role.decodes else len(workload.pods))
            spare -= len(pool.newly_unrouted) if variant.role.decodes else 0
            pools.append(pool)
    return Steps(
        actions=(
            *(action for pool in pools for action in pool.readmissions()),
            *_growth(scene, pools),
            *(action for pool in pools for action in pool.withdrawals()),
            *(action for pool in pools for action in pool.removal()),
            *_announcements(scene, pools),
        ),
        reasons=MappingProxyType({pool.variant.name: tuple(pool.reasons()) for pool in pools}),
    )


class _Pool:
    """One variant in one tick: which pods should leave, and how far each has come."""

    def __init__(self, scene: Scene, variant: Variant, workload: Workload, spare: int) -> None:
        """Choose. ``spare``: how many routed pods of its kind may be withdrawn at most, for the sake of the role."""
        self.scene = scene
        self.variant = variant
        self.workload = workload
        self.ref = VariantRef(scene.policy.key, variant.name)
        self.target = scene.targets.get(variant.name, workload.requested)
        self.held = variant.name in scene.held
        self.frozen = self.held or workload.rolling_out
        self.live = [pod for pod in workload.pods if pod.state is not PodState.TERMINATING]
        self.ours = [pod for pod in self.live if pod.draining_since is not None]
        self.unfinished = workload.rolling_out or len(self.live) > workload.requested
        longest = scene.policy.scale_down.drain_timeout
        lasting = [p for p in self.ours if not expired(p, scene.at, longest, PENDING if self._going(p) else Seconds(0))]
        self.leaving = self._kept(lasting) if self.frozen else self._chosen(lasting, spare)
        ours = {pod.name for pod in self.ours}
        self.newly_unrouted = [p for p in self.leaving if p.state is PodState.READY and p.name not in ours]

    def _going(self, pod: Pod) -> bool:
        """Tell whether a pod may be on its way out: the count is lowered, and the workload's controller has to act."""
        return self.unfinished and pod.empty_since is not None

    def _kept(self, lasting: list[Pod]) -> list[Pod]:
        """Return who stays withdrawn while nothing new may begin: all, or as many as are still not wanted."""
        if self.held:
            return lasting
        undecided = [pod for pod in lasting if not self._going(pod)]
        still_unwanted = max(0, self.workload.requested - self.target)
        return [*filter(self._going, lasting), *undecided[:still_unwanted]]

    def _chosen(self, lasting: list[Pod], spare: int) -> list[Pod]:
        """Return the pods that should be withdrawn after this tick, the next to go first."""
        surplus = len(self.live) - min(self.workload.requested, self.target)
        ranked = self._ranked(lasting)[: max(0, surplus, sum(map(self._going, lasting)))]
        names = {pod.name for pod in lasting}
        allowed = self._allowed([pod for pod in ranked if pod.name in names], spare)
        chosen: list[Pod] = []
        for pod in ranked:
            costs = pod.name not in names and pod.state is PodState.READY
            if costs and allowed == 0:
                if pod.ordinal is not None:
                    break  # the ones below cannot go before it
                continue
            allowed -= costs
            chosen.append(pod)
        return chosen

    def _ranked(self, lasting: list[Pod]) -> list[Pod]:
        """Return who may leave, in the order in which the workload's controller would take them.

        Deployments take pods that do not serve first, whatever we wish; then the deletion cost decides, which is ours.
        StatefulSets take the highest ordinal, serving or not.
        """
        theirs = {p.name for p in self.live if p.state is PodState.DRAINING and p.draining_since is None}
        expired_ones = {pod.name for pod in self.ours} - {pod.name for pod in lasting}
        unfit = theirs | expired_ones
        if any(pod.ordinal is not None for pod in self.live):
            top = sorted(self.live, key=lambda pod: -(pod.ordinal or 0))
            barrier = next((n for n, p in enumerate(top) if p.name in unfit), len(top))
            return top[:barrier]
        crowd = Counter(pod.node for pod in self.live)
        engines, names = self.scene.observed.engines, {pod.name for pod in lasting}

        def rank(pod: Pod) -> tuple[float, ...]:
            if pod.name in names and self._going(pod):
                return (-1,)
            if pod.state in UNREADY or (pod.name in names and pod.ready_since is None):
                return (0, pod.state is not PodState.PENDING, -pod.created)
            if pod.name in names:
                return (1, pod.empty_since is None, pod.unrouted_since is None, pod.draining_since or 0.0)
            return (2, *_worth(pod, engines), -crowd[pod.node], -pod.created)

        candidates = (p for p in self.live if p.name not in unfit)
        return sorted(candidates, key=lambda pod: (rank(pod), pod.name))

    def _allowed(self, staying_withdrawn: Sequence[Pod], spare: int) -> int:
        """Return how many serving pods may be withdrawn anew."""
        if isinstance(self.scene.membership, Missing):
            return 0  # it could not be confirmed, so it would be dark for nothing
        routed = len(_routed(self.scene, self.variant))
        serving = sum(pod.ready_since is not None for pod in staying_withdrawn)
        within_count = self.scene.policy.scale_down.max_concurrent_drains - serving
        return max(0, min(within_count, routed - max(self.target, self.variant.min_replicas), spare))

    def readmissions(self) -> list[Action]:
        """Return the pods that are withdrawn and should not be; of a group each by itself, whoever died in between."""
        leaving = {pod.name for pod in self.leaving}
        staying = [pod for pod in self.live if pod.name not in leaving]
        leaders = [Readmit(self.ref, pod.name, pod.uid) for pod in staying if pod.draining_since is not None]
        return [*leaders, *(Readmit(self.ref, other) for pod in staying for other in pod.others_withdrawn)]

    def withdrawals(self) -> list[Action]:
        """Return new withdrawals, and notes that have changed."""
        if self.frozen:
            return []
        changed = ((pod, drain) for pod in self.leaving if (drain := self.drain(pod)) != noted(pod))
        return [*(Withdraw(self.ref, pod.name, pod.uid, drain) for pod, drain in changed), *self._companions()]

    def _companions(self) -> list[Action]:
        """Return the withdrawals of a leaving group's other pods, where pickers list them as members of their own."""
        membership = self.scene.membership
        if isinstance(membership, Missing):
            return []
        return [
            Withdraw(self.ref, other, "", self.drain(pod))
            for pod in self.leaving
            for other in pod.others
            if other not in pod.others_withdrawn and not membership.drops(other)
        ]

    def drain(self, pod: Pod) -> Drain:
        """Return what should be noted on a pod that leaves."""
        at, found = self.scene.at, noted(pod)
        if found is None:
            return Drain(at, after(at, self.scene.policy.scale_down.drain_timeout))
        membership = self.scene.membership
        if isinstance(membership, Missing):  # neither confirmed nor refuted
            return found
        if still_listed(pod, membership):
            return Drain(found.started, found.deadline)
        if found.unrouted is None:
            return Drain(found.started, found.deadline, at)
        empty = (found.empty or at) if self._holds_nothing(pod, found.unrouted) else None
        return Drain(found.started, found.deadline, found.unrouted, empty)

    def _holds_nothing(self, pod: Pod, unrouted: Instant) -> bool:
        """Tell whether a pod that gets nothing new has no work left, as it reported after its last request came."""
        settled = self.scene.settled(self.variant.role)
        if settled is None:
            return False
        due = after(unrouted, settled)
        others = (self._at_rest(other, due, serves=True) for other in pod.others_withdrawn)
        return self._at_rest(pod.name, due, serves=pod.ready_since is not None) and all(others)

    def _at_rest(self, pod: str, due: Instant, *, serves: bool) -> bool:
        engine = self.scene.observed.engines.get(pod)
        if engine is None or isinstance(engine.newest_sample, Missing):
            return not serves and self.scene.at >= due  # nothing reports there
        if engine.newest_sample > after(self.scene.at, SAMPLE_AHEAD):
            return False  # its clock and ours differ: nothing is known of before and after
        return engine.newest_sample >= due and idle(engine, self.variant.role)

    def _again_empty(self, pod: Pod) -> bool:
        """Tell whether a later look than the one that was noted found the same."""
        if pod.empty_since is None or self.drain(pod) != noted(pod):
            return False
        found = map(self.scene.observed.engines.get, (pod.name, *pod.others_withdrawn))
        newest = [engine.newest_sample for engine in found if engine is not None]  # who reports nothing: ``_at_rest``
        return all(isinstance(sample, Missing) or sample >= pod.empty_since for sample in newest)

    def removable(self) -> int:
        """Count the replicas that can go now: the cluster shows notes that say so, and what they say still holds.

        None while an earlier removal is not done: its pods would be counted twice. None soon after an outage of the API
        server: the workload's controller may know the new count before it knows which pods are noted.
        """
        if self.frozen or self.unfinished or self.workload.disturbed or isinstance(self.scene.membership, Missing):
            return 0
        gone = [pod for pod in self.leaving if self._again_empty(pod)]
        if not any(pod.ordinal is not None for pod in self.live):
            return len(gone)
        names = {pod.name for pod in gone}
        top = sorted(self.live, key=lambda pod: -(pod.ordinal or 0))
        return next((n for n, pod in enumerate(top) if pod.name not in names), len(top))

    def removal(self) -> list[Action]:
        """Return the smaller count, if replicas can go: exactly so many are named in ``removable``."""
        requested, floor = self.workload.requested, max(self.target, self.variant.min_replicas)
        lowered = max(requested - self.removable(), floor)
        return [Scale(self.ref, lowered, requested)] if lowered < requested else []

    def reasons(self) -> Iterable[Reason]:
        """Yield how far the drains have come, and what stands in their way."""
        if self.leaving:
            notes = [found for pod in self.leaving if (found := noted(pod)) is not None]
            yield Reason(
                Code.DRAINING,
                MappingProxyType(
                    {
                        "to": self.target,
                        "withdrawn": len(self.leaving),
                        "unrouted": sum(note.unrouted is not None for note in notes),
                        "empty": sum(note.empty is not None for note in notes),
                    }
                ),
            )
        why = self._unconfirmed()
        if why and self.target < self.workload.requested:
            yield Reason(Code.UNCONFIRMED, MappingProxyType({"why": why}))

    def _unconfirmed(self) -> str:
        membership = self.scene.membership
        if isinstance(membership, Missing):
            return membership.detail or f"the pickers' members are {membership.reason.value}"
        still = [name for pod in self.ours if noted(pod) is not None for name in still_listed(pod, membership)]
        if still:
            return f"a picker still lists {', '.join(still)}"
        if len(self.live) > self.workload.requested:
            return f"an earlier removal is not done: {len(self.live)} pods, of {self.workload.requested} asked for"
        if self.workload.disturbed:
            return (
                "the API server was out of reach, or is watched anew: its controllers may not know the pods' notes yet"
            )
        return ""


def still_listed(pod: Pod, membership: Membership) -> list[str]:
    """Return the pods of a replica that some picker lists: a group whose other pods serve too is not withdrawn yet."""
    return [name for name in (pod.name, *pod.others) if not membership.drops(name)]


def noted(pod: Pod) -> Drain | None:
    """Return the drain that a pod is in, as it says itself; None: it is not withdrawn by us, or its notes are torn."""
    if pod.draining_since is None or pod.drain_deadline is None or pod.state is PodState.READY:
        return None
    return Drain(pod.draining_since, pod.drain_deadline, pod.unrouted_since, pod.empty_since)


def expired(pod: Pod, at: Instant, longest: Seconds, grace: Seconds = Seconds(0.0)) -> bool:
    """Tell whether a drain is over for want of time: by its deadline, or because its times cannot be believed."""
    started, deadline = pod.draining_since, pod.drain_deadline
    if started is None:
        return False
    if deadline is None:
        return True
    slack = Seconds(CLOCK_SLACK + grace)
    return at >= after(deadline, grace) or started > after(at, slack) or deadline > after(at, Seconds(longest + slack))


def idle(engine: EngineLoad, role: Role) -> bool:
    """Tell whether an engine holds nothing; what it does not report counts as work, but for kinds it need not have.

    ``deferred`` is a share of ``waiting`` that only newer engines tell apart. A prefill replica pins the KV of a prompt
    after it has run, until a decode replica has pulled it.
    """
    held: list[Signal[float]] = [engine.running, engine.waiting, known(engine.deferred, 0.0)]
    if role is Role.PREFILL:
        held.append(engine.kv_use_ratio)
    return all(is_present(gauge) and gauge <= 0.0 for gauge in held)


def _worth(pod: Pod, engines: Mapping[str, EngineLoad]) -> tuple[float, float]:
    """Return what withdrawing a pod would cost: requests to wait for, then the share of prompts its cache saves."""
    engine = engines.get(pod.name)
    if engine is None or isinstance(engine.running, Missing):
        return (float("inf"), pod.created)
    group = [engine, *(engines[other] for other in pod.others if other in engines)]
    requests = sum(known(gauge, 0.0) for each in group for gauge in (each.running, each.waiting, each.deferred))
    prompts, computed = engine.prompt_tokens_per_second, engine.computed_prompt_tokens_per_second
    if is_present(prompts) and is_present(computed) and prompts > 0:
        return (requests, 1.0 - computed / prompts)
    return (requests, 0.0)


def _routed(scene: Scene, variant: Variant) -> list[Pod]:
    """Return the pods to which every picker sends requests, and which we have not withdrawn."""
    workload, membership = scene.observed.fleet.get(variant.name), scene.membership
    if not isinstance(workload, Workload) or isinstance(membership, Missing):
        return []
    serving = workload.in_state(PodState.READY)
    return [pod for pod in serving if pod.draining_since is None and membership.lists(pod.name)]


def _growth(scene: Scene, pools: Sequence[_Pool]) -> list[Action]:
    """Return the larger counts, as far as the budget bears them beside all that is requested now."""
    limits, cost_limit = dict(scene.policy.budget.accelerator_limits), scene.policy.budget.cost_per_hour
    used = Counter[str]()
    cost = 0.0
    for variant in scene.policy.variants:
        workload = scene.observed.fleet.get(variant.name)
        count = workload.requested if isinstance(workload, Workload) else variant.max_replicas
        used[variant.accelerator] += count * variant.accelerators_per_replica
        cost += count * variant.cost_per_replica_hour
    grown: list[Action] = []
    for pool in pools:
        variant, requested, more = pool.variant, pool.workload.requested, 0
        while not pool.held and requested + more < pool.target:
            accelerators = used[variant.accelerator] + variant.accelerators_per_replica
            price = cost + variant.cost_per_replica_hour
            if accelerators > limits.get(variant.accelerator, accelerators) or price > (cost_limit or price):
                break
            used[variant.accelerator], cost, more = accelerators, price, more + 1
        if more:
            grown.append(Scale(pool.ref, requested + more, requested))
    return grown


def _announcements(scene: Scene, pools: Sequence[_Pool]) -> list[Action]:
    """Return the gated pods that are warm; a role that is far ahead of the other waits for it, but not for ever."""
    share = {role: _ready_share(role, pools) for role in Role}
    opened: list[Action] = []
    for pool in pools:
        partner = {Role.PREFILL: Role.DECODE, Role.DECODE: Role.PREFILL}.get(pool.variant.role)
        ahead = partner is not None and share[pool.variant.role] > 2.0 * share[partner] > 0.0
        for pod in pool.live:
            warm = _warm_since(pod)
            if warm is not None and scene.at >= (after(warm, BALANCE) if ahead else warm):
                opened.append(Announce(pool.ref, pod.name, pod.uid))
    return opened


def _warm_since(pod: Pod) -> Instant | None:
    """Return when a gated pod is (or will be) warm; None: it is not gated, or not ready yet."""
    if pod.warm_up is None or pod.ready_since is None or pod.state is not PodState.STARTING:
        return None
    return after(pod.ready_since, pod.warm_up)


def _ready_share(role: Role, pools: Sequence[_Pool]) -> float:
    """Return which share of a role's target serves; 1 where nothing is wanted."""
    mine = [pool for pool in pools if pool.variant.role is role]
    wanted = sum(pool.target for pool in mine)
    return sum(pool.workload.ready for pool in mine) / wanted if wanted else 1.0
