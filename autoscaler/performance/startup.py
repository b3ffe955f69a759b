"""How long a new replica of a variant takes to serve: a log-normal time, shrunk to a prior while few were seen.

Starts under way count too: one that has lasted 300 s says "longer than 300 s", at once. The time from creation to Ready
is split where the pod lands on a node: scheduling (a node has to be found or bought) and loading (pull, load, warm-up).
The posterior lives on a grid of (mean of logarithms, spread), so that censored starts need no approximation.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import log_ndtr, ndtr

from autoscaler.domain.fleet import Pod, PodState
from autoscaler.domain.units import Instant, Seconds, elapsed
from autoscaler.errors import InputError
from autoscaler.performance.step import FloatArray

Stage: TypeAlias = Literal["schedule", "load", "start"]
STAGES: tuple[Stage, ...] = ("schedule", "load", "start")

SPREADS = np.geomspace(0.05, 1.6, 24)[:, None]  # of the logarithm
LOG_SPREADS = np.log(SPREADS)
TWOFOLD = math.log(2.0) ** 2  # the spread's own standard deviation is a factor of 2
MEANS = 81  # of the logarithm, within 4 prior spreads
NEGLIGIBLE = 1e-4  # weight of a pair, the heaviest being 1
PRECISION = 1e-5  # relative, of a quantile
MEMORY = 32  # starts of a variant that are remembered; older ones say little of today's image and nodes
SHORTEST = Seconds(0.5)


@dataclass(frozen=True, slots=True)
class StagePrior:
    """What is assumed of one stage before any start: its median, and by what factor that may be wrong."""

    median_s: float
    factor: float  # one standard deviation of the median's logarithm, as a factor
    spread: float = 0.3  # typical standard deviation of the logarithm between starts


PRIORS: Mapping[Stage, StagePrior] = MappingProxyType(
    {
        "schedule": StagePrior(5.0, 4.0, 0.8),
        "load": StagePrior(115.0, 1.6, 0.2),
        "start": StagePrior(120.0, 1.6, 0.25),
    }
)


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a replica, finished or under way, as last seen."""

    created: Instant
    scheduled: Instant | None
    ready: Instant | None
    seen: Instant
    gone: bool = False  # it ended before it was ready: it would have taken longer


Posterior: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]
"""Means and spreads of logarithms and the weight of each pair that matters, all of one shape."""


