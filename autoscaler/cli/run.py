"""``autoscaler run``: the controller on a cluster."""

import asyncio
import platform
import random
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from autoscaler import telemetry
from autoscaler.act.dry_run import DryRunActuator
from autoscaler.cli import actuation, options, shards, wiring
from autoscaler.cli.lessons import Learning
from autoscaler.cli.roster import Follower, Roster
from autoscaler.cli.school import School
from autoscaler.cli.server import serving
from autoscaler.cli.shards import Shard
from autoscaler.controller import UNREADY_AFTER_PERIODS, Controller, Span, no_span
from autoscaler.decider import Decider
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError, ObservationError
from autoscaler.kube import KubeSession, Login
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.kube import KubeFleet
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.picker import Pickers, Reached, WithMembership
from autoscaler.observe.policies import Policies, PolicyWatch
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.observe.writers import ForeignWriters
from autoscaler.ports import Actuator, Observer, Publisher
from autoscaler.publish.board import Board
from autoscaler.publish.counts import Counts
from autoscaler.publish.endpoints import EndpointsFiles
from autoscaler.publish.events import EventLog
from autoscaler.publish.every import Every, Publish
from autoscaler.publish.farewell import Farewell
from autoscaler.publish.file import DecisionLog
from autoscaler.publish.health import Health
from autoscaler.publish.k8s_events import EventWriter
from autoscaler.publish.metrics import OwnMetrics
from autoscaler.publish.status_writer import StatusWriter
from autoscaler.settings import Acting, Loop, Records, Server

log = structlog.get_logger("autoscaler")

EPILOG = "Example: autoscaler run --policy policy.yaml --prometheus http://prometheus.monitoring:9090"

SYNC_TIMEOUT = Seconds(30.0)


def run(  # noqa: PLR0913 - each is an option of the command
    prometheus: options.PrometheusOption,
    *,
    policy: options.PolicyFilesOption = None,
    namespace: options.NamespaceOption = "",
    kubeconfig: options.KubeconfigOption = None,
    period: options.PeriodOption = "15s",
    deadline: options.DeadlineOption = "10s",
    history: options.HistoryOption = "6h",
    window: options.WindowOption = None,
    decision_log: options.DecisionLogOption = None,
    decision_log_size: options.DecisionLogSizeOption = 64,
    decision_log_files: options.DecisionLogFilesOption = 2,
    listen: options.ListenOption = "0.0.0.0:9095",
    listen_token_file: options.ListenTokenOption = None,
    log_level: options.LogLevelOption = "info",
    log_format: options.LogFormatOption = "json",
    traces: options.TracesOption = "",
    picker: options.PickerOption = None,
    picker_token_file: options.PickerTokenFileOption = None,
    endpoints_port: options.EndpointsPortOption = 8000,
    actuation_by: options.ActuationOption = "scale",
    lease: options.LeaseOption = "auto",
    shard: options.ShardOption = "1/1",
    token_file: options.TokenFileOption = None,
    user: options.UserOption = "",
    password_file: options.PasswordFileOption = None,
    ca_file: options.CaFileOption = None,
) -> None:
    """Run the controller: in mode Auto it resizes workloads, in mode Recommend (the default) it writes nothing."""
    options.choice(log_level, "--log-level", ("debug", "info", "warning", "error"))
    options.choice(actuation_by, "--actuation", ("scale", "metric"))
    options.choice(log_format, "--log-format", ("json", "console"))
    telemetry.configure(log_level, as_json=log_format == "json")
    connection = options.connection(prometheus, token_file, user, password_file, ca_file)
    loop = options.loop(period, deadline, history)
    mine = shards.parsed(shard)
    policies = wiring.policies(policy or [])
    wiring.priors(policies)  # files that cannot be used are told before anything starts
    service = _Service(
        chosen=_Chosen(policies, namespace, mine),
        connection=connection,
        login=Login(kubeconfig=None if kubeconfig is None else str(kubeconfig)),
        loop=loop,
        window=options.window(window),
        edges=_Edges(
            server=options.server(listen, listen_token_file),
            traces=telemetry.traces(traces) if traces else None,
            records=Records(decision_log, decision_log_size * 2**20, decision_log_files),
            acting=Acting(
                pickers=tuple(picker or ()),
                picker_token_file=picker_token_file,
                endpoints_port=endpoints_port,
                by_metric=actuation_by == "metric",
                lease=mine.lease(actuation.lease(lease)),
            ),
        ),
    )
    asyncio.run(service.run())


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Whom to decide for: these policies, or without any those that resources in a namespace (in all) say.

    Of either, what is in the shard.
    """

    policies: tuple[SLOPolicy, ...]
    namespace: str
    shard: Shard


@dataclass(frozen=True, slots=True)
class _Edges:
    """What is answered, written down, and changed."""

    server: Server
    traces: telemetry.Traces | None
    records: Records
    acting: Acting


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the loop joins."""

    roster: Roster
    observer: Observer
    decider: Learning
    actuator: Actuator
    publisher: Publisher


