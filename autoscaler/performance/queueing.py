"""How long requests wait for one of several equal servers behind one queue, and how many servers keep waits short.

Service may be in steps that several requests share, as engines compute prompts: ``Load.step_requests`` of them fit.
"""

import math
from dataclasses import dataclass

SHARING = 1.1  # saved by shared steps: so many service times x sqrt(requests of a step - 1) / servers^(1/4)


@dataclass(frozen=True, slots=True)
class Load:
    """What arrives at a pool, and what one server needs for it."""

    arrivals_per_second: float
    arrival_scv: float  # squared coefficient of variation of gaps, or index of dispersion; 1: Poisson
    service_mean_s: float  # server time that one request takes of a busy server
    service_scv: float
    step_requests: float = 1.0  # requests of mean size that one step holds; 1: one at a time

    def __post_init__(self) -> None:
        if not (self.arrivals_per_second >= 0 and self.service_mean_s >= 0 and self.step_requests > 0):
            msg = f"rates and times are not negative, and a step holds something: {self}"
            raise ValueError(msg)
        if not (self.arrival_scv >= 0 and self.service_scv >= 0):
            msg = f"a squared coefficient of variation is not negative: {self}"
            raise ValueError(msg)

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
    """Return P(wait > wait_s) in the steady state; 1 where there is none, since the queue then grows for ever.

    Allen and Cunneen's mean (Allen 1990), delayed requests waiting exponentially. Where steps are shared a request
    need not wait for those of its own step; the time so saved was fitted to ``benchmarks/queue_simulation.py``.
    """
    if load.busy_servers <= 0:
        return 0.0
    if load.busy_servers >= servers:
        return 1.0
    delayed = erlang_c(servers, load.busy_servers)
    scale_s = load.service_mean_s * (load.arrival_scv + load.service_scv) / 2.0
    if scale_s <= 0:
        return 0.0
    shared_s = SHARING * load.service_mean_s * math.sqrt(max(0.0, load.step_requests - 1.0)) / servers**0.25
    return delayed * math.exp(-(servers - load.busy_servers) * (wait_s + shared_s) / scale_s)


def wait_quantile(load: Load, servers: int, probability: float) -> float:
    """Return the wait in seconds that is not exceeded with a probability; inf where there is no steady state."""
    if load.busy_servers >= servers:
        return math.inf
    exceeded = 1.0 - probability
    if waiting_tail(load, servers, 0.0) <= exceeded:
        return 0.0
    low, high = 0.0, max(load.service_mean_s, 1e-9)
    while waiting_tail(load, servers, high) > exceeded:
        low, high = high, 2.0 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if waiting_tail(load, servers, middle) > exceeded else (low, middle)
    return high


def smallest_pool(load: Load, wait_s: float, target: float, most: int = 4096) -> int:
    """Return the fewest servers with P(wait > wait_s) <= 1 - target; ``most`` + 1 where not even ``most`` do.

    More load never needs fewer servers: the tail of each pool rises with its load.
    """
    if wait_s < 0:
        return most + 1
    fewest = max(1, math.floor(load.busy_servers) + 1)
    if fewest > most or waiting_tail(load, most, wait_s) > 1.0 - target:
        return most + 1
    low, high = fewest - 1, fewest  # doubling steps from the fewest: the answer is mostly near it
    while waiting_tail(load, min(high, most), wait_s) > 1.0 - target:
        low, high = high, high + 2 * (high - low)
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if waiting_tail(load, middle, wait_s) > 1.0 - target else (low, middle)
    return high


def drain_s(queued_work_s: float, load: Load, servers: int) -> float:
    """Return the seconds until a backlog is gone while the load keeps arriving; inf where it never is.

    Args:
        queued_work_s: server seconds of work that waits already.
        load: what arrives meanwhile.
        servers: that work on it.
    """
    spare = servers - load.busy_servers
    if queued_work_s <= 0:
        return 0.0
    return queued_work_s / spare if spare > 0 else math.inf


def pool_to_drain(queued_work_s: float, load: Load, within_s: float) -> float:
    """Return the servers (real) that serve the load and clear a backlog within a time."""
    if queued_work_s <= 0:
        return load.busy_servers
    return load.busy_servers + queued_work_s / within_s if within_s > 0 else math.inf
