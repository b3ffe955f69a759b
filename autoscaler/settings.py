"""Process settings: what is neither policy nor learned. The command line fills them in."""

from dataclasses import dataclass
from pathlib import Path

from autoscaler.domain.units import HOUR, Seconds


@dataclass(frozen=True, slots=True)
class Loop:
    """How the loop runs."""

    period: Seconds = Seconds(15.0)
    jitter: float = 0.05  # share of the period by which ticks are put off at random
    deadline: Seconds = Seconds(10.0)  # of observing, acting, publishing each
    history: Seconds = Seconds(6 * HOUR)  # read from Prometheus at start
    history_step: Seconds = Seconds(60.0)


@dataclass(frozen=True, slots=True)
class Server:
    """Where the controller answers ``/metrics``, ``/healthz`` and ``/readyz``, and whom."""

    host: str = "0.0.0.0"  # noqa: S104 - probes and Prometheus come from other hosts
    port: int = 9095
    token_file: Path | None = None  # a token that all but probes have to show; None: nobody is asked


@dataclass(frozen=True, slots=True)
class Acting:
    """How the cluster is changed."""

    pickers: tuple[str, ...] = ()  # metrics pages of endpoint pickers; none: found by the InferencePool
    picker_token_file: Path | None = None
    endpoints_port: int = 8000  # of the engines, for endpoints files
    by_metric: bool = False  # counts are published for an HPA or KEDA to apply, not written
    lease: tuple[str, str] | None = None  # namespace and name; None: this process is the only one


@dataclass(frozen=True, slots=True)
class Records:
    """Where decisions are written down."""

    decision_log: Path | None = None
    file_bytes: int = 64 * 2**20  # of the decision log, then it is rotated
    files: int = 2  # that are kept, the one that is written to included
