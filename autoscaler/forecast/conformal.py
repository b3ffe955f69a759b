"""How far the truth lay above the forecast, and hence how far it may lie the next time.

Scores are errors in shares of the present level, over their recent size: ``(came - forecast) / (level * spread)``, so a
bound widens within the hour when a load grows rough. The bound at probability q is their
empirical quantile, with q itself adapted until the share of misses is right (adaptive conformal inference; Gibbs and
Candes 2021): coverage holds through changes of the error's distribution. Until a series has scores of its own, a prior
(the filter's own variance, or other profiles' scores) stands in, by weight.
"""

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from autoscaler.forecast.state import TRANSIENT, Places, Singles, places, singles

PROBABILITIES = (0.5, 0.9, 0.95, 0.99, 0.995)
"""The levels that every forecast carries."""

WINDOW = 1440
"""Scores kept: a day of minutes."""

GAMMA = 0.01
"""Step of adaptation of P90 (rarer levels: smaller); 0.02 is unstable: pinball loss up to +11 %."""

SAFE_SIDE = 0.82
"""Upper quantiles aim at so many times their misses: adaptation lags behind what makes errors grow, not behind calm."""

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
    recent: Singles = field(default_factory=singles)  # scores; when there are WINDOW, the newest replaces the oldest
    oldest: int = 0  # its place
    ranked: Places = field(default_factory=places)  # of scores, rising
    misses: list[float] = field(default_factory=lambda: [1.0 - q for q in PROBABILITIES])  # adapted miss rates
    since_event: int = WINDOW  # errors since one beyond every bound was counted
    own: tuple[float, ...] | None = field(default=None, metadata=TRANSIENT)  # what ``offsets`` returns
    mixed: tuple[tuple[float, ...], float, tuple[float, ...]] | None = field(default=None, metadata=TRANSIENT)

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
        self.fit += (min(error / prior, SURPRISE) - self.fit) / (self.errors + 1 + DOUBT)
        error = min(error, SURPRISE * self.spread(prior))
        self.errors += 1
        self.calm += max(1.0 - CALM, 1.0 / self.errors) * (error - self.calm)
        self.swift += max(1.0 - SWIFT, 1.0 / self.errors) * (error - self.swift)

    def add(self, error: float, unit: float, offsets: Sequence[float], prior: float, span: int) -> None:
        """Take in an error, and whether it lay above each of the offsets that were issued for it.

        Windows overlap: a jump that no bound held is in all that span it, and yet happened once. So of errors beyond
        every bound that lie within a window of each other the first one counts.

        Args:
            error: (came - forecast) / level.
            unit: the spread when the forecast was made; error / unit is the score.
            offsets: in scores, one per probability.
            prior: how large errors were expected to be when the forecast was made, own ones left aside; > 0.
            span: minutes of the window that the forecast was made for.
        """
        self._remember(abs(error), prior)
        score, self.own, self.mixed = error / unit, None, None
        self.since_event += 1
        if score > offsets[-1]:
            if self.since_event < span:
                return
            self.since_event = 0
        self._keep(score)
        for i, (q, offset) in enumerate(zip(PROBABILITIES, offsets, strict=True)):
            step = GAMMA * min(1.0, 10.0 * (1.0 - q))  # rare misses move rare levels gently
            missed = 1.0 if score > offset else 0.0
            aim = (1.0 - q) * (SAFE_SIDE if q > 0.5 else 1.0)
            adapted = self.misses[i] + step * (aim - missed)
            self.misses[i] = min(max(adapted, 0.02 * (1.0 - q)), 0.5 if q > 0.5 else 0.7)

    def _keep(self, score: float) -> None:
        place, at = len(self.recent), self.recent.__getitem__
        if place < WINDOW:
            self.recent.append(score)
        else:
            place, self.oldest = self.oldest, (self.oldest + 1) % WINDOW
            first = bisect.bisect_left(self.ranked, at(place), key=at)  # of those of the same score
            del self.ranked[self.ranked.index(place, first)]
            self.recent[place] = score
        bisect.insort(self.ranked, place, key=at)

    def _score(self, rank: int) -> float:
        return self.recent[self.ranked[rank]]

    def offset(self, index: int) -> float:
        """Return the empirical quantile of the scores at the adapted level of ``PROBABILITIES[index]``."""
        count = len(self.ranked)
        rank = (count + 1) * (1.0 - self.misses[index]) - 1.0
        low = min(max(int(rank), 0), count - 1)
        high = min(low + 1, count - 1)
        below = self._score(low)
        return below + (self._score(high) - below) * min(max(rank - low, 0.0), 1.0)

    def offsets(self) -> tuple[float, ...]:
        """Return the empirical offset at each of ``PROBABILITIES``; at least one score is needed."""
        if self.own is None:
            self.own = tuple([self.offset(index) for index in range(len(PROBABILITIES))])
        return self.own

    def copy(self) -> "Calibration":
        """Return an independent calibration with the same scores."""
        return replace(self, recent=self.recent[:], ranked=self.ranked[:], misses=list(self.misses))

    def blended(self, prior: tuple[float, ...], span: float) -> tuple[float, ...]:
        """Return an offset per probability: own scores as far as they carry, the prior for the rest; never falling.

        Quantiles of a mixture of both distributions: one score far out is one in so many, however far it is.

        Args:
            prior: an offset per probability.
            span: minutes that one score covers; scores closer together than that are not independent.
        """
        if not self.ranked:
            return prior
        if self.mixed is None or self.mixed[:2] != (prior, span):
            self.mixed = (prior, span, self._mixture(Tail.through(prior), span))
        return self.mixed[2]

    def _mixture(self, tail: "Tail", span: float) -> tuple[float, ...]:
        """Return x where own w(x > offset) / (adapted miss rate) + (1 - own) prior(x > offset) / (1 - q) is 1, by q."""
        count = len(self.ranked)
        offsets: list[float] = []
        rank = 0
        for q, misses in zip(PROBABILITIES, self.misses, strict=True):
            weight = count / (count + DEPENDENT * span + 3.0 / (1.0 - q))
            own, other = weight / (misses * (count + 1)), (1.0 - weight) / (1.0 - q)
            rank = self._first_within(rank, own, tail, other)
            offset = tail.at((1.0 - own * (count - rank)) / other)
            low = self._score(rank - 1) if rank else -math.inf
            high = self._score(rank) if rank < count else math.inf
            offset = min(max(offset, low), high)
            offsets.append(max(offset, offsets[-1]) if offsets else offset)
        return tuple(offsets)

    def _first_within(self, low: int, own: float, tail: "Tail", other: float) -> int:
        """Return the lowest rank, from ``low`` on, at whose score the mixture lies above at most as often as wanted."""
        high = len(self.ranked)
        while low < high:
            middle = (low + high) // 2
            above = own * (len(self.ranked) - middle)
            if above > 1.0 or above + other * tail.above(self._score(middle)) > 1.0:
                low = middle + 1
            else:
                high = middle
        return low


