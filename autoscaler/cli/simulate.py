"""``autoscaler simulate``: one policy flown through one scenario."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from autoscaler.backtest.score import Score, score
from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.decider import Decider
from autoscaler.domain.plan import Scale
from autoscaler.domain.record import ActionResult, Result, TickRecord
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.simulate import run as flight
from autoscaler.simulate.scenario import Scenario, read_scenario

EPILOG = "Example: autoscaler simulate examples/scenarios/rag-burst.yaml --output json"


def simulate(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.yaml", help="Load, fleet and faults of the flight.")],
    *,
    static: Annotated[bool, typer.Option("--static", help="Keep the initial fleet: nobody decides.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="In place of the scenario's.")] = None,
    speed: Annotated[
        float | None, typer.Option("--speed", help="Simulated seconds per second, to watch live; default: no waiting.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Fly one policy through one scenario; tell SLO attainment, cost, losses and every change of size."""
    if speed is not None and not speed > 0:
        msg = f"--speed: must be positive, not {speed}"
        raise InputError(msg)
    flown = read_scenario(scenario, seed=seed)
    with _progress(flown) as told:
        run = _fly(flown, static=static, speed=speed, told=told)
    worth = score(flown.policy, run)
    changes = list(_changes(run.records))
    show(_data(flown, run, worth, changes), _tables(flown, run, worth, changes), output)


def _fly(flown: Scenario, *, static: bool, speed: float | None, told: flight.Progress) -> flight.Run:
    world = flown.world()
    world.pace = speed
    if static:
        return flight.stay(world, horizon=flown.duration)
    decider = Decider([flown.policy], flown.priors, period=flown.period)
    return flight.fly(world, decider, period=flown.period, horizon=flown.duration, progress=told)


@contextmanager
def _progress(flown: Scenario) -> Iterator[flight.Progress]:
    """Yield what shows progress on stderr, on a terminal only."""
    columns = (TextColumn(flown.name), BarColumn(), TextColumn("{task.completed:.0f} s"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=flown.duration)
        yield lambda now, _: bar.update(task, completed=now)


Change = tuple[Seconds, Scale, ActionResult, str]
"""When, what, how it ended, and the last reason in the chain that led to it."""


def _changes(records: Sequence[TickRecord]) -> Iterator[Change]:
    for record in records:
        for result in record.outcome.results:
            if isinstance(result.action, Scale) and result.result is not Result.UNCHANGED:
                ref = result.action.variant
                reasons = record.plan.models[ref.policy].variants[ref.variant].reasons
                yield Seconds(record.observation.at), result.action, result, reasons[-1].code if reasons else ""


def _data(flown: Scenario, run: flight.Run, worth: Score, changes: Sequence[Change]) -> dict[str, Jsonable]:
    """Return everything for programs; keys are stable."""
    return {
        "scenario": flown.name,
        "seed": flown.seed,
        "duration_s": float(run.horizon),
        "requests": worth.requests,
        "attainment": worth.attainment,
        "attainment_by_profile": dict(worth.attainment_by_profile),
        "worst_window": worth.worst_window,
        "latency_s": {name: dict(values) for name, values in worth.latency_s.items()},
        "lost_requests": worth.lost_requests,
        "unfinished_requests": worth.unfinished_requests,
        "cost": worth.cost,
        "replica_hours": {name: dict(hours) for name, hours in worth.replica_hours.items()},
        "actions": worth.actions,
        "reversals": worth.reversals,
        "changes": [
            {
                "at_s": at,
                "variant": scale.variant.variant,
                "from": scale.observed,
                "to": scale.replicas,
                "result": result.result.value,
                "reason": reason,
            }
            for at, scale, result, reason in changes
        ],
    }


def _tables(flown: Scenario, run: flight.Run, worth: Score, changes: Sequence[Change]) -> list[Table | str]:
    ready = {name: [sample.ready for sample in run.fleet if sample.variant == name] for name in worth.replica_hours}
    variants = table(
        ("variant", "ready mean", "ready max", "booting h", "ready h", "draining h"),
        (
            (name, f"{sum(counts) / len(counts):.2f}", max(counts), *(f"{hours[state]:.2f}" for state in hours))
            for (name, hours), counts in zip(worth.replica_hours.items(), ready.values(), strict=True)
        ),
    )
    moved = table(
        ("at", "variant", "from", "to", "result", "reason"),
        (
            (f"{at:.0f} s", scale.variant.variant, scale.observed, scale.replicas, result.result, reason)
            for at, scale, result, reason in changes
        ),
    )
    summary = (
        f"{flown.name}: {worth.requests} requests in {run.horizon:.0f} s, attainment {worth.attainment:.4f}, worst ten "
        f"minutes {worth.worst_window:.4f}, cost {worth.cost:.2f}, lost {worth.lost_requests}, unfinished "
        f"{worth.unfinished_requests}, {worth.actions} changes, {worth.reversals} reversals"
    )
    return [summary, _profiles(worth), variants, *([moved] if changes else [])]


def _profiles(worth: Score) -> Table:
    columns = ("profile", "attainment", "TTFT p50", "p90", "p99", "ITL p50", "p90", "p99")
    rows = []
    for name, share in worth.attainment_by_profile.items():
        latency = worth.latency_s.get(name, {})
        cells = [f"{1000 * latency[key]:.0f} ms" if key in latency else "-" for key in LATENCIES]
        rows.append((name, f"{share:.4f}", *cells))
    return table(columns, rows)


LATENCIES = ("ttft_p50", "ttft_p90", "ttft_p99", "itl_p50", "itl_p90", "itl_p99")
