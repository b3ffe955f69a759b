"""How long requests wait within a limited time from an empty queue: overload that ends hurts less than a steady state.

The wait is taken as a reflected Brownian motion with drift (Harrison 1985, section 1.9): work comes in bursts and is
worked off by all servers together; who finds a server free does not wait (Erlang C). In the long run and near full use
the tail is that of Allen and Cunneen, below it falls faster; before, and under overload, it grows with time. That
servers share steps is not in it, so many servers look slower than they are (docs/reference/model-accuracy.md).
Vectorised over several loads at once, because a plan weighs many levels of load.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincc, gammaln, log_ndtr, ndtr, xlogy

FloatArray = NDArray[np.float64]

NEGLIGIBLE = 1e-9  # busy servers

_MOMENTS = np.array([0.125, 0.375, 0.625, 0.875])  # of the window, at which arrivals are asked how long they wait


@dataclass(frozen=True, slots=True)
class Loads:
    """Several loads of one pool, as arrays of shape (loads,)."""

    busy_servers: FloatArray
    unit_s: FloatArray  # variance of arriving work per second of it: mean service time x (arrival scv + service scv)


def waiting_tail(loads: Loads, servers: ArrayLike, waits_s: FloatArray, window_s: float) -> FloatArray:
    """Return P(wait > wait_s), averaged over arrivals of a window that begins with an empty queue.

    Args:
        loads: what arrives; it may exceed what the servers can do.
        servers: at least 1, of all loads or of each.
        waits_s: not negative, shape (n,), or (loads, n) if each has its own.
        window_s: how long the load lasts.

    Returns:
        Shape (loads, n), rising with the load and falling with the wait.
    """
    count, waits = np.asarray(servers, dtype=np.float64)[..., None, None], np.atleast_2d(waits_s)[:, None, :]
    busy = np.maximum(loads.busy_servers, NEGLIGIBLE)[:, None, None]
    drift = busy / count - 1.0  # seconds of wait that each second adds
    variance = np.maximum(busy * loads.unit_s[:, None, None] / count**2, 1e-12)
    times = window_s * _MOMENTS[None, :, None]
    deviation = np.sqrt(variance * times)
    drifted, waited = drift * times / deviation, waits / deviation
    reflected = np.exp(np.minimum(0.0, 2.0 * drift / variance * waits + log_ndtr(-drifted - waited)))
    beyond = np.minimum(1.0, ndtr(drifted - waited) + reflected).sum(axis=1) / len(_MOMENTS)
    return np.asarray(delayed(loads.busy_servers, servers)[:, None] * beyond)


def delayed(busy_servers: FloatArray, servers: ArrayLike) -> FloatArray:
    """Return Erlang C, the share of arrivals that find all servers busy, for several loads; 1 under overload."""
    count = np.asarray(servers, dtype=np.float64)
    load = np.minimum(busy_servers, count)
    exactly = np.exp(xlogy(count, load) - load - gammaln(count + 1.0))  # as many requests as servers, if all fit
    blocked = exactly / gammaincc(count + 1.0, load)  # Erlang B: a Poisson distribution cut off at the servers
    return np.asarray(blocked / (1.0 - load / count * (1.0 - blocked)))
