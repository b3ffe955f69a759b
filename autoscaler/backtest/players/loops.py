"""Players that write replicas themselves: Knative, AIBrix, Kthena, Ray Serve, KubeAI."""

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from statistics import fmean
from typing import ClassVar

from autoscaler.backtest.baselines import aibrix, knative, kthena, kthena_roles, kubeai, rayserve
from autoscaler.backtest.players import sight as see
from autoscaler.backtest.players.sight import Player, Sight
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.units import Instant, Seconds

Targets = Mapping[Role, float]
"""Requests (running and waiting) aimed at per pod, by role."""


class Window:
    """Samples of the last seconds."""

    def __init__(self, length: Seconds) -> None:
        """Keep samples for ``length``."""
        self._length = length
        self._samples: deque[tuple[Instant, float]] = deque()

    def add(self, at: Instant, value: float) -> None:
        """Take a sample."""
        self._samples.append((at, value))
        while self._samples[0][0] <= at - self._length:
            self._samples.popleft()

    def mean(self, at: Instant, length: Seconds) -> float:
        """Return the mean over the last ``length`` seconds."""
        return fmean([value for moment, value in self._samples if moment > at - length])


def bounded(variant: Variant, replicas: int) -> int:
    """Keep replicas within the variant's bounds."""
    return min(max(replicas, variant.min_replicas), variant.max_replicas)


class OngoingPlayer(Player):
    """Steps every variant once, by its requests (running and waiting) over the last seconds."""

    WINDOW: ClassVar[Seconds]

    def __init__(self, policy: SLOPolicy) -> None:
        """Begin with nothing seen."""
        super().__init__(policy)
        self._windows = {v.name: Window(self.WINDOW) for v in policy.variants}

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Add what is ongoing to each variant's window, and step it."""
        wanted = {}
        for shown in self.sights(at, observed):
            window = self._windows[shown.variant.name]
            window.add(shown.at, sum(shown.samples(see.concurrency)))
            wanted[shown.variant.name] = self.step(shown, window)
        return wanted

    @abstractmethod
    def step(self, shown: Sight, ongoing: Window) -> int:
        """Return what a variant should have."""


class KnativePlayer(OngoingPlayer):
    """KPA on concurrency."""

    WINDOW = Seconds(60.0)

    def __init__(self, policy: SLOPolicy, targets: Targets) -> None:
        """Aim at the given concurrency per pod."""
        super().__init__(policy)
        self._settings = {v.name: knative.Settings(target=targets[v.role]) for v in policy.variants}
        self._states: dict[str, knative.State] = {}

    def step(self, shown: Sight, ongoing: Window) -> int:
        """Step the revision."""
        name = shown.variant.name
        settings = self._settings[name]
        state = self._states.get(name) or knative.State.starting(shown.at, shown.ready)
        stable, panic = (ongoing.mean(shown.at, w) for w in (settings.stable_window, settings.panic_window))
        wish, self._states[name] = knative.step(
            settings, state, shown.at, ready=shown.ready, stable=stable, panic=panic
        )
        return bounded(shown.variant, wish)


class AibrixPlayer(Player):
    """APA or KPA on concurrency per pod, as shipped or repaired."""

    STABLE, PANIC = Seconds(180.0), Seconds(60.0)

    def __init__(self, policy: SLOPolicy, targets: Targets, *, kpa: bool, repaired: bool) -> None:
        """Aim at the given concurrency per pod."""
        super().__init__(policy)
        self._targets = targets
        self._kpa = kpa
        self._repaired = repaired
        self._windows = {v.name: Window(self.STABLE) for v in policy.variants}
        self._history: dict[str, list[tuple[Instant, int]]] = {v.name: [] for v in policy.variants}

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Run every object's loop once; no pod that answers: nothing changes."""
        return {s.variant.name: self._one(s) for s in self.sights(at, observed) if s.samples(see.concurrency)}

    def _one(self, shown: Sight) -> int:
        variant, samples = shown.variant, shown.samples(see.concurrency)
        total = self._kpa and self._repaired
        window = self._windows[variant.name]
        window.add(shown.at, sum(samples) if total else fmean(samples))
        settings = aibrix.Settings(minimum=variant.min_replicas, maximum=variant.max_replicas)
        stable, panic = (window.mean(shown.at, length) for length in (self.STABLE, self.PANIC))
        target = self._targets[variant.role]
        wish = (
            aibrix.kpa(settings, shown.requested, stable=stable, panic=panic, target=target)
            if self._kpa
            else aibrix.apa(settings, shown.requested, stable, target)
        )
        history = self._history[variant.name]
        result = aibrix.stabilised(
            settings, history, shown.at, current=shown.requested, recommendation=wish, repaired=self._repaired
        )
        kept = [entry for entry in history if entry[0] > shown.at - settings.down_cooldown]
        self._history[variant.name] = [*kept, (shown.at, wish)]
        return result


