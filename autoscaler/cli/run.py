"""``autoscaler run``: the controller on a cluster."""

import asyncio
import random
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer
from prometheus_client import CollectorRegistry

from autoscaler import telemetry
from autoscaler.act.dry_run import DryRunActuator
from autoscaler.act.kube import KubeActuator
from autoscaler.cli import options, wiring
from autoscaler.cli.server import serving
from autoscaler.controller import UNREADY_AFTER_PERIODS, Controller
from autoscaler.decider import Decider
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError, ObservationError
from autoscaler.kube import KubeSession, Login
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.kube import KubeFleet
from autoscaler.observe.observer import ClusterObserver, PrometheusHistory
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.ports import Publisher
from autoscaler.publish.events import EventLog
from autoscaler.publish.every import Every
from autoscaler.publish.file import DecisionLog
from autoscaler.publish.health import Health
from autoscaler.publish.metrics import OwnMetrics
from autoscaler.settings import Loop, Records, Server

log = structlog.get_logger("autoscaler")

EPILOG = "Example: autoscaler run --policy policy.yaml --prometheus http://prometheus.monitoring:9090"

SYNC_TIMEOUT = Seconds(30.0)


def run(  # noqa: PLR0913 - each is an option of the command
    policy: options.PolicyOption,
    prometheus: options.PrometheusOption,
    *,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="Default: KUBECONFIG, else the pod's service account.")
    ] = None,
    period: Annotated[str, typer.Option("--period", help="Time between decisions.")] = "15s",
    history: Annotated[str, typer.Option("--history", help="How much of the past to learn from at start.")] = "6h",
    window: options.WindowOption = None,
    decision_log: Annotated[
        Path | None, typer.Option("--decision-log", help="Write each tick to this file as a JSON line.")
    ] = None,
    listen: Annotated[str, typer.Option("--listen", help="Address of /metrics, /healthz, /readyz.")] = "0.0.0.0:9095",
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option("--log-format", help="json or console.")] = "json",
    token_file: options.TokenFileOption = None,
    user: options.UserOption = "",
    password_file: options.PasswordFileOption = None,
    ca_file: options.CaFileOption = None,
) -> None:
    """Run the controller: in mode Auto it resizes workloads, in mode Recommend (the default) it writes nothing."""
    options.choice(log_level, "--log-level", ("debug", "info", "warning", "error"))
    options.choice(log_format, "--log-format", ("json", "console"))
    telemetry.configure(log_level, as_json=log_format == "json")
    connection = options.connection(prometheus, token_file, user, password_file, ca_file)
    loop = Loop(
        period=options.positive(period, "--period"),
        history=options.duration(history, "--history"),
    )
    service = _Service(
        policies=wiring.policies(policy),
        connection=connection,
        login=Login(kubeconfig=None if kubeconfig is None else str(kubeconfig)),
        loop=loop,
        window=options.window(window),
        server=options.server(listen),
        records=Records(decision_log),
    )
    asyncio.run(service.run())


class _Service:
    """Everything that one controller process consists of."""

    def __init__(
        self,
        *,
        policies: tuple[SLOPolicy, ...],
        connection: Connection,
        login: Login,
        loop: Loop,
        window: Seconds | None,
        server: Server,
        records: Records,
    ) -> None:
        self._policies = policies
        self._connection = connection
        self._login = login
        self._loop = loop
        self._window = window
        self._server = server
        self._records = records
        self._clock = wiring.WallClock()
        self._registry = CollectorRegistry()
        self._health = Health(Seconds(UNREADY_AFTER_PERIODS * loop.period))

    async def run(self) -> None:
        """Join the parts, then tick until a signal says stop."""
        jitter = random.Random()  # noqa: S311 - spreads load, guards no secret
        decider = Decider(self._policies, wiring.priors(self._policies), period=self._loop.period)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(await KubeSession.open(jitter=jitter.random, login=self._login))
            # before all that may have to wait: a probe must not kill what only waits for others
            port = await stack.enter_async_context(serving(self._server, self._health, self._registry, self._clock))
            fleet = await self._fleet(stack, session)
            metrics = await self._metrics()
            await self._warm(decider, metrics)
            controller = Controller(
                clock=self._clock,
                observer=ClusterObserver(self._policies, metrics, fleet),
                decider=decider,
                actuator=wiring.ByMode(
                    self._policies, acting=KubeActuator(session, self._policies), reporting=DryRunActuator()
                ),
                publisher=self._publisher(stack),
                deadline=self._loop.deadline,
            )
            _stop_on_signals(controller)
            log.info("started", policies=[policy.key for policy in self._policies], port=port)
            await controller.run(self._loop.period, lambda: self._loop.jitter * jitter.random())
            log.info("stopped")

    async def _fleet(self, stack: AsyncExitStack, session: KubeSession) -> KubeFleet:
        fleet = KubeFleet(session, self._policies)
        await fleet.start()
        stack.push_async_callback(fleet.close)
        try:
            await fleet.wait_synced(SYNC_TIMEOUT)
        except ObservationError as error:  # the loop holds, and says so, until the cluster answers
            log.warning("fleet_unknown", detail=str(error))
        return fleet

    async def _metrics(self) -> PrometheusSource:
        """Return the source of metrics; a Prometheus that is away now may come back."""
        now, usual = self._clock.now(), Windows().fast
        try:
            return await wiring.metrics_source(self._connection, self._policies, now, self._window)
        except ObservationError as error:
            log.warning("scrape_interval_unknown", detail=str(error), window_s=usual)
            return await wiring.metrics_source(self._connection, self._policies, now, usual)

    async def _warm(self, decider: Decider, metrics: PrometheusSource) -> None:
        """Learn from what Prometheus remembers; without it the controller starts cold and says so."""
        end = Instant(self._clock.now() - self._loop.period)
        history = PrometheusHistory(self._policies, metrics)
        try:
            past = [o async for o in history.past(Instant(end - self._loop.history), end, self._loop.history_step)]
        except ObservationError as error:
            log.warning("started_cold", detail=str(error))
            return
        decider.warm(past)
        log.info("warmed", observations=len(past))

    def _publisher(self, stack: AsyncExitStack) -> Publisher:
        publishes = [self._health.publish, OwnMetrics(self._registry, self._policies).publish, EventLog().publish]
        if self._records.decision_log is not None:
            decision_log = _opened(self._records.decision_log, self._policies)
            stack.callback(decision_log.close)
            publishes.append(decision_log.publish)
        return Every(publishes)


def _opened(path: Path, policies: Sequence[SLOPolicy]) -> DecisionLog:
    """Return the decision log.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        return DecisionLog(path, policies)
    except OSError as error:
        msg = f"--decision-log: {path}: {error.strerror}; name a file that can be written"
        raise InputError(msg) from error


def _stop_on_signals(controller: Controller) -> None:
    """Let SIGTERM and SIGINT end the loop after the tick in progress."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, controller.stop)
