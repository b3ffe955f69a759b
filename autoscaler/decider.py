"""The core: what was observed goes in, what to do comes out. Pure and deterministic; what it learns is its state."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from autoscaler.domain.demand import unchanging
from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import EngineLoad, ModelObservation, Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.units import Instant, Seconds, after
from autoscaler.forecast import room
from autoscaler.forecast.calendar import LoadEvent
from autoscaler.forecast.room import LoadForecaster, Trained, Training
from autoscaler.performance import calibrate
from autoscaler.performance.calibrate import Calibration, Sample
from autoscaler.performance.prior import Prior
from autoscaler.performance.startup import StartupModel
from autoscaler.performance.step import ReplicaModel
from autoscaler.plan import planner
from autoscaler.plan.guardrails import Floor
from autoscaler.plan.parts import ALL, Parts
from autoscaler.plan.planner import Memories
from autoscaler.plan.risk import Margins
from autoscaler.plan.situation import Knowledge, Situation
from autoscaler.plan.zero import Quiet
from autoscaler.policy import schedules

PLANNING_WINDOW = Seconds(60.0)
"""How long the capacity of one decision has to do before that of a later one can take over."""

CAUTIOUS = 0.75
"""Quantile of the start-up time by which a replica ordered now is counted on."""


LONG_AGO = Seconds(86_400.0)
"""What is older is learned from, but no forecast is made and scored there: its scores would be forgotten by now."""

EVENTS_FROM, EVENTS_TO = Seconds(600.0), Seconds(1800.0)
"""How far back and ahead known events matter to a forecast: its newest sample is younger, its last node nearer."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Training of one forecaster of one policy, to be run anywhere beside the loop; it holds copies only."""

    policy: str
    training: Training

    def run(self) -> "Learnt":
        """Train; about a second at most."""
        return Learnt(self.policy, self.training.run())


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came of a lesson."""

    policy: str
    trained: Trained


class VariantModel:
    """What is known of one variant: how fast its replicas are, and how long they take to start."""

    def __init__(self, variant: Variant, prior: Prior) -> None:
        """Begin with what is known beforehand."""
        self.variant = variant
        self.calibration = Calibration.prior(prior.model, prior.uncertainty)
        self.model = prior.model  # as calibrated
        self.started = StartupModel()
        self._compared: tuple[StartupModel, ...] = (self.started,)
        self._times = _times(*self._compared)

    def learn(self, at: Instant, workload: Workload, engines: Mapping[str, EngineLoad]) -> tuple[Sample, ...]:
        """Take in start-up times of all pods; return what those that are warm and stay teach of their speed."""
        self.started = self.started.updated(workload.pods, at)
        warm = [engines[pod.name] for pod in workload.pods if pod.name in engines and calibrate.teaches(pod, at)]
        return calibrate.samples(warm, self.variant.role)

    def compare(self, others: Iterable["VariantModel"]) -> None:
        """Take in the start-up times of other variants of the role: they tell of this one while it has few."""
        compared = (self.started, *(other.started for other in others))
        if compared != self._compared:
            self._compared, self._times = compared, _times(*compared)

    def inheriting(self, former: "VariantModel | None") -> "VariantModel":
        """Return what is known of these engines: the former model, where it speaks of the same ones."""
        if former is None or _engines(former.variant) != _engines(self.variant):
            return self
        former.variant = self.variant
        return former

    def knowledge(self, period: Seconds) -> Knowledge:
        """Return what a plan needs to know; a replica is ordered up to one period after it is needed."""
        typical, cautious, usual = self._times
        return Knowledge(self.model, typical, Seconds(cautious + period), Seconds(usual + period))


def _times(started: StartupModel, *others: StartupModel) -> tuple[Seconds, Seconds, Seconds]:
    """Return typical and cautious start-up time, and the latter without the starts under way."""
    typical, cautious = started.beside(others).quantiles(0.5, CAUTIOUS)
    over, rest = started.finished(), [other.finished() for other in others]
    under_way = any(len(a.starts) < len(b.starts) for a, b in zip((over, *rest), (started, *others), strict=True))
    usual = over.beside(rest).quantile(CAUTIOUS) if under_way else cautious
    return typical, cautious, usual


@dataclass(slots=True)
class PolicyModel:
    """What is known and remembered of one policy's pools."""

    policy: SLOPolicy
    variants: Mapping[str, VariantModel]
    forecaster: LoadForecaster = field(default_factory=LoadForecaster)
    memories: Memories = field(default_factory=lambda: MappingProxyType({}))
    margins: Margins = field(default_factory=Margins)
    quiet: Quiet = field(default_factory=Quiet)
    parts: Parts = ALL

    @classmethod
    def starting(cls, policy: SLOPolicy, priors: Mapping[str, Prior], parts: Parts = ALL) -> "PolicyModel":
        """Return a model without any experience."""
        variants = {variant.name: VariantModel(variant, priors[variant.name]) for variant in policy.variants}
        return cls(policy, variants, LoadForecaster(calendar=policy.calendar), parts=parts)

    def inheriting(self, former: "PolicyModel") -> "PolicyModel":
        """Return this model with what an earlier version of the policy has taught, as far as it still applies."""
        variants = {name: model.inheriting(former.variants.get(name)) for name, model in self.variants.items()}
        memories = {name: memory for name, memory in former.memories.items() if name in variants}
        same_requests = _traffic(former.policy) == _traffic(self.policy)
        forecaster = former.forecaster if same_requests else self.forecaster
        forecaster.live_by(self.policy.calendar)
        return PolicyModel(
            self.policy,
            variants,
            forecaster=forecaster,
            memories=MappingProxyType(memories),
            margins=former.margins if former.policy.profiles == self.policy.profiles else self.margins,
            quiet=former.quiet if same_requests else self.quiet,
            parts=self.parts,
        )

    def learn(self, at: Instant, observed: ModelObservation) -> list[tuple[VariantModel, tuple[Sample, ...]]]:
        """Take in what was observed, but loads; return what it teaches of replicas' speed: ``learn`` takes in both."""
        if self.parts.margins:
            self.margins = self.margins.updated(self.policy, observed.loads, at)
        self.quiet = self.quiet.updated(at, observed)
        engines = observed.engines if self.parts.calibration else {}
        fleet = ((variant, observed.fleet.get(name)) for name, variant in self.variants.items())
        lessons = [(variant, variant.learn(at, seen, engines)) for variant, seen in fleet if isinstance(seen, Workload)]
        for pool in (self.policy.pool(role) for role in Role):
            models = [self.variants[variant.name] for variant in pool]
            for model in models:
                model.compare(other for other in models if other is not model)
        return lessons

    def situation(self, at: Instant, observed: ModelObservation, period: Seconds) -> Situation:
        """Return all that a plan for these pools is made from."""
        knowledge = {name: variant.knowledge(period) for name, variant in self.variants.items()}
        horizons = sorted({period, *(known.lead for known in knowledge.values())})
        demand = self.forecaster.demand(at, horizons, PLANNING_WINDOW, self._events(at))
        if not self.parts.forecast:
            demand = unchanging(demand)
        return Situation(
            at,
            self.policy,
            observed,
            demand,
            knowledge,
            soon=period,
            window=PLANNING_WINDOW,
            margins=self.margins,
            floors=self._floors(at, knowledge),
            quiet=self.quiet.lasted(at),
            parts=self.parts,
        )

    def _events(self, at: Instant) -> Mapping[str, Sequence[LoadEvent]]:
        """Return the changes of load that schedules announce; they hold for every profile."""
        start, end = Instant(at - EVENTS_FROM), after(at, EVENTS_TO)
        events = tuple(
            LoadEvent(span.start, span.end, schedule.load_factor)
            for schedule in self.policy.schedules
            if schedule.load_factor != 1.0
            for span in schedules.spans(schedule, start, end)
        )
        return {profile.name: events for profile in self.policy.profiles} if events else {}

    def _floors(self, at: Instant, knowledge: Mapping[str, Knowledge]) -> Mapping[str, Floor]:
        """Return what schedules ask for by the time that a replica ordered now serves."""
        floors: dict[str, Floor] = {}
        for schedule in self.policy.schedules:
            for name, replicas in schedule.min_replicas:
                standing = floors.get(name)
                higher = standing is None or replicas > standing.replicas
                if higher and schedules.spans(schedule, at, after(at, knowledge[name].lead)):
                    floors[name] = Floor(schedule.name, replicas)
        return MappingProxyType(floors)


