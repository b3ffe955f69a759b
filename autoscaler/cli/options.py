"""Options that several commands share."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.observe.connection import Connection
from autoscaler.policy import durations
from autoscaler.settings import Loop, Server

PolicyOption: TypeAlias = Annotated[
    list[Path], typer.Option("--policy", "-p", help="SLO policy file; may be given several times.")
]
PrometheusOption: TypeAlias = Annotated[
    str, typer.Option("--prometheus", envvar="PROMETHEUS_URL", help="Prometheus, e.g. http://prometheus:9090.")
]
TokenFileOption: TypeAlias = Annotated[
    Path | None, typer.Option("--prometheus-token-file", help="File with a bearer token; read again for each request.")
]
UserOption: TypeAlias = Annotated[str, typer.Option("--prometheus-user", help="User name for basic authentication.")]
PasswordFileOption: TypeAlias = Annotated[
    Path | None, typer.Option("--prometheus-password-file", help="File with the password of that user.")
]
CaFileOption: TypeAlias = Annotated[
    Path | None, typer.Option("--prometheus-ca-file", help="Certificates to trust instead of the system's.")
]
WindowOption: TypeAlias = Annotated[
    str | None, typer.Option("--window", help="Look-back of rates, e.g. 2m. Default: four scrapes, at least 30s.")
]

PolicyFilesOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--policy", "-p", help="SLO policy file; without any, SLOPolicy resources in the cluster."),
]
NamespaceOption: TypeAlias = Annotated[
    str, typer.Option("--namespace", "-n", help="Watch SLOPolicy resources here only. Default: everywhere.")
]
KubeconfigOption: TypeAlias = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Default: KUBECONFIG, else the pod's service account.")
]
PeriodOption: TypeAlias = Annotated[str, typer.Option("--period", help="Time between decisions.")]
DeadlineOption: TypeAlias = Annotated[
    str, typer.Option("--deadline", help="Longest time that observing, acting or publishing may take.")
]
HistoryOption: TypeAlias = Annotated[
    str, typer.Option("--history", help="How much of the past to learn from at start.")
]
DecisionLogOption: TypeAlias = Annotated[
    Path | None, typer.Option("--decision-log", help="Write each tick to this file as a JSON line.")
]
DecisionLogSizeOption: TypeAlias = Annotated[
    int, typer.Option("--decision-log-size", min=1, max=65536, help="MiB after which the decision log is rotated.")
]
DecisionLogFilesOption: TypeAlias = Annotated[
    int, typer.Option("--decision-log-files", min=1, max=1000, help="Files of the decision log that are kept.")
]
ListenOption: TypeAlias = Annotated[str, typer.Option("--listen", help="Address of /metrics, /healthz, /readyz.")]
ListenTokenOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--listen-token-file", help="File with a bearer token that all but probes must show; read each time."),
]
LogLevelOption: TypeAlias = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
LogFormatOption: TypeAlias = Annotated[str, typer.Option("--log-format", help="json or console.")]
TracesOption: TypeAlias = Annotated[
    str, typer.Option("--traces", help="OTLP/HTTP endpoint for traces of ticks, e.g. http://otel:4318/v1/traces.")
]
PickerOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--picker", help="Metrics page of an endpoint picker. Default: found by the InferencePool."),
]
PickerTokenFileOption: TypeAlias = Annotated[
    Path | None, typer.Option("--picker-token-file", help="File with a bearer token for pickers' metrics.")
]
EndpointsPortOption: TypeAlias = Annotated[
    int, typer.Option("--endpoints-port", help="Port of the engines, written into endpoints files.")
]
ActuationOption: TypeAlias = Annotated[
    str, typer.Option("--actuation", help="scale, or metric: publish counts for an HPA or KEDA to apply.")
]
LeaseOption: TypeAlias = Annotated[
    str, typer.Option("--lease", help="Lease of the leader: NAMESPACE/NAME, none, or auto (one, in a cluster).")
]

ShardOption: TypeAlias = Annotated[
    str, typer.Option("--shard", help="I/N: decide only for the I-th of N parts of the namespaces.")
]

LATEST = dt.datetime(9999, 1, 1, tzinfo=dt.UTC).timestamp()


def connection(
    url: str, token_file: Path | None, user: str, password_file: Path | None, ca_file: Path | None
) -> Connection:
    """Return how to reach Prometheus.

    Raises:
        InputError: the options contradict each other.
    """
    return Connection(url, token_file=token_file, username=user, password_file=password_file, ca_file=ca_file)


def duration(text: str, option: str) -> Seconds:
    """Return a duration given on the command line.

    Raises:
        InputError: it is none.
    """
    try:
        return durations.parse(text)
    except ValueError as error:
        msg = f"{option}: {text!r} {error}"
        raise InputError(msg) from error


def positive(text: str, option: str) -> Seconds:
    """Return a duration given on the command line, which has to be longer than nothing.

    Raises:
        InputError: it is none, or 0.
    """
    length = duration(text, option)
    if not length > 0:
        msg = f"{option}: {text!r} is no time at all; write for example 15s"
        raise InputError(msg)
    return length


def loop(period: str, deadline: str, history: str) -> Loop:
    """Return how the loop runs.

    Raises:
        InputError: one of them is no duration, or period or deadline 0.
    """
    return Loop(
        period=positive(period, "--period"),
        deadline=positive(deadline, "--deadline"),
        history=duration(history, "--history"),
    )


def window(text: str | None) -> Seconds | None:
    """Return the look-back of rates, if one was given.

    Raises:
        InputError: it is no duration, or 0.
    """
    return None if text is None else positive(text, "--window")


def moment(text: str | None, option: str) -> Instant | None:
    """Return a moment given as Unix seconds or in ISO 8601 (without a zone: UTC).

    Raises:
        InputError: it is neither.
    """
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return Instant(seconds)
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{option}: {text!r} is no time; write Unix seconds or 2026-11-22T18:05:00Z"
        raise InputError(msg) from error
    return Instant((parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)).timestamp())


def _number(text: str) -> float | None:
    """Return a number of seconds that a calendar can hold; None: it is something else."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < LATEST else None


def choice(text: str, option: str, allowed: Sequence[str]) -> None:
    """Check a word given on the command line.

    Raises:
        InputError: it is not among those allowed.
    """
    if text not in allowed:
        msg = f"{option}: {text!r} is not known; write {' or '.join(allowed)}"
        raise InputError(msg)


def server(listen: str, token_file: Path | None = None) -> Server:
    """Return where to listen, from ``HOST:PORT``.

    Raises:
        InputError: it has another form, or there is no token to ask for.
    """
    if token_file is not None and not (token_file.is_file() and token_file.read_text(encoding="utf-8").strip()):
        msg = f"--listen-token-file: {token_file}: no such file, or nothing in it; write a token of random letters"
        raise InputError(msg)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        msg = f"--listen: {listen!r} is no address; write HOST:PORT, e.g. 0.0.0.0:9095"
        raise InputError(msg)
    return Server(host.removeprefix("[").removesuffix("]"), int(port), token_file)
