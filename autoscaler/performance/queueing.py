"""How long requests wait in the steady state for one of several equal servers behind one queue.

Service may be in steps that several requests share, as engines compute prompts: ``Load.step_requests`` of them fit.
The tail of waits is that of ``autoscaler/performance/waits.py``. Pools are sized by ``transient.py``, which knows no
shared steps but knows overload and queues that begin empty; ``make bench-models`` measures both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.performance import waits
from autoscaler.performance.waits import FloatArray


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives at a pool, and what one server needs for it."""

    arrivals_per_second: float
    arrival_scv: float  # squared coefficient of variation of gaps, or index of dispersion; 1: Poisson
    service_mean_s: float  # server time that one request takes of a busy server
    service_scv: float
    step_requests: float = 0.0  # requests of mean size that a shared step holds, at least 1; 0: one at a time
    alone_s: float = 0.0  # mean time of a request that has a step to itself; less than service_mean_s: as that

    def __post_init__(self) -> None:
        times = min(self.service_mean_s, self.alone_s)
        if not (self.arrivals_per_second >= 0 and times >= 0 and self.step_requests >= 0):
            msg = f"rates, times and requests of a step are not negative: {self}"
            raise ValueError(msg)
        if not (self.arrival_scv >= 0 and self.service_scv >= 0):
            msg = f"a squared coefficient of variation is not negative: {self}"
            raise ValueError(msg)

    @property
    def numbers(self) -> tuple[float, float, float, float, float, float]:
        """Return all fields in their order."""
        return (
            self.arrivals_per_second,
            self.arrival_scv,
            self.service_mean_s,
            self.service_scv,
            self.step_requests,
            self.alone_s,
        )

    @property
    def busy_servers(self) -> float:
        """Return the offered load: the mean number of servers at work."""
        return self.arrivals_per_second * self.service_mean_s


def erlang_c(servers: int, load: float) -> float:
    """Return the share of Poisson arrivals that find all servers busy (exponential service); 1 where load >= servers.

    Args:
        servers: at least 1.
        load: arrivals per second times mean service seconds.
    """
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang B by its recursion, which neither overflows nor cancels
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def waiting_tail(load: Load, servers: int, wait_s: float) -> float:
    """Return P(wait > wait_s) in the steady state; 1 where there is none, since the queue then grows for ever."""
    return float(waiting_tails((load,), servers, np.array([wait_s]))[0, 0])


def waiting_tails(loads: Sequence[Load], servers: int, waits_s: FloatArray) -> FloatArray:
    """Return P(wait > wait_s) of several loads and waits at once, as ``waiting_tail``.

    Args:
        loads: of one pool, each for itself.
        servers: at least 1.
        waits_s: shape (n,), not negative.

    Returns:
        Shape (loads, n), rising with the load (all else equal) and falling with servers and wait.
    """
    arrivals, arrival_scv, service_s, service_scv, step_requests, alone_s = np.array([load.numbers for load in loads]).T
    busy = arrivals * service_s
    learned = (busy > 0) & (busy < servers) & (step_requests > 0)
    if learned.all():
        shape = np.stack([arrival_scv, service_scv, step_requests, alone_s / service_s], axis=1)
        return waits.fitted().tail(waits.Queues(busy, service_s, shape), servers, waits_s)
    found = np.array([_unshared_tail(load, servers, waits_s) for load in loads])
    if learned.any():
        found[learned] = waiting_tails(
            [load for load, one in zip(loads, learned, strict=True) if one], servers, waits_s
        )
    return found


def _unshared_tail(load: Load, servers: int, waits_s: FloatArray) -> FloatArray:
    """Return the tail where each request is served alone: Allen and Cunneen's mean (1990), waits exponential."""
    if not 0 < load.busy_servers < servers:
        return np.full(len(waits_s), float(load.busy_servers >= servers))
    scale_s = load.service_mean_s * (load.arrival_scv + load.service_scv) / 2.0
    if scale_s <= 0:
        return np.zeros(len(waits_s))
    decayed = (servers - load.busy_servers) * waits_s / scale_s
    return np.asarray(erlang_c(servers, load.busy_servers) * np.exp(-decayed))