def learn(seen: Sequence[tuple[PolicyModel, ModelObservation]], at: Instant, *, long_ago: bool = False) -> None:
    """Take in what was observed of some policies. ``long_ago``: see ``room.observe``.

    The loads of all are forecast together, as the replicas of all their variants are calibrated: arrays over many cost
    little more than over one.
    """
    room.observe([(model.forecaster, observed.loads) for model, observed in seen], at, long_ago=long_ago)
    lessons = [lesson for model, observed in seen for lesson in model.learn(at, observed)]
    variants, samples = [variant for variant, _ in lessons], [taught for _, taught in lessons]
    learned = calibrate.learned([variant.calibration for variant in variants], samples, at)
    for variant, state, model in zip(variants, *learned, strict=True):
        variant.calibration, variant.model = state, model


class Decider:
    """Decides for all policies of one controller."""

    def __init__(
        self,
        policies: Sequence[SLOPolicy],
        priors: Mapping[str, Mapping[str, Prior]],
        *,
        period: Seconds,
        parts: Parts = ALL,
    ) -> None:
        """Start without any experience.

        Args:
            policies: whom to decide for.
            priors: speed of a replica as known beforehand, by ``SLOPolicy.key`` and variant name.
            period: between decisions; the nearest horizon to plan for.
            parts: what is at work.
        """
        self._period = period
        self._parts = parts
        self._models: dict[str, PolicyModel] = {}
        self.follow(policies, priors)

    def follow(self, policies: Sequence[SLOPolicy], priors: Mapping[str, Mapping[str, Prior]]) -> tuple[str, ...]:
        """Decide for these policies, and no others, from now on; return the keys of those without any experience.

        What was learned is kept, as far as it speaks of the same requests and the same engines.
        """
        former, self._models = self._models, {}
        for policy in policies:
            fresh = PolicyModel.starting(policy, priors[policy.key], self._parts)
            self._models[policy.key] = fresh.inheriting(former[policy.key]) if policy.key in former else fresh
        return tuple(key for key in self._models if key not in former)

    def warm(self, history: Iterable[Observation]) -> None:
        """Learn from the past, oldest first, without deciding anything: what a restart must not forget."""
        past = tuple(history)
        for observation in past:
            learn(self._seen(observation), observation.at, long_ago=past[-1].at - observation.at > LONG_AGO)

    def lesson(self) -> Lesson | None:
        """Return what should be learned (anew) next; run it off the loop, then ``adopt`` what comes of it."""
        due = (
            Lesson(key, training)
            for key, model in self._models.items()
            for training in model.forecaster.training_jobs()
        )
        return next(due, None)

    def adopt(self, learnt: Learnt) -> None:
        """Let a trained model speak from now on; of a policy that is gone meanwhile it is dropped."""
        if learnt.policy in self._models:
            self._models[learnt.policy].forecaster.adopt(learnt.trained)

    def decide(self, observation: Observation) -> Plan:
        """Return what to do now; a policy that the observation does not mention is left alone."""
        seen = self._seen(observation)
        learn(seen, observation.at)
        room.foresee(model.forecaster for model, _ in seen)
        situations = [model.situation(observation.at, observed, self._period) for model, observed in seen]
        plans = {}
        planned = planner.plans(situations, [model.memories for model, _ in seen])
        for (model, _), (plan, memories) in zip(seen, planned, strict=True):
            model.memories, plans[plan.policy] = memories, plan
        return Plan(observation.at, MappingProxyType(plans))

    def _seen(self, observation: Observation) -> list[tuple[PolicyModel, ModelObservation]]:
        return [(self._models[key], observed) for key, observed in observation.models.items() if key in self._models]

    def replica_model(self, policy: str, variant: str) -> ReplicaModel:
        """Return what is known of the speed of a variant's replicas by now."""
        return self._models[policy].variants[variant].model


def _engines(variant: Variant) -> tuple[object, ...]:
    """Return what makes two variants the same engines; bounds and prices may differ."""
    parallelism = variant.accelerators_per_replica
    return (variant.role, variant.target, variant.accelerator, parallelism, variant.performance_profile)


def _traffic(policy: SLOPolicy) -> tuple[object, ...]:
    """Return what makes two policies count the same requests the same way; limits may differ."""
    return (policy.model, policy.metrics, tuple((profile.name, profile.match) for profile in policy.profiles))
