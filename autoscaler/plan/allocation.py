"""Which variants to run: the cheapest counts that together do what a role requires.

A mix is enough when its replicas, each counted as its share of what the role would need of that variant alone, add up
to one. With one variant this is exact; in a mix it takes capacity to be additive, which errs on the safe side (a larger
pool shares its bursts better than its parts would).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autoscaler.domain.pool import Variant
from autoscaler.domain.units import Seconds

REPAID_WITHIN = Seconds(900.0)  # a start must pay for itself within the furthest horizon that forecasts look at


@dataclass(frozen=True, slots=True)
class Option:
    """One variant that could serve a role."""

    variant: Variant
    alone: int  # replicas needed if this variant served the role alone
    requested: int  # what its spec asks for now
    startup: Seconds  # how long a start is paid for without serving


def cheapest(options: Sequence[Option]) -> tuple[int, ...]:
    """Return replicas per option: enough together, at least running and starting cost; as many as allowed if short.

    What the options' own minimum already provides is counted, and bounds are kept.
    """
    feasible = [counts for counts in _mixes(options) if _enough(options, counts)]
    if not feasible:
        return tuple(option.variant.max_replicas for option in options)
    return min(feasible, key=lambda counts: (_cost(options, counts), counts))


def _mixes(options: Sequence[Option]) -> Iterator[tuple[int, ...]]:
    """Yield the counts worth trying: every count of all variants but the last, which fills what is then missing."""
    if not options:
        yield ()
        return
    *others, last = options
    for counts in _every(others):
        yield (*counts, _filling(last, 1.0 - _covered(others, counts)))


def _every(options: Sequence[Option]) -> Iterator[tuple[int, ...]]:
    if not options:
        yield ()
        return
    first, *rest = options
    low, high = (
        first.variant.min_replicas,
        max(first.variant.min_replicas, min(first.variant.max_replicas, first.alone)),
    )
    for count in range(low, high + 1):
        for others in _every(rest):
            yield (count, *others)


def _filling(option: Option, missing: float) -> int:
    needed = math.ceil(round(missing * option.alone, 9)) if missing > 0 else 0
    return min(max(needed, option.variant.min_replicas), option.variant.max_replicas)


def _covered(options: Sequence[Option], counts: Sequence[int]) -> float:
    return sum(n / option.alone if option.alone else 1.0 for option, n in zip(options, counts, strict=True))


def _enough(options: Sequence[Option], counts: Sequence[int]) -> bool:
    return _covered(options, counts) >= 1.0 - 1e-9


def _cost(options: Sequence[Option], counts: Sequence[int]) -> float:
    """Return cost per hour: running replicas, and starts spread over the time in which they must pay."""
    return sum(
        option.variant.cost_per_replica_hour * (n + max(0, n - option.requested) * option.startup / REPAID_WITHIN)
        for option, n in zip(options, counts, strict=True)
    )
