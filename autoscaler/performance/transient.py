"""How long requests wait within a limited time from an empty queue: overload that ends hurts less than a steady state.

The wait is taken as a reflected Brownian motion with drift (Harrison 1985, section 1.9): work comes in bursts and is
worked off by all servers together. In the long run its tail is that of the heavy-traffic limit; before, it is smaller.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from autoscaler.performance.queueing import Load

FloatArray = NDArray[np.float64]

NEGLIGIBLE = 1e-9  # busy servers

_MOMENTS = np.array([0.125, 0.375, 0.625, 0.875])  # of the window, at which arrivals are asked how long they wait


def waiting_tail(load: Load, servers: int, waits_s: FloatArray, window_s: float) -> FloatArray:
    """Return P(wait > wait_s), averaged over arrivals of a window that begins with an empty queue.

    Args:
        load: what arrives; it may exceed what the servers can do.
        servers: at least 1.
        waits_s: shape (n,), positive.
        window_s: how long the load lasts.

    Returns:
        Shape (n,), rising with the load and falling with the wait.
    """
    if load.busy_servers < NEGLIGIBLE:
        return np.zeros_like(waits_s)
    drift = load.busy_servers / servers - 1.0  # seconds of wait that each second adds
    variance = load.busy_servers * load.service_mean_s * (load.arrival_scv + load.service_scv) / servers**2
    times = window_s * _MOMENTS[:, None]
    if variance <= 0:
        return np.asarray((drift * times > waits_s).mean(axis=0))
    deviation = np.sqrt(variance * times)
    direct = ndtr((drift * times - waits_s) / deviation)
    reflected = np.exp(2.0 * drift * waits_s / variance + log_ndtr((-drift * times - waits_s) / deviation))
    return np.asarray(np.minimum(1.0, direct + reflected).mean(axis=0))
