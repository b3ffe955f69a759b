"""``autoscaler backtest``: replay a trace against several policies in the simulator, beside what it costs at least."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from autoscaler.backtest import contenders, report
from autoscaler.backtest.bound import Bound
from autoscaler.backtest.comparison import Comparison, compare
from autoscaler.backtest.forecasts import Series
from autoscaler.backtest.run import Flown, Sweep, Told
from autoscaler.backtest.scene import Scene, scene_of, scene_of_scenario
from autoscaler.backtest.score import Score
from autoscaler.cli import forecast as judging
from autoscaler.cli import options, wiring
from autoscaler.cli.output import Format, Jsonable, OutputOption, show, table
from autoscaler.domain.profile import DEFAULT_PROFILE
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.simulate.router import Routing
from autoscaler.simulate.scenario import read_scenario
from autoscaler.simulate.settings import ClusterSettings
from autoscaler.simulate.trace_files import read_trace

EPILOG = (
    "Example: autoscaler backtest --policy policies/rag-and-reasoning.yaml --trace trace.csv "
    "--against hpa,keda-token-aware,static --startup 60,180 --seeds 3 --report out.html"
)


def backtest(  # noqa: PLR0913 - each is an option of the command
    *,
    policy: Annotated[Path | None, typer.Option("--policy", "-p", help="SLO policy file; holds one policy.")] = None,
    trace: Annotated[Path | None, typer.Option("--trace", "-t", help="Requests: .csv, .jsonl or .parquet.")] = None,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", help="Scenario file: load, fleet and faults, in place of those two.")
    ] = None,
    against: Annotated[
        str, typer.Option(help=f"Whom to compare with, by comma: {', '.join(contenders.CONTENDERS)}.")
    ] = "hpa,keda-token-aware,static",
    startup: Annotated[str, typer.Option(help="Start-up times to try, in seconds, by comma.")] = "120",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each cell; seed 0 is the trace as it is.")] = 1,
    settings: Annotated[
        int, typer.Option(min=1, help="Values of each policy's knob, on a geometric grid; 1: as shipped.")
    ] = 1,
    scale: Annotated[float, typer.Option(help="Volume of the trace, times.")] = 1.0,
    profile: Annotated[
        str, typer.Option(help="Profile of the requests of a trace without a profile column.")
    ] = DEFAULT_PROFILE,
    routing: Annotated[Routing, typer.Option(help="How the simulated picker chooses pods.")] = Routing.LEAST_LOADED,
    prefix_caching: Annotated[
        bool, typer.Option(help="Let engines cache prefixes (the trace needs hash_ids).")
    ] = False,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that a deleted pod may go on serving.")] = 0.0,
    peers_drain: Annotated[bool, typer.Option(help="Lend peers a drain that they do not have.")] = False,
    picker: Annotated[
        bool, typer.Option(help="Drain through the simulated picker where the policy names no scheduler.")
    ] = True,
    bound: Annotated[bool, typer.Option(help="Find the clairvoyant bound.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")] = None,
    backend: Annotated[str, typer.Option(help="loky (this machine), dask, or sequential.")] = "loky",
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML report, and charts beside it.")
    ] = None,
    forecast: Annotated[
        bool, typer.Option("--forecast", help="Judge forecasters on the load instead; a --trace alone is enough.")
    ] = False,
    prometheus: Annotated[
        str | None, typer.Option(help="With --forecast: take the load from this Prometheus' past, not from a trace.")
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", help="First minute of that past.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last minute of that past.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Replay a trace against several policies in the simulator: SLO, cost, flaps, and what it costs at least."""
    if forecast:
        load = _load(policy, trace, scenario, prometheus, begin, end, profile, scale)
        judging.report(load, workers=workers, output=output, report_file=report_file)
        return
    if prometheus is not None or begin is not None or end is not None:
        msg = "--prometheus, --from and --to belong to --forecast; a flight needs a --trace of requests"
        raise InputError(msg)
    tunnel = ClusterSettings(routing=routing, prefix_caching=prefix_caching, grace=Seconds(grace))
    scene = replace(_scene(policy, trace, scenario, tunnel, profile, scale, picker=picker), peers_drain=peers_drain)
    sweep = Sweep((contenders.OURS, *_others(against)), seconds(startup), seeds, settings)
    with _progress() as told:
        found = compare(scene, sweep, bounded=bound, workers=workers, backend=backend, told=told)
    show(data(found), [*_tables(found)], output)
    if report_file is not None:
        for written in report.write(found, report_file):
            typer.echo(f"wrote {written}", err=True)


