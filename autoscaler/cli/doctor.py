"""``autoscaler doctor``: why would nothing happen? Looks at policy, metrics and cluster before the controller does."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from autoscaler import policy as policies_room
from autoscaler.cli import options, wiring
from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError, ObservationError
from autoscaler.kube import KubeSession, Login
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.doctor import cluster, look, metrics
from autoscaler.observe.doctor.findings import Checked, Finding
from autoscaler.observe.doctor.kube import at_cluster
from autoscaler.observe.files import FileFleet, NoFleet
from autoscaler.observe.fleet import FleetSource
from autoscaler.observe.kube import KubeFleet
from autoscaler.observe.observer import windows_for
from autoscaler.observe.recording import load_recording
from autoscaler.plan.feasibility import slo_feasible

EPILOG = "Example: autoscaler doctor --policy policy.yaml --prometheus http://prometheus:9090 --cluster"

SYNC_TIMEOUT = Seconds(20.0)


def doctor(  # noqa: PLR0913 - each is an option of the command
    policy: options.PolicyOption,
    *,
    prometheus: Annotated[
        str | None, typer.Option("--prometheus", envvar="PROMETHEUS_URL", help="Look at this Prometheus.")
    ] = None,
    recording: Annotated[
        Path | None, typer.Option("--recording", help="Look at recorded scrapes (a folder) instead of a Prometheus.")
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look at the cluster of KUBECONFIG or of the pod's service account.")
    ] = False,
    kubeconfig: Annotated[Path | None, typer.Option("--kubeconfig", help="Look at the cluster of this file.")] = None,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", help="File that tells the replicas without a cluster.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Look at metrics as of this time instead of now.")] = None,
    window: options.WindowOption = None,
    token_file: options.TokenFileOption = None,
    user: options.UserOption = "",
    password_file: options.PasswordFileOption = None,
    ca_file: options.CaFileOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check a policy, its metrics and its cluster for everything that makes an autoscaler silently useless."""
    if prometheus and recording:
        msg = "--prometheus and --recording exclude each other; give one of them"
        raise InputError(msg)
    checked, chosen = _policies(policy)
    examined = _Examination(
        policies=chosen,
        connection=options.connection(prometheus, token_file, user, password_file, ca_file) if prometheus else None,
        recording=recording,
        login=Login(kubeconfig=None if kubeconfig is None else str(kubeconfig)) if cluster or kubeconfig else None,
        fleet=fleet,
        at=options.moment(at, "--at"),
        window=None if window is None else options.duration(window, "--window"),
    )
    if chosen:
        checked += asyncio.run(examined.run())
    _print(checked, examined.left_out(), output)
    if any(one.findings for one in checked):
        raise typer.Exit(1)


def _policies(files: Sequence[Path]) -> tuple[list[Checked], tuple[SLOPolicy, ...]]:
    """Check policies by themselves; return those that can be used."""
    inspected = policies_room.inspect_files(files)
    named = ", ".join(str(file) for file in files)
    flaws = [_of_problem(problem) for problem in inspected.problems]
    keys = ", ".join(policy.key for policy in inspected.policies) or "none"
    return [
        Checked("policy-file", keys, named, tuple(flaws)),
        *(check for policy in inspected.policies for check in _speeds(policy)),
    ], inspected.policies


def _speeds(policy: SLOPolicy) -> Iterator[Checked]:
    """Check that a speed is known of every variant, and that some variant can keep the SLO at all."""
    models, unknown = {}, []
    for variant in policy.variants:
        try:
            models[variant.name] = wiring.prior(policy, variant).model
        except InputError as error:
            fix = "write the accelerator as one that is known, or name a performanceProfile (`autoscaler profile fit`)"
            subject = f"variant {variant.name}"
            unknown.append(Finding(subject, str(error).removeprefix(f"{policy.key}: {subject}: "), fix))
    yield Checked("speed", policy.key, "performance profiles, accelerators, model shape", tuple(unknown))
    doubts = [_of_problem(doubt) for doubt in slo_feasible(policy, models)]
    yield Checked("slo-feasible", policy.key, "SLO limits against an engine without load", tuple(doubts))


def _of_problem(problem: policies_room.Problem) -> Finding:
    """Return a finding for what is wrong in a policy: its message ends with the way out."""
    found, _, fix = problem.message.rpartition("; ")
    subject = ": ".join(part for part in (problem.where, problem.field) if part)
    return Finding(subject, found or problem.message, fix if found else "correct the policy")


