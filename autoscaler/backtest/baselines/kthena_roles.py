"""Kthena 1.0: two roles held in a ratio, and one role spread over accelerator types by cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Bounds = tuple[int, int]


def projected(
    numerator: int,
    denominator: int,
    *,
    ratio: tuple[float, float],
    numerator_bounds: Bounds,
    denominator_bounds: Bounds,
) -> tuple[int, int]:
    """Return both roles' replicas with numerator over denominator inside the ratio; it may undo a rate limit."""
    above, below = _clamp(numerator, numerator_bounds), _clamp(denominator, denominator_bounds)
    if above == 0 and below == 0:
        return 0, 0
    above, below = max(above, 1), max(below, 1)
    lowest, highest = ratio
    if above / below < lowest:
        raised = math.ceil(lowest * below)
        if raised <= numerator_bounds[1]:
            return raised, below
        return numerator_bounds[1], _clamp(math.floor(numerator_bounds[1] / lowest), denominator_bounds)
    if above / below > highest:
        raised = math.ceil(above / highest)
        if raised <= denominator_bounds[1]:
            return above, raised
        return _clamp(math.floor(highest * denominator_bounds[1]), numerator_bounds), denominator_bounds[1]
    return above, below


@dataclass(frozen=True, slots=True)
class AcceleratorType:
    """One type that may serve a role."""

    name: str
    minimum: int
    maximum: int
    cost: float


def spread(types: Sequence[AcceleratorType], total: int, *, expansion_percent: int) -> dict[str, int]:
    """Spread replicas over types in blocks of growing length, cheapest block first.

    Blocks have the lengths 1, P, P^2, ... (P = ``expansion_percent`` / 100), the last one cut; a block costs its length
    times the type's cost. Capacity per type and SLOs play no part.
    """
    replicas = {kind.name: kind.minimum for kind in types}
    rest = total - sum(replicas.values())
    for _, index, length in sorted(_blocks(types, expansion_percent / 100)):
        taken = min(max(rest, 0), length)
        replicas[types[index].name] += taken
        rest -= taken
    return replicas


def _blocks(types: Sequence[AcceleratorType], growth: float) -> list[tuple[float, int, int]]:
    """Return (cost, index of the type, length) of every block."""
    blocks = []
    for index, kind in enumerate(types):
        left, length = kind.maximum - kind.minimum, 1
        if growth <= 1:
            length = left
        while left > 0:
            size = min(length, left)
            blocks.append((kind.cost * size, index, size))
            left -= size
            length = math.floor(length * growth)
    return blocks


def _clamp(value: int, bounds: Bounds) -> int:
    return min(max(value, bounds[0]), bounds[1])
