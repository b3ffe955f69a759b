"""Dynamo planner 1.6: its Kalman predictor of level and trend, one interval ahead."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Kalman:
    """Noise of level, trend and observation; before ``min_points`` observations the last value is the forecast."""

    q_level: float = 1.0
    q_trend: float = 0.1
    r: float = 10.0
    min_points: int = 5

    def forecast(self, observations: Sequence[float]) -> float:
        """Return the level expected one interval after the last observation; leading zeros do not count."""
        first = next((index for index, value in enumerate(observations) if value), len(observations))
        seen = observations[first:]
        if len(seen) < self.min_points:
            return float(seen[-1]) if seen else 0.0
        return max(0.0, self._predicted_level(seen))

    def _predicted_level(self, seen: Sequence[float]) -> float:
        transition = np.array([[1.0, 1.0], [0.0, 1.0]])
        noise = np.diag([self.q_level, self.q_trend])
        state = np.array([seen[0], 0.0])
        covariance = 1000.0 * np.eye(2)
        for value in seen[1:]:  # the first one is the initial state
            state = transition @ state
            covariance = transition @ covariance @ transition.T + noise
            gain = covariance[:, 0] / (covariance[0, 0] + self.r)
            state = state + gain * (value - state[0])
            covariance = covariance - np.outer(gain, covariance[0, :])
        return float((transition @ state)[0])