def _scene(
    policy: Path | None,
    trace: Path | None,
    scenario: Path | None,
    tunnel: ClusterSettings,
    profile: str,
    scale: float,
    *,
    picker: bool,
) -> Scene:
    """Return what is flown: a policy and a trace, or a scenario file (which brings its own fleet and tunnel)."""
    if scenario is not None and policy is None and trace is None:
        scene = scene_of_scenario(read_scenario(scenario))
        return scene if scale == 1 else replace(scene, trace=scene.trace.scaled(scale))
    if policy is None or trace is None or scenario is not None:
        msg = "give either --policy and --trace, or --scenario"
        raise InputError(msg)
    chosen = wiring.policies([policy])
    if len(chosen) != 1:
        msg = f"--policy: {policy} holds {len(chosen)} policies; a backtest needs one, put the others into another file"
        raise InputError(msg)
    only, requests = chosen[0], read_trace(trace, profile=profile)
    requests = requests if scale == 1 else requests.scaled(scale)
    return scene_of(only, requests, wiring.priors(chosen)[only.key], settings=tunnel, picker=picker)


def _load(  # noqa: PLR0913, PLR0917 - what the options of the command said
    policy: Path | None,
    trace: Path | None,
    scenario: Path | None,
    prometheus: str | None,
    begin: str | None,
    end: str | None,
    profile: str,
    scale: float,
) -> Sequence[Series]:
    """Return the load that forecasters are judged on."""
    if scenario is None and trace is not None and prometheus is None:
        return judging.of_trace(trace, profile, scale)
    first, last = options.moment(begin, "--from"), options.moment(end, "--to")
    if scenario is None and trace is None and prometheus and policy and first is not None and last is not None:
        return judging.of_prometheus(prometheus, policy, first, last)
    msg = "--forecast: give either --trace, or --prometheus with --policy, --from and --to"
    raise InputError(msg)


def _others(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip() and name.strip() != contenders.OURS]
    return [contenders.contender(name).name for name in dict.fromkeys(names)]