class KthenaPlayer(Player):
    """Pod metrics summed per role, behaviour, then the ratio of prefill to decode."""

    def __init__(self, policy: SLOPolicy, targets: Targets, ratio: tuple[float, float]) -> None:
        """Aim at the given concurrency per pod; ``ratio``: bounds of prefill over decode."""
        super().__init__(policy)
        self._targets = targets
        self._ratio = ratio
        self._settings = {v.name: kthena.Settings(v.min_replicas, v.max_replicas) for v in policy.variants}
        self._states = {v.name: kthena.State() for v in policy.variants}

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:
        """Recommend and correct every role, then project the first variants of both roles onto the ratio."""
        wanted = {shown.variant.name: self._one(shown) for shown in self.sights(at, observed)}
        prefill, decode = self.policy.pool(Role.PREFILL), self.policy.pool(Role.DECODE)
        if prefill and decode and prefill[0].name in wanted and decode[0].name in wanted:
            above, below = prefill[0], decode[0]
            wanted[above.name], wanted[below.name] = kthena_roles.projected(
                wanted[above.name],
                wanted[below.name],
                ratio=self._ratio,
                numerator_bounds=(above.min_replicas, above.max_replicas),
                denominator_bounds=(below.min_replicas, below.max_replicas),
            )
        return wanted

    def _one(self, shown: Sight) -> int:
        name, samples = shown.variant.name, shown.samples(see.concurrency)
        if not samples:
            return shown.requested
        unready = max(0, shown.existing - shown.ready)
        recommendation = kthena.pod_recommendation(
            shown.requested,
            sum(samples),
            self._targets[shown.variant.role],
            unready=unready,
            settings=self._settings[name],
        )
        result, self._states[name] = kthena.corrected(
            self._settings[name], self._states[name], shown.at, current=shown.requested, recommendation=recommendation
        )
        return result


class RayPlayer(OngoingPlayer):
    """Ray Serve by ongoing requests."""

    WINDOW = Seconds(30.0)

    def __init__(self, policy: SLOPolicy, targets: Targets) -> None:
        """Aim at the given ongoing requests per replica."""
        super().__init__(policy)
        self._settings = {
            v.name: rayserve.Settings(max(1, v.min_replicas), v.max_replicas, targets[v.role]) for v in policy.variants
        }
        self._states = {v.name: rayserve.State() for v in policy.variants}

    def step(self, shown: Sight, ongoing: Window) -> int:
        """Step the deployment."""
        name = shown.variant.name
        replicas, self._states[name] = rayserve.step(
            self._settings[name],
            self._states[name],
            shown.at,
            current=shown.requested,
            ongoing=ongoing.mean(shown.at, self.WINDOW),
        )
        return replicas


class KubeaiPlayer(OngoingPlayer):
    """KubeAI by the moving average of active requests."""

    WINDOW = Seconds(600.0)  # 60 samples, 10 s apart

    def __init__(self, policy: SLOPolicy, targets: Targets) -> None:
        """Aim at the given active requests per replica."""
        super().__init__(policy)
        self._settings = {v.name: kubeai.Settings(target_requests=targets[v.role]) for v in policy.variants}
        self._states = {v.name: kubeai.State() for v in policy.variants}

    def step(self, shown: Sight, ongoing: Window) -> int:
        """Step the model."""
        name = shown.variant.name
        wish, self._states[name] = kubeai.step(
            self._settings[name],
            self._states[name],
            current=shown.requested,
            mean_active=ongoing.mean(shown.at, self.WINDOW),
        )
        return bounded(shown.variant, wish)
