"""WVA V2: how replicas are given to, or taken from, the variants of all roles at once.

A shortage in any role allows only growth, and every role must be able to grow (defects E1 and E2 of
``tests/scenario/wva``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Supply:
    """What one variant offers: ``per_replica`` tokens from each of ``count`` instances."""

    name: str
    role: str
    current: int
    minimum: int
    maximum: int | None  # None: unbounded
    per_replica: float
    count: int
    pending: int
    cost: float

    def headroom(self, wanted: int) -> float:
        """Return how many more replicas the maximum allows."""
        return math.inf if self.maximum is None else max(0, self.maximum - wanted)


def targets(
    supplies: Sequence[Supply], demand: Mapping[str, float], *, scale_up: float, scale_down: float
) -> dict[str, int]:
    """Return wanted replicas by variant.

    Args:
        supplies: every variant of the model.
        demand: tokens by role.
        scale_up: usage of the capacity that is coming above which a role grows.
        scale_down: usage of the present capacity below which a role may shrink.
    """
    wanted = {supply.name: supply.current for supply in supplies}
    offered = {role: _offered(supplies, role, pending=False) for role in demand}
    coming = {role: _offered(supplies, role, pending=True) for role in demand}
    short = {role: max(0.0, tokens / scale_up - coming[role]) for role, tokens in demand.items()}
    if any(tokens > 0 for tokens in short.values()):
        _grow(supplies, short, wanted)
    else:
        for role, tokens in demand.items():
            pool = [supply for supply in supplies if supply.role == role]
            _shrink(pool, max(0.0, offered[role] - tokens / scale_down), wanted)
    return _at_least_one(supplies, wanted)


def _offered(supplies: Sequence[Supply], role: str, *, pending: bool) -> float:
    return sum((s.count + (s.pending if pending else 0)) * s.per_replica for s in supplies if s.role == role)


def _grow(supplies: Sequence[Supply], short: dict[str, float], wanted: dict[str, int]) -> None:
    """Add replicas to all roles in step: each gets the share of its need that the least served one can have."""
    while any(tokens > 0 for tokens in short.values()):
        chosen = {role: _cheapest(supplies, role, wanted) for role in short}
        most = dict.fromkeys(short, 0)
        share = 1.0
        for role, supply in chosen.items():
            if supply is None:
                return  # one role without headroom ends the growth of all (as shipped)
            most[role] = int(min(math.ceil(short[role] / supply.per_replica), supply.headroom(wanted[supply.name])))
            share = min(share, most[role] * supply.per_replica / short[role]) if short[role] > 0 else share
        if share <= 0:
            return
        for role, supply in chosen.items():
            if supply is None or short[role] <= 0:
                continue
            added = max(math.floor(share * short[role] / supply.per_replica), min(1, most[role]))
            wanted[supply.name] += added
            short[role] = max(0.0, short[role] - added * supply.per_replica)


def _cheapest(supplies: Sequence[Supply], role: str, wanted: Mapping[str, int]) -> Supply | None:
    """Return the variant with the least cost per token that may grow; None: there is none."""
    able = [s for s in supplies if s.role == role and s.per_replica > 0 and s.headroom(wanted[s.name]) > 0]
    return min(able, key=lambda s: s.cost / s.per_replica, default=None)


def _shrink(pool: Sequence[Supply], spare: float, wanted: dict[str, int]) -> None:
    ordered = sorted(pool, key=lambda s: (-s.cost, s.per_replica, s.name))
    dearer_left = False
    for index, supply in enumerate(ordered):
        last = index + 1 == len(ordered)
        floor = max(supply.minimum, 1) if last and not dearer_left else supply.minimum
        if supply.per_replica > 0:
            removed = max(0, min(math.floor(spare / supply.per_replica), supply.current - floor))
            wanted[supply.name] -= removed
            spare -= removed * supply.per_replica
        dearer_left = dearer_left or wanted[supply.name] > 0


def _at_least_one(supplies: Sequence[Supply], wanted: dict[str, int]) -> dict[str, int]:
    """Keep one replica of the cheapest variant where nothing would be left (scale to zero disabled)."""
    if any(supply.minimum > 0 for supply in supplies) or any(wanted.values()):
        return wanted
    cheapest = min(supplies, key=lambda s: s.cost)
    return {**wanted, cheapest.name: 1}
