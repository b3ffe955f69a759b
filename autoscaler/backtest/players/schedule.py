"""Players that follow a schedule made beforehand: the clairvoyant's, the informed oracle's, or constant replicas."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoscaler.backtest.levels import bridged
from autoscaler.backtest.players.sight import Player
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.units import Instant

IntArray = NDArray[np.int64]


class Follow(Player):
    """Orders replicas early enough to be ready when the schedule needs them."""

    def __init__(self, policy: SLOPolicy, need: Mapping[str, IntArray], bin_s: float, startup_s: float) -> None:
        """Follow ``need``: ready replicas per bin, by variant."""
        super().__init__(policy)
        self._bin_s = bin_s
        self._orders = {name: ordered(counts, math.ceil(startup_s / bin_s) + 1) for name, counts in need.items()}

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:  # noqa: ARG002 - knows beforehand
        """Return what the schedule says for now."""
        place = int(at / self._bin_s)
        return {name: int(orders[min(place, len(orders) - 1)]) for name, orders in self._orders.items()}


def ordered(need: IntArray, lead_bins: int) -> IntArray:
    """Return what to ask for per bin so that ``need`` is ready in time; gaps up to the lead are bridged."""
    kept = bridged(need, lead_bins)
    windows = np.lib.stride_tricks.sliding_window_view(np.append(kept, np.repeat(kept[-1], lead_bins)), lead_bins + 1)
    asked: IntArray = windows.max(axis=1)
    return asked


class Constant(Player):
    """Keeps what it is given."""

    def __init__(self, policy: SLOPolicy, replicas: Mapping[str, int]) -> None:
        """Keep ``replicas`` by variant."""
        super().__init__(policy)
        self._replicas = dict(replicas)

    def wanted(self, at: Instant, observed: ModelObservation) -> Mapping[str, int]:  # noqa: ARG002 - never looks
        """Return the constant replicas."""
        return self._replicas