def seconds(text: str) -> tuple[float, ...]:
    """Return the start-up times of an option, in seconds.

    Raises:
        InputError: not a list of such times.
    """
    try:
        values = tuple(float(part.strip().removesuffix("s")) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 0:
        msg = f"--startup: {text!r} is no list of seconds; write e.g. 60,180"
        raise InputError(msg)
    return values


@contextmanager
def _progress() -> Iterator[Told]:
    """Yield what shows progress and the time left on stderr, on a terminal only."""
    columns = (TextColumn("flying"), BarColumn(), TextColumn("{task.completed}/{task.total}, {task.fields[left]} left"))
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("flights", total=None, left="?")

        def told(done: int, total: int, left_s: float) -> None:
            bar.update(
                task, completed=done, total=total, left=f"{left_s / 60:.0f} min" if left_s > 90 else f"{left_s:.0f} s"
            )

        yield told


def data(found: Comparison) -> dict[str, Jsonable]:
    """Return the whole comparison for programs; keys are stable."""
    bounds = [_bound(each) for each in found.bounds.values()]
    trace = found.scene.trace
    return {
        "trace": {
            "name": trace.name,
            "kind": trace.kind,
            "requests": len(trace),
            "duration_s": trace.duration_s,
            "horizon_s": float(found.scene.horizon),
        },
        "initial": dict(found.scene.initial),
        "rows": [_row(found, each) for each in found.flights],
        "settings": [
            {
                "policy": s.policy,
                "startup_s": s.startup_s,
                "knob": s.knob,
                "reaches": s.reaches,
                "cost": s.cost.mean,
                "cost_interval": [s.cost.low, s.cost.high],
                "attainment": s.attainment.mean,
                "attainment_interval": [s.attainment.low, s.attainment.high],
            }
            for s in found.settings
        ],
        "bound": bounds[0] if bounds else None,
        "bounds": [*bounds],
    }


def _bound(found: Bound) -> dict[str, Jsonable]:
    return {
        "startup_s": found.startup_s,
        "reached": found.reached,
        "attainment": found.attainment,
        "attainment_by_profile": dict(found.attainment_by_profile),
        "cost": found.cost,
        "certified_lower": found.certified_lower,
    }


def _row(found: Comparison, each: Flown) -> dict[str, Jsonable]:
    flight, scored = each.flight, each.score
    return {
        "policy": flight.policy,
        "startup_s": flight.startup_s,
        "seed": flight.seed,
        "knob": flight.knob,
        "knob_name": contenders.contender(flight.policy).knob.name,
        "attainment": scored.attainment,
        "attainment_by_profile": dict(scored.attainment_by_profile),
        "worst_profile": scored.worst_profile,
        "attainment_p99_gaps": scored.attainment_p99_gaps,
        "worst_window": scored.worst_window,
        "bad_windows": scored.bad_windows,
        "recovery_s": scored.recovery_s,
        "cost": scored.cost,
        "cost_ratio_to_bound": found.ratio(each),
        "accelerator_hours": dict(scored.accelerator_hours),
        "replica_hours": {name: dict(hours) for name, hours in scored.replica_hours.items()},
        "actions": scored.actions,
        "reversals": scored.reversals,
        "requests": scored.requests,
        "lost_requests": scored.lost_requests,
        "unfinished_requests": scored.unfinished_requests,
        "latency_s": {name: dict(quantiles) for name, quantiles in scored.latency_s.items()},
    }


def _tables(found: Comparison) -> Iterator[Table | str]:
    yield _headline(found.scene, found.sweep)
    columns = ("policy", "start-up", "knob", "attained", "worst 10 min", "cost", "to bound", "actions", "flaps", "lost")
    for startup_s in found.sweep.startups_s:
        rows = [_line(found, name, startup_s) for name in found.sweep.policies]
        yield table(columns, [*rows, *_bound_lines(found, startup_s)])
    if found.sweep.settings > 1:
        yield "Each policy at its cheapest setting that keeps every promise on this trace (in sample)."


def _headline(scene: Scene, sweep: Sweep) -> str:
    trace = scene.trace
    what = f"{trace.name} ({trace.kind}): {len(trace)} requests in {trace.duration_s / 60:.0f} min"
    tried = "as shipped" if sweep.settings == 1 else f"{sweep.settings} settings each"
    return f"{what}; {tried}, {sweep.seeds} seed{'s' if sweep.seeds > 1 else ''}"


def _line(found: Comparison, policy: str, startup_s: float) -> tuple[str, ...]:
    setting = found.cheapest[policy, startup_s]
    flights = [
        each.score
        for each in found.flights
        if (each.flight.policy, each.flight.startup_s, each.flight.knob) == (policy, startup_s, setting.knob)
    ]
    known = found.bounds.get(startup_s)
    spread = f" ±{(setting.cost.high - setting.cost.low) / 2:.2f}" if found.sweep.seeds > 1 else ""
    return (
        policy,
        f"{startup_s:.0f} s",
        f"{setting.knob:.3g}",
        f"{min(setting.attainment_by_profile.values()):.2%}{'' if setting.reaches else ' missed'}",
        f"{min(score.worst_window for score in flights):.1%}",
        f"{setting.cost.mean:.2f}{spread}",
        f"{setting.cost.mean / known.cost:.2f}x" if known else "-",
        _mean(flights, "actions"),
        _mean(flights, "reversals"),
        _mean(flights, "lost_requests"),
    )


def _mean(scores: list[Score], what: str) -> str:
    return f"{sum(getattr(score, what) for score in scores) / len(scores):.0f}"


def _bound_lines(found: Comparison, startup_s: float) -> Iterator[tuple[str, ...]]:
    known = found.bounds.get(startup_s)
    if known is not None:
        worst = f"{min(known.attainment_by_profile.values()):.2%}{'' if known.reached else ' missed'}"
        yield "clairvoyant", f"{startup_s:.0f} s", "", worst, "", f"{known.cost:.2f}", "1.00x", "", "", ""
        lower = f"{known.certified_lower / known.cost:.2f}x"
        yield "no policy below", f"{startup_s:.0f} s", "", "", "", f"{known.certified_lower:.2f}", lower, "", "", ""
