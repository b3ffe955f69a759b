"""``autoscaler recommend``: what the controller would do, now or at any time that Prometheus remembers; never acts."""

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from autoscaler.act.dry_run import DryRunActuator
from autoscaler.cli import options, wiring
from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.decider import Decider
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError, ObservationError
from autoscaler.observe.files import FileFleet, NoFleet
from autoscaler.observe.fleet import FleetSource
from autoscaler.observe.observer import ClusterObserver, PrometheusHistory
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.publish import document

EPILOG = "Example: autoscaler recommend --policy p.yaml --prometheus http://prometheus:9090 --at 2026-11-22T18:05:00Z"

DEFAULT_STEP = Seconds(15.0)
MOST_DECISIONS = 100_000


def recommend(  # noqa: PLR0913 - each is an option of the command
    policy: options.PolicyOption,
    prometheus: options.PrometheusOption,
    *,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", help="File that tells the replicas, where there is no cluster to ask.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Decide as of this time instead of now.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="First decision of a series.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last decision of a series.")] = None,
    step: Annotated[str | None, typer.Option("--step", help="Time between those decisions. Default: 15s.")] = None,
    history: Annotated[str, typer.Option("--history", help="How much of the past to learn from first.")] = "1h",
    window: options.WindowOption = None,
    token_file: options.TokenFileOption = None,
    user: options.UserOption = "",
    password_file: options.PasswordFileOption = None,
    ca_file: options.CaFileOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say how many replicas each variant should have, and why; never acts."""
    moments = _moments(
        options.moment(at, "--at"),
        options.moment(begin, "--from"),
        options.moment(end, "--to"),
        None if step is None else options.positive(step, "--step"),
    )
    policies = wiring.policies(policy)
    decider = Decider(policies, wiring.priors(policies), period=_period(moments))
    connection = options.connection(prometheus, token_file, user, password_file, ca_file)
    source: FleetSource = NoFleet(policies) if fleet is None else FileFleet(fleet, policies)
    look_back = options.duration(history, "--history")
    rate_window = options.window(window)

    async def decide() -> list[TickRecord]:
        metrics = await wiring.metrics_source(connection, policies, moments[0], rate_window)
        await _warm(decider, policies, metrics, moments[0], look_back)
        observer = ClusterObserver(policies, metrics, source)
        return [await _decision(observer, decider, moment) for moment in moments]

    records = asyncio.run(decide())
    _check_answered(records)
    _print(policies, records, output, series=len(moments) > 1)


async def _warm(
    decider: Decider, policies: Sequence[SLOPolicy], metrics: PrometheusSource, first: Instant, look_back: Seconds
) -> None:
    """Let the decider learn from what lies before the first decision."""
    if look_back < DEFAULT_STEP:
        return
    past = PrometheusHistory(policies, metrics).past(
        Instant(first - look_back), Instant(first - DEFAULT_STEP), DEFAULT_STEP
    )
    decider.warm([observation async for observation in past])


def _check_answered(records: Sequence[TickRecord]) -> None:
    """Check that Prometheus answered at least once: decisions on no answer at all are none.

    Raises:
        ObservationError: it never did.
    """
    refusals = [_refusal(record) for record in records]
    if all(refusals):
        raise ObservationError(refusals[0])


def _refusal(record: TickRecord) -> str:
    """Return why nothing was answered; empty where something was."""
    return next((gap.missing.detail for gap in record.observation.gaps if gap.signal == "metrics"), "")


async def _decision(observer: ClusterObserver, decider: Decider, moment: Instant) -> TickRecord:
    observation = await observer.observe(moment)
    plan = decider.decide(observation)
    return TickRecord(observation, plan, await DryRunActuator().apply(plan.actions))


def _moments(
    at: Instant | None, begin: Instant | None, end: Instant | None, step: Seconds | None
) -> tuple[Instant, ...]:
    """Return the times of the decisions that the options ask for.

    Raises:
        InputError: the options contradict each other.
    """
    if begin is None and end is None and step is None:
        return (at if at is not None else wiring.WallClock().now(),)
    if at is not None or begin is None or end is None:
        msg = "--from and --to belong together, --step with them, and --at excludes them"
        raise InputError(msg)
    stride = step or DEFAULT_STEP
    if end < begin:
        msg = f"--to {end:.0f} lies before --from {begin:.0f}; swap them"
        raise InputError(msg)
    count = int((end - begin) / stride + 1e-9) + 1
    if count > MOST_DECISIONS:
        msg = f"--step {stride:g}s: {count} decisions, at most {MOST_DECISIONS} are made; take longer steps"
        raise InputError(msg)
    return tuple(Instant(begin + n * stride) for n in range(count))


def _period(moments: Sequence[Instant]) -> Seconds:
    return Seconds(moments[1] - moments[0]) if len(moments) > 1 else DEFAULT_STEP


def _print(policies: Sequence[SLOPolicy], records: Sequence[TickRecord], output: Format, *, series: bool) -> None:
    """Print one decision as an object, several (of times or policies) as a list."""
    decisions: list[Jsonable] = [document.decision(record, policy) for record in records for policy in policies]
    data: Jsonable = decisions if series or len(policies) > 1 else decisions[0]
    show(data, [*_tables(policies, records)], output)


def _tables(policies: Sequence[SLOPolicy], records: Sequence[TickRecord]) -> Iterator[Table | str]:
    for policy in policies:
        rows = [
            (_time(record.observation.at), variant.name, *_row(record, policy, variant.name))
            for record in records
            for variant in policy.variants
        ]
        columns = ("time (UTC)", "variant", "requested", "ready", "wanted", "uncapped", "why")
        yield table(columns, rows, title=f"{policy.key} ({policy.mode.value})")
    gaps = {f"{gap.signal} of {gap.subject}: {gap.missing.reason.value}" for r in records for gap in r.observation.gaps}
    yield from (f"missing: {gap}" for gap in sorted(gaps))


def _row(record: TickRecord, policy: SLOPolicy, variant: str) -> tuple[str, ...]:
    requested, ready = document.counts(record, policy, variant)
    model = record.plan.models.get(policy.key)
    plan = model.variants.get(variant) if model else None
    seen = ("?" if requested is None else str(requested), "?" if ready is None else str(ready))
    if plan is None:
        return (*seen, "?", "?", "nothing was observed")
    return (*seen, str(plan.target), str(plan.uncapped), "; ".join(reason.message for reason in plan.reasons))


def _time(at: Instant) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