class _Service:
    """Everything that one controller process consists of."""

    def __init__(
        self,
        *,
        chosen: _Chosen,
        connection: Connection,
        login: Login,
        loop: Loop,
        window: Seconds | None,
        edges: _Edges,
    ) -> None:
        self._acting = edges.acting
        self._policies = chosen.policies
        self._namespace = chosen.namespace
        self._shard = chosen.shard
        self._connection = connection
        self._login = login
        self._loop = loop
        self._window = window
        self._server = edges.server
        self._traces = edges.traces
        self._records = edges.records
        self._clock = wiring.WallClock()
        self._registry = CollectorRegistry()
        self._health = Health(Seconds(UNREADY_AFTER_PERIODS * loop.period))
        self._board = Board()

    async def run(self) -> None:
        """Join the parts, then tick until a signal says stop; one that comes before the first tick ends all at once."""
        ending = _Ending(asyncio.current_task())
        try:
            await self._run(ending)
        except asyncio.CancelledError:
            if not ending.wanted:
                raise
        log.info("stopped")

    async def _run(self, ending: "_Ending") -> None:
        jitter = random.Random()  # noqa: S311 - spreads load, guards no secret
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(await KubeSession.open(jitter=jitter.random, login=self._login))
            # before all that may have to wait: a probe must not kill what only waits for others
            port = await stack.enter_async_context(
                serving(self._server, self._health, self._registry, self._clock, self._board)
            )
            watch = await self._watch(stack, session)
            parts = await self._parts(stack, session, watch)
            controller = Controller(
                clock=self._clock,
                observer=parts.observer,
                decider=parts.decider,
                actuator=parts.actuator,
                publisher=parts.publisher,
                deadline=self._loop.deadline,
                span=self._spans(stack),
            )
            await parts.roster.begin(self._clock.now())
            ending.by(controller.stop)
            log.info("started", port=port, shard=str(self._shard))
            await controller.run(self._loop.period, lambda: self._loop.jitter * jitter.random())

    def _spans(self, stack: AsyncExitStack) -> Span:
        """Return what traces ticks, until the stack is left."""
        if self._traces is None:
            return no_span
        stack.callback(self._traces.close)
        return self._traces.span

    async def _watch(self, stack: AsyncExitStack, session: KubeSession) -> PolicyWatch | None:
        """Return the watch on policies in the cluster, complete; None where files say what the policies are."""
        if self._policies:
            return None
        watch = PolicyWatch(session, self._namespace)
        await watch.start()
        stack.push_async_callback(watch.close)
        await watch.wait_synced(SYNC_TIMEOUT)
        return watch

    async def _parts(self, stack: AsyncExitStack, session: KubeSession, watch: PolicyWatch | None) -> _Parts:
        """Make everything for no policies yet; the roster tells each part of those that there are."""
        current = self._current(watch)
        windows = (await self._metrics(current().usable)).windows
        fleet = KubeFleet(session, ())
        await fleet.start()
        stack.push_async_callback(fleet.close)
        decider = Decider((), {}, period=self._loop.period)
        school = School()
        stack.callback(school.close)
        learning = Learning(decider, school)
        pickers = Pickers((), session, fleet.pods_in, Reached(self._acting.pickers, self._acting.picker_token_file))
        writers = ForeignWriters((), session)
        follow_targets, changing, leads = await actuation.begin(
            stack, self._login, self._acting, session.backoff.jitter, self._clock.now
        )
        by_mode = wiring.ByMode((), acting=changing, reporting=DryRunActuator())
        publishers, followers = self._publishers(stack)
        farewell = Farewell(changing.apply)
        publishers.append(farewell.publish)
        followers.append(_unaware(farewell.follow))
        if watch is not None:
            events = EventWriter(session, platform.node())
            writer = StatusWriter(session, lambda: watch.resources, events, may_write=leads)
            publishers.append(writer.publish)
            followers.append(lambda roll: writer.follow(roll.policies, roll.refused, roll.written))
        roster = Roster(
            current,
            fleet=fleet,
            observer=ClusterObserver((), wiring.metrics_with(self._connection, (), windows), fleet),
            decider=decider,
            metrics=lambda policies: wiring.metrics_with(self._connection, policies, windows),
            loop=self._loop,
            followers=(
                *map(_unaware, (learning.follow, follow_targets, by_mode.follow, pickers.follow)),
                *(() if self._acting.by_metric else (_unaware(writers.follow),)),  # there an HPA is as it should be
                *followers,
            ),
        )
        return _Parts(roster, WithMembership(roster, pickers, writers), learning, by_mode, Every(publishers))

    def _current(self, watch: PolicyWatch | None) -> Callable[[], Policies]:
        """Return who says what the policies of this shard are."""
        told: set[str] = set()

        def current() -> Policies:
            judged = Policies(self._policies) if watch is None else watch.current()
            for budget in set(self._shard.torn(judged.usable)) - told:
                log.warning("budget_torn", budget=budget, shard=str(self._shard))
                told.add(budget)
            return self._shard.part(judged)

        return current

    async def _metrics(self, policies: Sequence[SLOPolicy]) -> PrometheusSource:
        """Return the source of metrics; a Prometheus that is away now may come back."""
        now, usual = self._clock.now(), Windows().fast
        try:
            return await wiring.metrics_source(self._connection, policies, now, self._window)
        except ObservationError as error:
            log.warning("scrape_interval_unknown", detail=str(error), window_s=usual)
            return await wiring.metrics_source(self._connection, policies, now, usual)

    def _publishers(self, stack: AsyncExitStack) -> tuple[list[Publish], list[Follower]]:
        """Return who publishes ticks, and those of them that have to know the policies."""
        own = OwnMetrics(self._registry, shard=str(self._shard))
        publishes: list[Publish] = [self._health.publish, own.publish, EventLog().publish, self._board.publish]
        follows: list[Follower] = [_unaware(own.follow), _unaware(self._board.follow)]
        if self._records.decision_log is not None:
            decision_log = _opened(self._records.decision_log, self._records, self._policies)
            stack.callback(decision_log.close)
            publishes.append(decision_log.publish)
            follows.append(_unaware(decision_log.govern))
        if self._acting.by_metric:
            counts = Counts(self._registry)
            publishes.append(counts.publish)
            follows.append(_unaware(counts.follow))
        endpoints = EndpointsFiles(self._acting.endpoints_port)
        publishes.append(endpoints.publish)
        follows.append(_unaware(endpoints.follow))
        return publishes, follows


def _unaware(follow: Callable[[Sequence[SLOPolicy]], None]) -> Follower:
    """Return a follower that only cares who is decided for."""
    return lambda roll: follow(roll.policies)


def _opened(path: Path, records: Records, policies: Sequence[SLOPolicy]) -> DecisionLog:
    """Return the decision log.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        return DecisionLog(path, policies, max_bytes=records.file_bytes, keep=records.files - 1)
    except OSError as error:
        msg = f"--decision-log: {path}: {error.strerror}; name a file that can be written"
        raise InputError(msg) from error


class _Ending:
    """What SIGTERM and SIGINT do: end a task at once, until a gentler way is named (after a tick)."""

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        """Take the signals over."""
        self.wanted = False
        self._end: Callable[[], object] = task.cancel if task is not None else lambda: None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._begin)

    def by(self, end: Callable[[], object]) -> None:
        """End this way from now on."""
        self._end = end

    def _begin(self) -> None:
        self.wanted = True
        self._end()