@dataclass(frozen=True, slots=True)
class StartupModel:
    """What is known of one variant's start-up times; explicit state, made anew from pods or history."""

    starts: Mapping[str, Start] = field(default_factory=lambda: MappingProxyType({}))  # by pod uid (or name)
    priors: Mapping[Stage, StagePrior] = field(default_factory=lambda: PRIORS)

    def updated(self, pods: Iterable[Pod], at: Instant) -> "StartupModel":
        """Return the model after a look at the variant's pods; a start whose pod is gone stays as it was last seen."""
        starts = dict(self.starts)
        present = set()
        for pod in pods:
            key = pod.uid or pod.name
            present.add(key)
            if not pod.created > 0:
                continue  # nobody knows when it began
            known = starts.get(key)
            if known is not None and known.ready is not None:
                continue  # later restarts are no starts of a replica
            unusable = pod.state in {PodState.FAILED, PodState.TERMINATING} and pod.ready_since is None
            starts[key] = Start(pod.created, pod.scheduled, pod.ready_since, at, gone=unusable)
        for key in starts.keys() - present:
            starts[key] = replace(starts[key], gone=True)
        if starts == self.starts:
            return self
        newest = sorted(starts.items(), key=lambda item: item[1].created)[-MEMORY:]
        return replace(self, starts=MappingProxyType(dict(newest)))

    def finished(self) -> "StartupModel":
        """Return what is known without the starts under way: what those may be judged by."""
        over = {key: start for key, start in self.starts.items() if start.ready is not None}
        return replace(self, starts=MappingProxyType(over))

    def beside(self, others: Iterable["StartupModel"], stage: Stage = "start") -> "StartupModel":
        """Return the model with its prior for a stage moved to what other variants of the same model have shown.

        A variant that nobody has started is expected to take about as long as they do, not as long as was assumed
        before any of them was seen. Of how far that may be wrong, they tell nothing.
        """
        starts = {f"{place}/{key}": start for place, other in enumerate(others) for key, start in other.starts.items()}
        if not starts:
            return self
        together = StartupModel(MappingProxyType(starts), self.priors)
        means, _, weights = together._posterior(stage)
        shown = replace(self.priors[stage], median_s=math.exp(float(weights @ means)))
        return replace(self, priors=MappingProxyType({**self.priors, stage: shown}))

    def quantile(self, probability: float, stage: Stage = "start") -> Seconds:
        """Return the time that a start (or one stage of it) does not exceed with a probability."""
        return self.quantiles(probability, stage=stage)[0]

    def quantiles(self, *probabilities: float, stage: Stage = "start") -> tuple[Seconds, ...]:
        """Return several of them: most of the work is shared."""
        posterior = self._posterior(stage)
        return tuple(_time_at(posterior, probability) for probability in probabilities)

    def _posterior(self, stage: Stage) -> Posterior:
        prior = self.priors[stage]
        centre, width = math.log(prior.median_s), math.log(prior.factor)
        observed = [entry for entry in (_lasted(start, stage) for start in self.starts.values()) if entry is not None]
        logs = [math.log(seconds) for seconds, _ in observed]
        low = min([centre - 4.0 * width, *logs]) - 0.5
        high = max([centre + 4.0 * width, *logs]) + 1.5
        means = np.linspace(low, high, MEANS)
        weight = -0.5 * ((means - centre) / width) ** 2 - (0.5 * (LOG_SPREADS - math.log(prior.spread)) ** 2) / TWOFOLD
        finished = np.array([log for (_, over), log in zip(observed, logs, strict=True) if over])
        if len(finished):  # all of them by their number, mean and variance
            scatter = finished.var() + (means - finished.mean()) ** 2
            weight = weight - len(finished) * (0.5 * scatter / SPREADS**2 + LOG_SPREADS)
        for log in (log for (_, over), log in zip(observed, logs, strict=True) if not over):
            weight = weight + log_ndtr((means - log) / SPREADS)
        weight = np.exp(weight - weight.max())
        spread, mean = np.nonzero(weight > NEGLIGIBLE)
        kept = weight[spread, mean]
        return means[mean], SPREADS[spread, 0], kept / kept.sum()

    def to_json(self) -> str:
        """Return the state as text."""
        starts = {
            key: [start.created, start.scheduled, start.ready, start.seen, start.gone]
            for key, start in self.starts.items()
        }
        priors = {stage: [prior.median_s, prior.factor, prior.spread] for stage, prior in self.priors.items()}
        return json.dumps({"starts": starts, "priors": priors})

    @classmethod
    def from_json(cls, text: str) -> "StartupModel":
        """Return the state that ``to_json`` wrote.

        Raises:
            InputError: the text is something else.
        """
        try:
            body = json.loads(text)
            starts = {key: Start(*values) for key, values in body["starts"].items()}
            priors = {stage: StagePrior(*body["priors"][stage]) for stage in STAGES}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"not the state of a start-up model: {error!r}; delete it, and history rebuilds it"
            raise InputError(msg) from error
        return cls(MappingProxyType(starts), MappingProxyType(priors))


def _time_at(posterior: Posterior, probability: float) -> Seconds:
    """Return the quantile of a stage's time."""
    means, spreads, weights = posterior
    wanted = 1.0 - probability
    low = float(means.min()) - 8.0
    high = float(means.max()) + 8.0
    at = min(max(low, float(weights @ means)), high)
    for _ in range(60):  # Newton's steps, halving the bracket where one leaves it; five or six are the rule
        standard = (means - at) / spreads
        excess = float(weights @ ndtr(standard)) - wanted
        low, high = (at, high) if excess > 0 else (low, at)
        density = float(weights @ (np.exp(-0.5 * standard**2) / spreads)) / math.sqrt(2.0 * math.pi)
        following = at + excess / density if density > 0 else math.inf
        following = following if low < following < high else 0.5 * (low + high)
        if abs(following - at) < PRECISION:
            break
        at = following
    return Seconds(math.exp(following))


def _lasted(start: Start, stage: Stage) -> tuple[float, bool] | None:
    """Return how long a stage lasted and whether it is over; None where it has not begun."""
    ends: Mapping[Stage, tuple[Instant | None, Instant | None]] = {
        "schedule": (start.created, start.scheduled),
        "load": (start.scheduled, start.ready),
        "start": (start.created, start.ready),
    }
    begun, ended = ends[stage]
    if begun is None:
        return None
    seconds = elapsed(begun, ended if ended is not None else start.seen)
    return max(SHORTEST, seconds), ended is not None