@dataclass(frozen=True, slots=True)
class Tail:
    """A distribution known at PROBABILITIES: the logarithm of the share above is linear between and beyond them."""

    offsets: tuple[float, ...]
    slopes: tuple[float, ...]  # of the logarithm, below each offset but the first

    @classmethod
    def through(cls, offsets: Sequence[float]) -> "Tail":
        """Return the distribution with these quantiles; equal ones are moved apart by a hair."""
        apart = tuple(offset + 1e-9 * i for i, offset in enumerate(offsets))
        steps = zip(itertools.pairwise(LOG_ABOVE), itertools.pairwise(apart), strict=True)
        return cls(apart, tuple((to - since) / (high - low) for (since, to), (low, high) in steps))

    def above(self, x: float) -> float:
        """Return the share above x; below the median the distribution mirrors itself."""
        offsets = self.offsets
        if x < offsets[0]:
            return 1.0 - self.above(2.0 * offsets[0] - x)
        k = 1 if x <= offsets[1] else 2 if x <= offsets[2] else 3 if x <= offsets[3] else 4
        return math.exp(LOG_ABOVE[k] + self.slopes[k - 1] * (x - offsets[k]))

    def at(self, above: float) -> float:
        """Return the x that a share lies above; infinite where the share is 0 or all."""
        if not 0.0 < above < 1.0:
            return math.inf if above <= 0.0 else -math.inf
        if above > 0.5:
            return 2.0 * self.offsets[0] - self.at(1.0 - above)
        log = math.log(above)
        k = next((k for k in range(1, len(LOG_ABOVE)) if log >= LOG_ABOVE[k]), len(LOG_ABOVE) - 1)
        return self.offsets[k] + (log - LOG_ABOVE[k]) / self.slopes[k - 1]


LOG_ABOVE = tuple(math.log(1.0 - q) for q in PROBABILITIES)
