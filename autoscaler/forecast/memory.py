"""What every forecaster of a series reads: its minutes, its smoothed levels, its trend filters."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast.minutes import LONGEST_SAMPLE, Minutes
from autoscaler.forecast.state import TRANSIENT
from autoscaler.forecast.trend import TrendBank
from autoscaler.performance.step import FloatArray

NODES = (1, 2, 5, 10, 15, 30)
"""Minutes ahead at which experts speak and are judged; the path between is interpolated."""

OFFSETS = np.array([60.0 * node - 30.0 for node in NODES])
"""Seconds from now to the middle of each node's minute."""

SPANS = (3, 10, 15, 30)
"""Of the exponential averages, in minutes: alpha = 2 / (span + 1) per minute."""

USUAL = SPANS.index(15)
"""The average that errors and relative targets are shares of."""

LONGEST_UPDATE = Seconds(60.0)
"""One sample moves an average as if it had lasted at most so long."""


@dataclass(slots=True)
class Memory:
    """The past of one series, as its forecasters see it. Grows with every sample."""

    minutes: Minutes = field(default_factory=Minutes)
    bank: TrendBank = field(default_factory=TrendBank)
    levels: list[float] = field(default_factory=lambda: [0.0] * len(SPANS))
    seen_s: list[float] = field(default_factory=lambda: [0.0] * len(SPANS))  # effective time behind each level
    samples: deque[tuple[float, float]] = field(default_factory=deque)  # (seconds, rate) of the last minute
    last: Instant | None = None  # time of the newest sample
    outlook: tuple[FloatArray, FloatArray] | None = field(default=None, metadata=TRANSIENT)  # of the bank, at OFFSETS
    grain: float = 1.0  # load x E[X^2] / E[X] is variance x time of chance arrivals

    def add(self, at: Instant, rate: float, grain: float) -> int:
        """Take in the rate since the last sample; return how many minutes this completed."""
        dt = LONGEST_SAMPLE if self.last is None else Seconds(at - self.last)
        if dt <= 0:
            return 0  # a clock that went back tells nothing new
        measured = min(dt, LONGEST_UPDATE)
        since = Instant(at - measured) if self.last is None else self.last
        self.grain, self.last, self.outlook = grain, at, None
        chance = max(rate, self.bank.level, grain / measured) * grain / measured
        restarted = self.bank.update(dt, rate, chance)
        self._smooth(measured, rate, restarted=restarted)
        return self.minutes.add(since, at, rate)

    def _smooth(self, dt: float, rate: float, *, restarted: bool) -> None:
        if restarted:  # what was before the shift says nothing about the level after it
            self.seen_s = [min(seen, dt) for seen in self.seen_s]
            self.levels = [rate] * len(SPANS)
            self.samples.clear()
        for i, span in enumerate(SPANS):
            fade = 1.0 - 2.0 / (span + 1)
            kept = fade ** (dt / 60.0)
            self.seen_s[i] = self.seen_s[i] * kept + (1.0 - kept)
            self.levels[i] += (rate - self.levels[i]) * (1.0 - kept) / self.seen_s[i]
        self.samples.append((dt, rate))
        held = sum(seconds for seconds, _ in self.samples)
        while len(self.samples) > 1 and held - self.samples[0][0] >= 60.0 - 1e-6:
            held -= self.samples.popleft()[0]

    @property
    def latest(self) -> float:
        """Return the mean rate of the last minute of samples."""
        return sum(s * rate for s, rate in self.samples) / sum(s for s, _ in self.samples)

    def ahead(self) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance of the level that the filters expect at each of ``OFFSETS``."""
        if self.outlook is None:
            self.outlook = self.bank.ahead(OFFSETS)
        return self.outlook

    @property
    def usual(self) -> float:
        """Return the level that errors and relative targets are shares of; never 0."""
        return max(self.levels[USUAL], self.bank.level, self.grain / 60.0)

    def highest(self, minutes: int) -> float:
        """Return the highest of the last complete minutes and the present level; never 0."""
        past = self.minutes.whole[-minutes:]
        return max(float(past.max()) if len(past) else 0.0, self.bank.level, self.grain / 60.0)
