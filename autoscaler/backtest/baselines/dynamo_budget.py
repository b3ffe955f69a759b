"""Dynamo planner 1.6: fitting a wish for both roles under a ceiling of GPUs."""

import math
from dataclasses import dataclass
from itertools import product

Pair = tuple[int, int]
"""Replicas of prefill and decode."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """GPUs per replica of each role, the most that may be used, and the fewest replicas of each."""

    gpus: Pair
    most: int
    fewest: Pair = (1, 1)

    def used(self, pair: Pair) -> int:
        """Return the GPUs of a pair."""
        return pair[0] * self.gpus[0] + pair[1] * self.gpus[1]


def fitted(ceiling: Ceiling, current: Pair, proposed: Pair) -> Pair:
    """Return the pair between current and proposed nearest to the proposal that the ceiling allows."""
    wish = (max(proposed[0], ceiling.fewest[0]), max(proposed[1], ceiling.fewest[1]))
    if ceiling.used(wish) <= ceiling.most:
        return wish
    if ceiling.used(current) > ceiling.most or wish != proposed:
        return proportional(ceiling, wish)
    change = (proposed[0] - current[0], proposed[1] - current[1])
    opposing = change[0] * change[1] < 0
    candidates = [
        pair
        for pair in product(_between(current[0], proposed[0]), _between(current[1], proposed[1]))
        if ceiling.used(pair) <= ceiling.most
        and not (opposing and (pair[0] == current[0]) != (pair[1] == current[1]))  # both roles move, or none
    ]
    return min(candidates, key=lambda pair: _preference(pair, current, proposed), default=current)


def _preference(pair: Pair, current: Pair, proposed: Pair) -> tuple[int, ...]:
    done = (abs(pair[0] - current[0]), abs(pair[1] - current[1]))
    asked = (abs(proposed[0] - current[0]), abs(proposed[1] - current[1]))
    distance = abs(proposed[0] - pair[0]) + abs(proposed[1] - pair[1])
    skew = abs(done[0] * asked[1] - done[1] * asked[0])
    return distance, skew, -sum(done), *pair


def proportional(ceiling: Ceiling, pair: Pair) -> Pair:
    """Shrink both roles by the same share; (0, 0) where not even the fewest replicas fit."""
    if ceiling.used(ceiling.fewest) > ceiling.most:
        return 0, 0
    if ceiling.used(pair) <= ceiling.most:
        return pair
    scale = ceiling.most / ceiling.used(pair)
    room = math.floor((ceiling.most - ceiling.fewest[1] * ceiling.gpus[1]) / ceiling.gpus[0])
    prefill = max(ceiling.fewest[0], min(room, math.floor(pair[0] * scale)))
    decode = max(ceiling.fewest[1], math.floor((ceiling.most - prefill * ceiling.gpus[0]) / ceiling.gpus[1]))
    return prefill, decode


def _between(first: int, second: int) -> range:
    return range(min(first, second), max(first, second) + 1)
