"""What it saves: GPU-hours and money of a week, against a static fleet for the peak and against HPA tuned in hindsight.

    python -m benchmarks.economy            # every development load; writes docs/reference/economy.md and its picture
    python -m benchmarks.economy --quick    # every second load, no bounds, nothing shaken

A week is the load repeated back to back: what it cost, times 168 hours over its length. Both rivals are given what no
operator has, the setting that is cheapest on this very load and still keeps the promise; ours is as shipped.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoscaler.backtest import charts
from autoscaler.backtest.comparison import Setting
from autoscaler.backtest.contenders import OURS
from benchmarks._rows import BUILD, Row, write
from benchmarks.board import flights, standings, tracks
from benchmarks.board.flights import Effort
from benchmarks.board.standings import Board
from benchmarks.board.tracks import ROOT, Half, Track
from benchmarks.scoreboard import Progress

PAGE = ROOT / "docs" / "reference" / "economy.md"
PICTURE = ROOT / "docs" / "images" / "economy.svg"
WEEK_H = 168.0
STARTUP_S = 120.0
PEAK, HPA = ("static",), ("hpa", "hpa-saturation")
SETTINGS, SHAKEN_SETTINGS = 8, 5
SHAKEN = ("azure-chat-32b", "day-mixed-32b", "three-variants-day-8b")
"""Loads whose price, SLO and start-up time are changed: recorded, made, and with a choice of accelerators."""


@dataclass(frozen=True, slots=True)
class Week:
    """A week of one load under one policy."""

    gpu_hours: float
    money: float


@dataclass(frozen=True, slots=True)
class Saving:
    """A week of one load: ours, and the cheapest setting of each rival that keeps every promise."""

    board: Board
    startup_s: float
    kept: bool  # whether ours kept every promise; where it did not, nothing is saved
    ours: Week
    peak: Week | None
    hpa: Week | None
    bound: float | None  # money

    def share(self, rival: Week | None) -> float | None:
        """Return the share of a rival's money that is saved."""
        return 1.0 - self.ours.money / rival.money if self.kept and rival is not None else None


def saving(board: Board, startup_s: float) -> Saving:
    """Return what a week of the board's load costs."""
    found = board.comparison
    per_week = WEEK_H * 3600.0 / found.scene.horizon
    known = found.bounds.get(startup_s)
    ours = found.cheapest[OURS, startup_s]  # flown as shipped only
    return Saving(
        board,
        startup_s,
        ours.reaches,
        _week(board, ours, per_week),
        _cheapest(board, PEAK, startup_s, per_week),
        _cheapest(board, HPA, startup_s, per_week),
        known.cost * per_week if known is not None and known.reached else None,
    )


def _cheapest(board: Board, policies: Sequence[str], startup_s: float, per_week: float) -> Week | None:
    best = board.comparison.cheapest
    reaching = [setting for name in policies if (setting := best[name, startup_s]).reaches]
    return _week(board, min(reaching, key=lambda s: s.cost.mean), per_week) if reaching else None


def _week(board: Board, setting: Setting, per_week: float) -> Week:
    (flight,) = [
        each
        for each in board.comparison.flights
        if (each.flight.policy, each.flight.startup_s, each.flight.knob)
        == (setting.policy, setting.startup_s, setting.knob)
    ]
    return Week(sum(flight.score.accelerator_hours.values()) * per_week, flight.score.cost * per_week)


def effort(*startups_s: float, settings: int = SETTINGS, bounded: bool = True) -> Effort:
    """Return what is flown: ours as shipped, the rivals over their knobs."""
    return Effort((OURS, *PEAK, *HPA), (*PEAK, *HPA), startups_s, 1, settings, bounded=bounded)


