"""The council of experts of one series: asked together, weighted by what they said before."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from autoscaler.domain.policy import Calendar
from autoscaler.forecast import mixture
from autoscaler.forecast.autoregression import Autoregression
from autoscaler.forecast.learned import Kind, Learned
from autoscaler.forecast.memory import NODES, SPANS, Memory
from autoscaler.forecast.mixture import Mixture
from autoscaler.forecast.naive import Ewma, LastValue, RollingQuantile, Trend
from autoscaler.forecast.records import RUNAWAY
from autoscaler.forecast.seasonal import DayProfile
from autoscaler.performance.step import FloatArray

AnyExpert: TypeAlias = LastValue | Ewma | RollingQuantile | Trend | Autoregression | DayProfile | Learned
"""What a council may consist of; the union tells how its state is read back."""


def all_experts() -> list[AnyExpert]:
    """Return one of each, as a new series gets them."""
    return [
        LastValue(),
        Ewma(3),
        Ewma(10),
        Ewma(30),
        RollingQuantile(),
        Trend(),
        Autoregression(),
        DayProfile(),
        Learned(Kind.RIDGE),
        Learned(Kind.BOOSTING),
    ]


@dataclass(slots=True)
class Council:
    """Experts and their mixture."""

    experts: list[AnyExpert] = field(default_factory=all_experts)
    mixture: Mixture = field(default_factory=lambda: Mixture.of([expert.prior for expert in all_experts()]))

    @classmethod
    def of(cls, *experts: AnyExpert) -> "Council":
        """Return a council of the given experts."""
        return cls(list(experts), Mixture.of([expert.prior for expert in experts]))

    def said(self, memory: Memory) -> FloatArray:
        """Return what each expert expects at each node, shape (experts, nodes); NaN: no opinion yet."""
        return np.asarray(said([self], [memory])[0])

    def mixed(self, opinions: FloatArray, memory: Memory) -> FloatArray:
        """Return what the council as a whole expects at each node, from what its members said."""
        return np.asarray(mixed([self], opinions[None], [memory])[0])

    def learners(self) -> list[Learned]:
        """Return the experts that have to be trained."""
        return [expert for expert in self.experts if isinstance(expert, Learned)]

    def live_by(self, calendar: Calendar | None) -> None:
        """Tell the experts of seasons whose days these are."""
        for expert in self.experts:
            if isinstance(expert, DayProfile):
                expert.calendar = calendar

    def champion(self, node: int) -> str:
        """Return the name of the expert with the largest weight at a node."""
        return self.experts[int(self.mixture.weights[:, NODES.index(node)].argmax())].name

    def weights(self, node: int) -> dict[str, float]:
        """Return the weight of every expert at a node."""
        column = self.mixture.weights[:, NODES.index(node)]
        return {expert.name: float(weight) for expert, weight in zip(self.experts, column, strict=True)}


def turn(councils: Sequence[Council], memories: Sequence[Memory], completed: int) -> FloatArray:
    """Close one or several minutes: judge what was said of them, ask anew, return the new paths, as ``paths`` does.

    Args:
        councils: with the same experts each.
        memories: one for each council, all at the same minute.
        completed: minutes that end now.
    """
    end, mixtures = memories[0].minutes.end, [council.mixture for council in councils]
    if completed > max(NODES):
        for each in mixtures:
            each.forget()
    else:
        for minute in range(end - completed, end):
            mixture.settle(mixtures, minute, np.array([memory.minutes.at(minute) for memory in memories]))
    for experts in zip(*(council.experts for council in councils), strict=True):
        if experts[0].every and end % experts[0].every < completed:
            ready = _ready(experts, memories)
            if ready:
                type(experts[0]).fit([experts[i] for i in ready], [memories[i] for i in ready])
    opinions = said(councils, memories)
    mixture.issue(mixtures, end, opinions)
    return mixed(councils, opinions, memories)


def paths(councils: Sequence[Council], memories: Sequence[Memory]) -> FloatArray:
    """Return what councils expect of their series at each node, shape (councils, nodes)."""
    return mixed(councils, said(councils, memories), memories)


def said(councils: Sequence[Council], memories: Sequence[Memory]) -> FloatArray:
    """Return what each expert expects at each node, shape (councils, experts, nodes); NaN: no opinion yet."""
    opinions = np.full((len(councils), len(councils[0].experts), len(NODES)), np.nan)
    for k, experts in enumerate(zip(*(council.experts for council in councils), strict=True)):
        ready = _ready(experts, memories)
        if ready:
            opinions[ready, k] = type(experts[0]).predict([experts[i] for i in ready], [memories[i] for i in ready])
    return opinions


def mixed(councils: Sequence[Council], opinions: FloatArray, memories: Sequence[Memory]) -> FloatArray:
    """Return what councils as a whole expect at each node, from what their members said."""
    expected = mixture.combined([council.mixture for council in councils], opinions)
    # a council of learners without a model yet: the average goes on
    average = np.array([[memory.levels[SPANS.index(10)]] for memory in memories])
    highest = np.array([[memory.highest(60)] for memory in memories])
    return np.minimum(np.where(np.isnan(expected), average, expected), RUNAWAY * highest)


def _ready(experts: Sequence[AnyExpert], memories: Sequence[Memory]) -> list[int]:
    """Return which series have the history that their expert needs."""
    return [i for i, memory in enumerate(memories) if memory.minutes.count >= experts[i].needs]