class _Examination:
    """What was asked to be looked at."""

    def __init__(
        self,
        *,
        policies: tuple[SLOPolicy, ...],
        connection: Connection | None,
        recording: Path | None,
        login: Login | None,
        fleet: Path | None,
        at: Instant | None,
        window: Seconds | None,
    ) -> None:
        self._policies = policies
        self._connection = connection
        self._recording = recording
        self._login = login
        self._fleet = fleet
        self._at = at
        self._window = window

    def left_out(self) -> list[str]:
        """Say what nobody asked to be looked at."""
        parts = []
        if self._connection is None and self._recording is None:
            parts.append("metrics: not looked at; give --prometheus or --recording")
        if self._login is None:
            parts.append("cluster: not looked at; give --cluster or --kubeconfig")
        return parts

    async def run(self) -> list[Checked]:
        """Look at everything that was asked for; what does not answer is a finding."""
        checked: list[Checked] = []
        async with AsyncExitStack() as stack:
            source: FleetSource = NoFleet(self._policies)
            if self._fleet is not None:
                source = FileFleet(self._fleet, self._policies)
            if self._login is not None:
                session = await KubeSession.open(jitter=random.random, login=self._login)
                await stack.enter_async_context(session)
                checked += await self._cluster(session)
                source = await self._followed(stack, session, source)
            if self._connection is not None or self._recording is not None:
                checked += await self._metrics(source)
        return checked

    async def _cluster(self, session: KubeSession) -> list[Checked]:
        try:
            seen = await at_cluster(session, self._policies, wiring.WallClock().now())
        except ObservationError as error:
            return [_unreachable("cluster", "the API server", error, "is the kubeconfig right, is the server up?")]
        return [check.of(policy, seen) for policy in self._policies for check in cluster.CHECKS]

    async def _followed(self, stack: AsyncExitStack, session: KubeSession, otherwise: FleetSource) -> FleetSource:
        """Return the fleet as the cluster tells it; where it does not, ``targets`` and ``rights`` have said why."""
        fleet = KubeFleet(session, self._policies)
        await fleet.start()
        stack.push_async_callback(fleet.close)
        try:
            await fleet.wait_synced(SYNC_TIMEOUT)
        except ObservationError:
            return otherwise
        return fleet

    async def _metrics(self, fleet: FleetSource) -> list[Checked]:
        try:
            source, now = await self._source()
            seen = await look.at_metrics(self._policies, source, fleet, now)
        except ObservationError as error:
            return [_unreachable("metrics", "the metrics source", error, "see the message")]
        return [check.of(policy, seen) for policy in self._policies for check in metrics.CHECKS]

    async def _source(self) -> tuple[look.Inspectable, Instant]:
        if self._recording is not None:
            recorded = load_recording(self._recording)
            now = self._at or recorded.end
            probe = recorded.source(Windows())
            chosen = windows_for(await probe.scrape_interval(now), Windows(fast=wiring.QUICKEST_WINDOW))
            return recorded.source(Windows(fast=self._window) if self._window else chosen), now
        if self._connection is None:
            msg = "no metrics source was given"
            raise ObservationError(msg)
        now = self._at or wiring.WallClock().now()
        return await wiring.metrics_source(self._connection, self._policies, now, self._window), now


def _unreachable(check: str, what: str, error: ObservationError, fix: str) -> Checked:
    return Checked(check, "", what, (Finding(what, str(error), fix),))


def _print(checked: Sequence[Checked], left_out: Sequence[str], output: Format) -> None:
    counts = Counter("findings" if one.findings else "skipped" if one.skipped else "ok" for one in checked)
    findings = sum(len(one.findings) for one in checked)
    data: Jsonable = {
        "ok": findings == 0,
        "findings": findings,
        "not_looked_at": [*left_out],
        "checks": [_as_data(one) for one in checked],
    }
    rows = [
        (_mark(one), one.check, one.policy, one.looked_at if not one.skipped else f"{one.looked_at}; {one.skipped}")
        for one in checked
    ]
    told = [f"\n{one.check}: {f.subject}: {f.found}\n  -> {f.fix}" for one in checked for f in one.findings]
    summary = f"\n{findings} finding(s); {counts['ok']} checks passed, {counts['skipped']} could not look"
    show(data, [table(("", "check", "policy", "looked at"), rows), *left_out, *told, summary], output)


def _mark(one: Checked) -> str:
    if one.findings:
        return f"{len(one.findings)} found"
    return "skipped" if one.skipped else "ok"


def _as_data(one: Checked) -> Jsonable:
    return {
        "check": one.check,
        "policy": one.policy,
        "looked_at": one.looked_at,
        "skipped": one.skipped,
        "findings": [{"subject": f.subject, "found": f.found, "fix": f.fix} for f in one.findings],
    }