def savings(chosen: Sequence[Track], wanted: Effort, workers: int) -> list[Saving]:
    """Fly the loads, and return what each saves at each start-up time."""
    cells = list(wanted.cells(chosen))
    results = flights.run(cells, BUILD / "scoreboard", workers=workers, told=Progress())
    failed = {cell: found["error"] for cell, found in results.items() if "error" in found}
    for cell, error in failed.items():
        print(f"{cell.track.name if cell.track else ''}, {cell.task}: {error}", file=sys.stderr)
    boards = [board for board in standings.boards(results) if not board.errors]
    return [saving(board, startup) for board in boards for startup in wanted.startups_s]


def shaken(workers: int) -> list[tuple[str, Saving]]:
    """Return savings with another price, SLO or start-up time, one at a time."""
    chosen = [track for track in tracks.development() if track.name in SHAKEN]
    shaking = effort(STARTUP_S, settings=SHAKEN_SETTINGS, bounded=False)
    others = replace(shaking, startups_s=(60.0, 300.0))
    found = [(f"start-up {each.startup_s:g} s", each) for each in savings(chosen, others, workers)]
    for slo in (0.75, 1.5):
        changed = [replace(track, slo=slo) for track in chosen]
        found += [(f"limits x {slo:g}", each) for each in savings(changed, shaking, workers)]
    for price in (0.5, 2.0):
        changed = [replace(track, price=price) for track in chosen]
        told = f"price of the dearest accelerator x {price:g}"
        found += [(told, each) for each in savings(changed, shaking, workers)]
    return found


HEAD = (
    "| load | half | ours keeps the promise | GPU-hours: static | tuned HPA | ours | money: static | tuned HPA | ours "
    "| saved over static | saved over HPA |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(each: Saving) -> str:
    """Return a row of the table."""
    return "| " + " | ".join([
        each.board.track.name, str(each.board.track.half), "yes" if each.kept else "**no**",
        *(_number(week.gpu_hours if week else None) for week in (each.peak, each.hpa, each.ours)),
        *(_number(week.money if week else None) for week in (each.peak, each.hpa, each.ours)),
        _share(each.share(each.peak)), _share(each.share(each.hpa)),
    ]) + " |"  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0%}"


def summary(found: Sequence[Saving]) -> list[Row]:
    """Return the sums over loads that ours keeps and the rival can keep."""
    rows = [Row("loads-kept", sum(each.kept for each in found), f"of {len(found)} loads")]
    for name in ("peak", "hpa"):
        pairs = [(each.ours, rival) for each in found if each.kept and (rival := getattr(each, name)) is not None]
        if pairs:
            money = 1.0 - sum(ours.money for ours, _ in pairs) / sum(rival.money for _, rival in pairs)
            hours = 1.0 - sum(ours.gpu_hours for ours, _ in pairs) / sum(rival.gpu_hours for _, rival in pairs)
            rows += [
                Row(f"money-saved-over-{name}", round(money, 4), f"share, {len(pairs)} loads"),
                Row(f"gpu-hours-saved-over-{name}", round(hours, 4), f"share, {len(pairs)} loads"),
            ]
    return rows


def picture(found: Sequence[Saving]) -> Figure:
    """Draw a week of every load: ours, tuned HPA and the bound, over the static fleet for the peak."""
    shown = [each for each in found if each.peak is not None]
    with charts.styled(10.5, 1.3 + 0.3 * len(shown)) as figure:
        axes = figure.subplots()
        for row, each in enumerate(shown):
            for x, style in _marks(each):
                axes.plot([x], [row], linestyle="none", **style)
        axes.axvline(100.0, color=charts.QUIET, linewidth=1.2)
        axes.set_yticks(range(len(shown)), [each.board.track.name for each in shown])
        axes.invert_yaxis()
        axes.set_xlabel("cost of a week, % of the smallest static fleet that keeps the promise (lower is better)")
        axes.set_title("a week's cost; hollow: promise missed, nothing saved")
        axes.legend(handles=[*_handles()], loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=8.5)
        figure.set_facecolor("white")
        return figure


