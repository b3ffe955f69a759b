"""RBG 0.8 CoordinatedPolicy: a filter behind an autoscaler that keeps roles growing together."""

import math
from collections.abc import Mapping


def next_batch(current: Mapping[str, int], desired: Mapping[str, int], max_skew: float) -> dict[str, int]:
    """Return the size each role may take now.

    Growth is led by the slowest role: each may be ``max_skew`` (a share) ahead of it. Shrinking is not coordinated.
    """
    growing = {role: count for role, count in desired.items() if count > current[role]}
    progress = min((current[role] / count for role, count in growing.items()), default=1.0)
    return {
        role: max(current[role], min(count, math.ceil((progress + max_skew) * count))) if role in growing else count
        for role, count in desired.items()
    }
