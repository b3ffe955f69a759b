"""The council of experts of one series: asked together, weighted by what they said before."""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from autoscaler.domain.policy import Calendar
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

    def turn(self, memory: Memory, completed: int) -> FloatArray:
        """Close one or several minutes: judge what was said of them, ask anew, return the new path."""
        minutes = memory.minutes
        if completed > max(NODES):
            self.mixture.forget()
        else:
            for minute in range(minutes.end - completed, minutes.end):
                self.mixture.settle(minute, minutes.at(minute))
        for expert in self.experts:
            if expert.every and minutes.count >= expert.needs and (minutes.end % expert.every < completed):
                expert.fit(memory)
        said = self.said(memory)
        self.mixture.issue(minutes.end, said)
        return self.mixed(said, memory)

    def said(self, memory: Memory) -> FloatArray:
        """Return what each expert expects at each node, shape (experts, nodes); NaN: no opinion yet."""
        said = np.full((len(self.experts), len(NODES)), np.nan)
        for row, expert in zip(said, self.experts, strict=True):
            if memory.minutes.count >= expert.needs:
                row[:] = expert.predict(memory)  # one number: the same at every node
        return said

    def path(self, memory: Memory) -> FloatArray:
        """Return the mixture's expectation at each node, shape (nodes,)."""
        return self.mixed(self.said(memory), memory)

    def mixed(self, said: FloatArray, memory: Memory) -> FloatArray:
        """Return what the council as a whole expects at each node, from what its members said."""
        mixed = self.mixture.combine(said)
        # a council of learners without a model yet: the average goes on
        known = np.where(np.isnan(mixed), memory.levels[SPANS.index(10)], mixed)
        return np.minimum(known, RUNAWAY * memory.highest(60))

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
