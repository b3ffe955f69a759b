"""Which variants to run: the cheapest counts that together do what a role requires.

A mix is enough when its replicas, each counted as its share of what the role would need of that variant alone, add up
to one. With one variant this is exact; in a mix it takes capacity to be additive, which errs on the safe side (a larger
pool shares its bursts better than its parts would). Where replicas may be lost, those that do most are left out. Where
a role is to be spread, the others do their part of its load without any one of the variants.

First the mix to arrive at: the cheapest once all that is ordered serves. What leaves is paid for until damping lets it
go, so what runs gives way only to what is cheaper by more than that. Until a slow variant has started, only what is
there and what starts faster serves, so then what is missing before is added: a fast dear variant bridges the start of a
slow cheap one, and goes once that has come. A replica whose start is overdue is counted on at no horizon, nor is any
further order of its variant: others stand in for it until it comes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autoscaler.domain.pool import Variant
from autoscaler.domain.units import Seconds

REPAID_WITHIN = Seconds(900.0)  # a start must pay for itself within the furthest horizon that forecasts look at
ENOUGH = 1.0 - 1e-9
UNBRIDGED = Seconds(60.0)  # so long one decision's capacity has to do: nothing is started for a shorter wait
OVERDUE = math.inf
"""Arrival of a replica that should have been there long ago."""


@dataclass(frozen=True, slots=True)
class Option:
    """One variant that could serve a role."""

    variant: Variant
    alone: int  # replicas needed if this variant served the role alone
    requested: int  # what its spec asks for now
    startup: Seconds  # how long a start is paid for without serving
    lead: Seconds = Seconds(0.0)  # how long until a replica ordered now serves
    arrivals: tuple[float, ...] | None = None  # when each requested replica serves, s; None: all serve
    losses: int = (
        0  # replicas of the role that may be lost while the rest is still enough; the same for all its options
    )
    spread: float = 0.0  # share of the role's load that the others are to do without this variant; the same for all
    lasting: tuple[Seconds, ...] = ()  # how long each requested replica is still paid for if it leaves; else not at all
    spare: bool = True  # as many as it needs alone would have something to spare

    @property
    def arrived(self) -> tuple[float, ...]:
        """Return when each requested replica serves, in seconds from now."""
        return (0.0,) * self.requested if self.arrivals is None else self.arrivals

    @property
    def overdue(self) -> int:
        """Count the replicas that should have started long ago."""
        return sum(1 for arrival in self.arrived if arrival == OVERDUE)

    def serving(self, count: int, horizon: Seconds) -> int:
        """Return how many of ``count`` replicas serve by a horizon."""
        latest = horizon + UNBRIDGED
        if self.lead <= latest and not self.overdue:
            return count
        return min(count, sum(1 for arrival in self.arrived if arrival <= latest))

    def share(self, count: int, horizon: Seconds) -> float:
        """Return the part of the role's requirement at a horizon that ``count`` replicas do by then."""
        return self.serving(count, horizon) / self.alone if self.alone else 1.0

    def cost(self, count: int, stay: Seconds = Seconds(0.0)) -> float:
        """Return cost per hour: running replicas; starts, and what leaves, spread over the time in which they must pay.

        ``stay``: what leaves stays at least so long.
        """
        starting = max(0, count - self.requested) * self.startup
        leaving = sum(min(max(stay, last), REPAID_WITHIN) for last in self.lasting[count : self.requested])
        return self.variant.cost_per_replica_hour * (count + (starting + leaving) / REPAID_WITHIN)


def cheapest(options: Sequence[Option]) -> tuple[int, ...]:
    """Return replicas per option: enough together, at least running and starting cost; as many as allowed if short.

    What the options' own minimum already provides is counted, and bounds are kept. An overdue order stands as long as
    it would be wanted if it came.
    """
    if not options:
        return ()
    horizons = _horizons(options)
    if _covered(options, [option.variant.max_replicas for option in options], horizons[-1]) < ENOUGH:
        return _all_that_helps(options, horizons[-1])
    due = due_of_others(options, horizons[-1])
    feasible = (n for n in _mixes(options, horizons[-1], due) if _is_enough(options, n, horizons[-1], due))
    best = min(feasible, key=lambda counts: (_cost(options, counts), counts))
    for horizon in horizons[:-1]:
        best = _bridged(options, best, horizon)
    if not any(option.overdue for option in options):
        return best
    wishes = cheapest([replace(option, arrivals=None) for option in options])
    return tuple(
        max(count, min(option.requested, wish)) if option.overdue else count
        for option, count, wish in zip(options, best, wishes, strict=True)
    )


def due_of_others(options: Sequence[Option], horizon: Seconds) -> tuple[float, ...]:
    """Return the share of the load that the others must do without each option: as spread asks, and as far as they can.

    Empty: nothing is to be spread, as nothing is where one replica does it all.
    """
    if not any(option.spread for option in options) or any(_suffices(option, horizon) for option in options):
        return ()
    room = kept(options, [option.variant.max_replicas for option in options], horizon)
    return tuple(min(option.spread, others) for option, others in zip(options, room, strict=True))