OURS_MARK: dict[str, Any] = {"marker": "o", "color": charts.SERIES[0], "markersize": 8}
HPA_MARK: dict[str, Any] = {"marker": "s", "color": charts.SERIES[1], "markersize": 6.5}
BOUND_MARK: dict[str, Any] = {"marker": "|", "color": charts.INK, "markersize": 11, "markeredgewidth": 1.6}


def _marks(each: Saving) -> Iterator[tuple[float, dict[str, Any]]]:
    if each.peak is None:
        return
    if each.bound is not None:
        yield 100.0 * each.bound / each.peak.money, BOUND_MARK
    if each.hpa is not None:
        yield 100.0 * each.hpa.money / each.peak.money, HPA_MARK
    hollow = {} if each.kept else {"markerfacecolor": "white"}
    yield 100.0 * each.ours.money / each.peak.money, {**OURS_MARK, **hollow}


def _handles() -> Iterator[Line2D]:
    for label, mark in (("ours", OURS_MARK), ("HPA, tuned in hindsight", HPA_MARK), ("clairvoyant", BOUND_MARK)):
        yield Line2D([], [], linestyle="none", label=label, **mark)


TEXT = """# What it saves

Made by `{command}` at commit {commit}; not by hand. A week is each
development load repeated back to back: its cost, times 168 hours over its length; most loads are made, not recorded
([benchmarks/board/scenes](../../benchmarks/board/scenes)). Start-up {startup:g} s, seed 0, money in the unit of the
price per replica-hour that stands in the load's file. *Static*: the cheapest of {settings} constant fleets (and the
shipped one) that keeps the promise on this very load; *tuned HPA*: the cheapest of {settings} settings (and the shipped
one) on requests per pod, or on saturation, that keeps it. Both are chosen in hindsight on the load that they are scored
on, which no operator can do; ours is as shipped. Where ours does not keep the promise nothing counts as saved; a dash:
no setting of the rival keeps it.

{table}

Over all loads that ours and the rival keep: {sums}.

![a week's cost over that of a static fleet](../images/economy.svg)

## If something were different

Price, limits and start-up time, one at a time, on three loads; {shaken} settings of the rivals.

{changes}
"""


def _changes(found: Sequence[tuple[str, Saving]]) -> str:
    lines = [
        f"| {told} | {each.board.track.name} | {'yes' if each.kept else '**no**'} | {_share(each.share(each.peak))} "
        f"| {_share(each.share(each.hpa))} |"
        for told, each in found
    ]
    head = "| change | load | ours keeps | saved over static | saved over tuned HPA |\n|---|---|---|---|---|"
    return "\n".join([head, *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Fly, print and write ``build/bench/economy.json``, the page and its picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every second load of each half")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    wanted = parser.parse_args(arguments)
    step = 2 if wanted.quick else 1
    chosen = tracks.thinned([each for each in tracks.development() if each.half is not Half.ADVERSARIAL], step)
    found = savings(chosen, effort(STARTUP_S, bounded=not wanted.quick), wanted.workers)
    table = "\n".join([HEAD, *(line(each) for each in found)])
    rows = summary(found)
    print(table)
    print(f"written: {write('economy', rows)}")
    command = f"make bench-economy{' ARGS=--quick' if wanted.quick else ''}"
    sums = "; ".join(f"{row.id} {row.value:g} {row.unit}" for row in rows)
    changes = "Left out of this run." if wanted.quick else _changes(shaken(wanted.workers))
    PICTURE.write_text(charts.svg(picture(found)), encoding="utf-8")
    PAGE.write_text(
        TEXT.format(
            command=command, commit=flights.commit(), startup=STARTUP_S, settings=SETTINGS, shaken=SHAKEN_SETTINGS,
            table=table, sums=sums, changes=changes,
        ),
        encoding="utf-8",
    )  # fmt: skip
    print(f"written: {PAGE} and {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
