"""How far the truth lay above the forecast, and hence how far it may lie the next time.

Scores are errors in shares of the present level, over their recent size: ``(came - forecast) / (level * spread)``, so a
bound widens within the hour when a load grows rough. The bound at probability q is their
empirical quantile, with q itself adapted until the share of misses is right (adaptive conformal inference; Gibbs and
Candes 2021): coverage holds through changes of the error's distribution. Until a series has scores of its own, a prior
(the filter's own variance, or other profiles' scores) stands in, by weight.
"""

import bisect
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

PROBABILITIES = (0.5, 0.9, 0.95, 0.99, 0.995)
"""The levels that every forecast carries."""

WINDOW = 1440
"""Scores kept: a day of minutes."""

GAMMA = 0.01
"""Step of adaptation of P90 (rarer levels: smaller); 0.02 is unstable: pinball loss up to +11 %."""

SAFE_SIDE = 0.9
"""Upper quantiles aim at a tenth fewer misses: adaptation lags behind what makes errors grow, never behind calm."""

OWN_SPREAD = 30.0
"""So many errors count as much as the prior in how large errors are."""

DOUBT = 10.0
"""So many errors correct the prior's scale half way: long before there are enough of them for a spread of their own."""

SURPRISE = 4.0
"""One error tells at most that they are so many times what was expected: a level shift is no scale."""

DEPENDENT = 5.0
"""Scores per minute of their window that count as one: windows overlap, and errors last longer than they do."""

CALM, SWIFT = 0.5 ** (1.0 / 1440.0), 0.5 ** (1.0 / 90.0)
"""How the typical size of errors is remembered: half-lives of a day and of an hour and a half."""


@dataclass(slots=True)
class Calibration:
    """Scores of one series, horizon and kind of target, the adapted miss rates, and how large errors are lately."""

    calm: float = 0.0  # mean absolute error in shares of the level, remembered long
    swift: float = 0.0  # the same, remembered briefly
    errors: int = 0
    fit: float = 1.0  # how large errors were in the beginning, over what was expected before there were any
    recent: deque[float] = field(default_factory=deque)
    ranked: list[float] = field(default_factory=list)
    misses: list[float] = field(default_factory=lambda: [1.0 - q for q in PROBABILITIES])  # adapted miss rates

    def __len__(self) -> int:
        return len(self.ranked)

    def spread(self, prior: float) -> float:
        """Return how large errors are lately, in shares of the level: what scores are counted in.

        Args:
            prior: what to expect before there were any.
        """
        own = self.errors / (self.errors + OWN_SPREAD)
        return own * math.sqrt(self.calm * self.swift) + (1.0 - own) * self.fit * prior + 1e-9

    def _remember(self, error: float, prior: float) -> None:
        self.errors += 1
        self.fit += (min(error / prior, SURPRISE) - self.fit) / (self.errors + DOUBT)
        self.calm += max(1.0 - CALM, 1.0 / self.errors) * (error - self.calm)
        self.swift += max(1.0 - SWIFT, 1.0 / self.errors) * (error - self.swift)

    def add(self, error: float, unit: float, offsets: Sequence[float], prior: float) -> None:
        """Take in an error, and whether it lay above each of the offsets that were issued for it.

        Args:
            error: (came - forecast) / level.
            unit: the spread when the forecast was made; error / unit is the score.
            offsets: in scores, one per probability.
            prior: how large errors were expected to be when the forecast was made, own ones left aside; > 0.
        """
        self._remember(abs(error), prior)
        score = error / unit
        self.recent.append(score)
        bisect.insort(self.ranked, score)
        if len(self.recent) > WINDOW:
            del self.ranked[bisect.bisect_left(self.ranked, self.recent.popleft())]
        for i, (q, offset) in enumerate(zip(PROBABILITIES, offsets, strict=True)):
            step = GAMMA * min(1.0, 10.0 * (1.0 - q))  # rare misses move rare levels gently
            missed = 1.0 if score > offset else 0.0
            aim = (1.0 - q) * (SAFE_SIDE if q > 0.5 else 1.0)
            adapted = self.misses[i] + step * (aim - missed)
            self.misses[i] = min(max(adapted, 0.02 * (1.0 - q)), 0.5 if q > 0.5 else 0.7)

    def offset(self, index: int) -> float:
        """Return the empirical quantile of the scores at the adapted level of ``PROBABILITIES[index]``."""
        count = len(self.ranked)
        rank = (count + 1) * (1.0 - self.misses[index]) - 1.0
        low = min(max(int(rank), 0), count - 1)
        high = min(low + 1, count - 1)
        return self.ranked[low] + (self.ranked[high] - self.ranked[low]) * min(max(rank - low, 0.0), 1.0)

    def offsets(self) -> tuple[float, ...]:
        """Return the empirical offset at each of ``PROBABILITIES``; at least one score is needed."""
        return tuple(self.offset(index) for index in range(len(PROBABILITIES)))

    def copy(self) -> "Calibration":
        """Return an independent calibration with the same scores."""
        return replace(self, recent=deque(self.recent), ranked=list(self.ranked), misses=list(self.misses))

    def blended(self, prior: Sequence[float], span: float) -> tuple[float, ...]:
        """Return an offset per probability: own scores as far as they carry, the prior for the rest; never falling.

        Args:
            prior: an offset per probability.
            span: minutes that one score covers; scores closer together than that are not independent.
        """
        if not self.ranked:
            return tuple(prior)
        blended: list[float] = []
        for i, (q, before) in enumerate(zip(PROBABILITIES, prior, strict=True)):
            own = len(self.ranked) / (len(self.ranked) + DEPENDENT * span + 3.0 / (1.0 - q))
            offset = own * self.offset(i) + (1.0 - own) * before
            blended.append(max(offset, blended[-1]) if blended else offset)
        return tuple(blended)
