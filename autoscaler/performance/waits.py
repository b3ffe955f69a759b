"""The tail of waits before servers that compute several requests in a step, as simulations showed it.

No formula is known for several servers with shared steps, general service and bursts. So P(wait > t) is a small network
fitted to simulated queues (``tools/simulate_waits.py``, ``tools/fit_waits.py``; errors in
``docs/reference/model-accuracy.md``). What must hold is built into its form, not learned: the weights of load, servers
and time have one sign on every path, hence more load never waits less, more servers or patience never more; and beyond
what was simulated the logarithm of the tail falls in proportion to time, as theory says (Kingman 1962).
"""

import functools
import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SOFTEST = 0.03
"""Times below such a share of their unit count as none."""

EMPTIEST, FULLEST = 1e-9, 1.0 - 1e-9  # shares of servers at work
MOST_SERVERS = 32.0
LOWEST = np.array([0.25, 0.02, 1.0, 1.0])  # of arrival scv, service scv, requests of a step, time alone over in company
HIGHEST = np.array([20.0, 12.0, 40.0, 2.5])
MONOTONE, FREE = 4, len(LOWEST)


@dataclass(frozen=True, slots=True)
class Queues:
    """Loads of one pool as arrays of shape (loads,): what the tail depends on, times in seconds."""

    busy_servers: FloatArray
    service_mean_s: FloatArray
    shape: FloatArray  # (loads, FREE): see ``LOWEST``


@dataclass(frozen=True, slots=True)
class Network:
    """Two layers of hyperbolic tangents; names in capitals that rise act on monotone inputs and are not negative."""

    rising: FloatArray  # (MONOTONE, n)
    free: FloatArray  # (FREE, n)
    bias: FloatArray  # (n,)
    rising_on: FloatArray  # (n, m)
    free_on: FloatArray  # (FREE, m)
    bias_on: FloatArray  # (m,)
    rising_out: FloatArray  # (m,)
    direct: FloatArray  # (MONOTONE,)
    free_out: FloatArray  # (FREE,)
    bias_out: float
    decay: FloatArray  # (FREE + 1,): of the tail's exponent, in units of the heavy-traffic limit's

    def tail(self, queues: Queues, servers: int, waits_s: FloatArray) -> FloatArray:
        """Return P(wait > wait_s), shape (loads, waits), where the loads are below what the servers can do."""
        known = np.log(np.clip(queues.shape, LOWEST, HIGHEST))
        rho = np.clip(queues.busy_servers / servers, EMPTIEST, FULLEST)
        scatter = np.maximum(queues.shape[:, 0] + queues.shape[:, 1], LOWEST[0] + LOWEST[1])
        exponent = 2.0 * servers * (1.0 - rho) / (queues.service_mean_s * scatter)
        step_s = queues.service_mean_s * queues.shape[:, 2]
        decayed = exponent[:, None] * waits_s
        by_load = np.stack([np.log(rho / (1.0 - rho)), np.full_like(rho, -np.log(min(servers, MOST_SERVERS)))], axis=1)
        by_wait = -np.log(np.stack([decayed, waits_s / step_s[:, None]], axis=2) + SOFTEST)
        first = by_load @ self.rising[:2] + known @ self.free + self.bias
        hidden = np.tanh(first[:, None, :] + by_wait @ self.rising[2:])
        second = np.tanh(hidden @ self.rising_on + (known @ self.free_on + self.bias_on)[:, None, :])
        last = by_load @ self.direct[:2] + known @ self.free_out + self.bias_out
        decay = np.logaddexp(0.0, known @ self.decay[1:] + self.decay[0])
        risen = last[:, None] + second @ self.rising_out + by_wait @ self.direct[2:] - decay[:, None] * decayed
        return np.asarray(np.exp(-np.logaddexp(0.0, -risen)))


@functools.cache
def fitted() -> Network:
    """Return the network that ships."""
    text = (importlib.resources.files("autoscaler.performance") / "waits.json").read_text(encoding="utf-8")
    weights: dict[str, Sequence[float]] = json.loads(text)["weights"]
    return Network(**{name: np.array(value) for name, value in weights.items()})  # type: ignore[arg-type]  # bias_out: 0-d
