"""How long new replicas take in the tunnel: distributions to draw from, and starts that fail."""

import math
from dataclasses import dataclass

import numpy as np

from autoscaler.domain.units import Seconds

NORMAL_QUANTILE_90 = 1.2815515655446004


@dataclass(frozen=True, slots=True)
class StartUp:
    """Seconds from a replica's creation on a node to Ready: log-normal about a median, with failures.

    ``spread`` is p90 over the median: 1 always takes the median, 1.3 is usual, 3 has a heavy tail.
    """

    median: Seconds
    spread: float = 1.0
    failing_share: float = 0.0  # of starts that crash when they should become ready, and are tried again
    warm_up: Seconds = Seconds(0.0)  # serving at half speed after Ready

    def __post_init__(self) -> None:
        if not self.median >= 0 or not self.spread >= 1 or not 0 <= self.failing_share < 1:
            msg = f"a start needs median >= 0, spread >= 1 and 0 <= failing_share < 1, not {self}"
            raise ValueError(msg)

    def draw(self, random: np.random.Generator) -> Seconds:
        """Return the seconds of one successful start."""
        if self.spread == 1:
            return self.median
        sigma = math.log(self.spread) / NORMAL_QUANTILE_90
        return Seconds(self.median * math.exp(sigma * random.standard_normal()))

    def fails(self, random: np.random.Generator) -> bool:
        """Tell whether a start crashes."""
        return self.failing_share > 0 and bool(random.random() < self.failing_share)