def _suffices(option: Option, horizon: Seconds) -> bool:
    """Tell whether one replica of a variant is enough."""
    return option.share(1, horizon) >= ENOUGH and not (option.losses and option.alone)


def kept(options: Sequence[Option], counts: Sequence[int], horizon: Seconds) -> tuple[float, ...]:
    """Return the share of the role's load that the others do by a horizon, should all of an option fail."""
    shares = [option.share(n, horizon) for option, n in zip(options, counts, strict=True)]
    return tuple(sum(shares) - own for own in shares)


def _is_enough(options: Sequence[Option], counts: Sequence[int], horizon: Seconds, due: Sequence[float]) -> bool:
    if _covered(options, counts, horizon) < ENOUGH:
        return False
    return not due or all(d - left <= 1.0 - ENOUGH for d, left in zip(due, kept(options, counts, horizon), strict=True))


def _bridged(options: Sequence[Option], counts: tuple[int, ...], horizon: Seconds) -> tuple[int, ...]:
    """Add what makes a mix enough by an earlier horizon, as far as that is possible: the least cost per share first."""
    while _covered(options, counts, horizon) < ENOUGH:
        helping = [
            (gain, index)
            for index, option in enumerate(options)
            if counts[index] < option.variant.max_replicas and (gain := _gain(option, counts[index], horizon)) > 0
        ]
        if not helping:
            break
        _, chosen = max(helping)
        counts = tuple(count + (index == chosen) for index, count in enumerate(counts))
    return counts


def _gain(option: Option, count: int, horizon: Seconds) -> float:
    """Return the share that one more replica would do by a horizon, per cost."""
    more = option.share(count + 1, horizon) - option.share(count, horizon)
    return more / max(1e-9, option.cost(count + 1) - option.cost(count))


def _horizons(options: Sequence[Option]) -> list[Seconds]:
    """Return the horizons at which a mix has to be enough: whenever another variant's orders begin to serve."""
    return sorted({option.lead for option in options}) or [Seconds(0.0)]


def _all_that_helps(options: Sequence[Option], horizon: Seconds) -> tuple[int, ...]:
    """Return what to ask for where nothing is enough: all that can be counted on, the rest of what is overdue."""
    sure = [option for option in options if not option.overdue]
    missing = 1.0 - _covered(sure, [o.variant.max_replicas for o in sure], horizon)
    return tuple(
        _bounded(option, missing * option.alone) if option.overdue else option.variant.max_replicas
        for option in options
    )


def _mixes(options: Sequence[Option], horizon: Seconds, due: Sequence[float]) -> Iterator[tuple[int, ...]]:
    """Yield the counts worth trying: every count of all variants but the last, which fills what is then missing."""
    *others, last = options
    for counts in _every(others):
        missing = 1.0 - _covered(others, counts, horizon)
        if due:  # also where one of the others fails
            beside = zip(due, kept(others, counts, horizon), strict=False)
            missing = max(missing, *(d - left for d, left in beside), 0.0)
        fewest = _filling(last, missing, horizon)
        for spare in range(last.losses + 1):
            yield (*counts, min(fewest + spare, last.variant.max_replicas))


def _every(options: Sequence[Option]) -> Iterator[tuple[int, ...]]:
    if not options:
        yield ()
        return
    first, *rest = options
    low = first.variant.min_replicas
    high = max(low, min(first.variant.max_replicas, first.alone + first.losses))
    for count in range(low, high + 1):
        for others in _every(rest):
            yield (count, *others)


def _filling(option: Option, missing: float, horizon: Seconds) -> int:
    """Return the fewest replicas within bounds that do a missing share by a horizon, or all that can by then."""
    return _bounded(option, min(missing * option.alone, option.serving(option.variant.max_replicas, horizon)))


def _bounded(option: Option, replicas: float) -> int:
    return min(max(math.ceil(round(replicas, 9)), option.variant.min_replicas), option.variant.max_replicas)


def _covered(options: Sequence[Option], counts: Sequence[int], horizon: Seconds) -> float:
    done = sum(option.share(n, horizon) for option, n in zip(options, counts, strict=True))
    return done - _lost(options, counts, horizon)


def _lost(options: Sequence[Option], counts: Sequence[int], horizon: Seconds) -> float:
    """Return the share that goes with the replicas that may be lost: those of the fastest variants."""
    left, share = max((option.losses for option in options), default=0), 0.0
    pairs = zip(options, counts, strict=True)
    for option, count in sorted(pairs, key=lambda pair: pair[0].alone) if left else ():
        if option.alone:
            gone = min(left, option.serving(count, horizon))
            left, share = left - gone, share + gone / option.alone
    return share


def _cost(options: Sequence[Option], counts: Sequence[int]) -> float:
    return sum(option.cost(n) for option, n in zip(options, counts, strict=True))
