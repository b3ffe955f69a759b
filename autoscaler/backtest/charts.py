"""Charts of a comparison, drawn with matplotlib (extra ``report``): what happened, cost against attainment, cost bars.

One drawing serves paper and screen: text and grid carry marker colours that ``inline_svg`` turns into CSS variables.
"""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from autoscaler.backtest.comparison import Comparison, Setting
from autoscaler.backtest.contenders import OURS
from autoscaler.backtest.timeline import Timeline
from autoscaler.domain.policy import SLOPolicy

INK, GRID = "#1b1f24", "#d9dee4"
"""Text and grid; in HTML they follow the reader's light or dark scheme."""

SERIES = ("#2f7fd1", "#d9822b", "#2f9e6e", "#8d68c9", "#b8476f", "#6b8e23")
LIMIT = "#d0453e"
QUIET = "#8a94a0"
IDENTIFIER = re.compile(r"\b[mp][0-9a-f]{10}\b")

WIDE_RANGE = 12.0
"""Latencies that differ by more than this factor are drawn on a logarithmic axis."""
STATES = {"ready": "#2f7fd1", "booting": "#d9a13b", "draining": "#8a94a0"}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "disagg-autoscaler",  # same input, same bytes
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@contextmanager
def styled(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure (inches) in the style of all."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def what_happened(policy: SLOPolicy, name: str, seen: Timeline, bound: Timeline | None) -> Figure:
    """Draw load, replicas, TTFT and ITL of one flight over time; changes of targets are marked on the replicas."""
    with styled(10.5, 7.6) as figure:
        axes: Sequence[Axes] = figure.subplots(4, 1, sharex=True, height_ratios=[1.0, 1.5, 1.1, 1.1])
        _load(axes[0], seen)
        _replicas(axes[1], seen, bound)
        limits = {p.name: (float(p.slo.ttft), float(p.slo.itl) * 1000) for p in policy.profiles}
        _latency(axes[2], seen, seen.ttft_p90_s, {n: v[0] for n, v in limits.items()})
        axes[2].set_title("TTFT p90 (s), dashed: SLO")
        milliseconds = {n: column * 1000 for n, column in seen.itl_p90_s.items()}
        _latency(axes[3], seen, milliseconds, {n: v[1] for n, v in limits.items()})
        axes[3].set_title("ITL p90 (ms), dashed: SLO")
        axes[3].set_xlabel("minutes")
        axes[3].set_xlim(0, float(seen.ticks_s[-1]) / 60)
        figure.suptitle(name, x=0.01, ha="left", fontsize=12, fontweight="bold")
        return figure


def _load(axes: Axes, seen: Timeline) -> None:
    minutes = seen.minutes_s / 60
    names = list(seen.requests_per_s)
    stacked = [seen.requests_per_s[name] for name in names]
    axes.stackplot(minutes, *stacked, labels=names, colors=SERIES, alpha=0.75, step="post", linewidth=0)
    axes.set_title("offered load (requests/s)")
    axes.set_ylim(bottom=0)
    if len(names) > 1:
        _legend(axes)


def _replicas(axes: Axes, seen: Timeline, bound: Timeline | None) -> None:
    ticks = seen.ticks_s / 60
    highest = max(float(column.max()) for column in seen.wanted.values()) + 0.4
    for place, (colour, name) in enumerate(zip(SERIES, seen.ready, strict=False)):
        lift = place * 0.022 * highest  # so that equal counts do not hide each other
        axes.step(ticks, seen.ready[name] + lift, where="post", color=colour, linewidth=1.9, label=f"{name}: ready")
        axes.step(ticks, seen.wanted[name] + lift, where="post", color=colour, linewidth=1.1, linestyle=(0, (2, 1.5)))
        if bound is not None and name in bound.ready:
            ideal = bound.ready[name] + lift
            axes.step(bound.ticks_s / 60, ideal, where="post", color=colour, linewidth=4.5, alpha=0.2)
    axes.set_title("replicas: ready (line), asked for (dotted), clairvoyant (pale)")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, max(highest, axes.get_ylim()[1]))
    _legend(axes)


def _latency(axes: Axes, seen: Timeline, values: Mapping[str, np.ndarray], limits: Mapping[str, float]) -> None:
    middle = (seen.minutes_s + 30) / 60
    for colour, (name, column) in zip(SERIES, values.items(), strict=False):
        axes.plot(middle, column, color=colour, linewidth=1.5, label=name)
        axes.axhline(limits[name], color=LIMIT if len(values) == 1 else colour, linestyle="--", linewidth=1.1)
        bad = np.where(column > limits[name], column, np.nan)
        axes.plot(middle, bad, linestyle="none", marker="o", markersize=3.2, color=LIMIT)
    low, high = axes.get_ylim()
    if high < WIDE_RANGE * max(low, 1e-9):
        axes.set_ylim(0, high)
    else:
        _logarithmic(axes)
    if len(values) > 1:
        _legend(axes)


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    steps = [m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5)]
    within = [step for step in steps if low <= step <= high]
    axes.yaxis.set_major_locator(FixedLocator(within[:: max(1, len(within) // 5)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), borderaxespad=0.4, handlelength=1.4, fontsize=8.5)


def pareto(found: Comparison, startup_s: float) -> Figure:
    """Draw attainment of the worst profile against cost: every setting a point, every policy a line."""
    with styled(10.5, 5.2) as figure:
        axes = figure.subplots()
        settings = [s for s in found.settings if s.startup_s == startup_s]
        labels: list[tuple[float, float, str, str]] = []
        for colour, name in _coloured(found.sweep.policies):
            points = sorted((s for s in settings if s.policy == name), key=lambda s: s.knob)
            costs, shares = [s.cost.mean for s in points], [nines(_worst(s)) for s in points]
            axes.plot(costs, shares, color=colour, linewidth=1.2, alpha=0.55)
            strong = name == OURS
            axes.plot(costs, shares, linestyle="none", marker="o", color=colour, markersize=8 if strong else 5.5)
            best = found.cheapest[name, startup_s]
            labels.append((best.cost.mean, nines(_worst(best)), name, colour))
        _goal_and_bound(axes, found, startup_s, labels)
        _labelled(axes, labels)
        axes.set_title(f"attainment of the worst profile against cost, start-up {startup_s:.0f} s")
        axes.set_xlabel("cost of the trace (lower is better)")
        axes.set_ylabel("attained")
        return figure


def _goal_and_bound(
    axes: Axes, found: Comparison, startup_s: float, labels: list[tuple[float, float, str, str]]
) -> None:
    goal = max(profile.slo.attainment for profile in found.scene.policy.profiles)
    axes.axhline(nines(goal), color=LIMIT, linestyle="--", linewidth=1.1)
    known = found.bounds.get(startup_s)
    if known is not None:
        axes.axvline(known.certified_lower, color=QUIET, linestyle=":", linewidth=1.4)
        share = nines(min(known.attainment_by_profile.values()))
        axes.plot([known.cost], [share], marker="*", markersize=14, color=INK, linestyle="none")
        labels.append((known.cost, share, "clairvoyant", INK))
    drawn = [nines(_worst(s)) for s in found.settings if s.startup_s == startup_s]
    low = min([nines(goal), *(max(nines(0.5), y) for y in drawn), *(y for _, y, _, _ in labels)])
    shown = [share for share in (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999) if nines(share) >= low - 0.05]
    axes.yaxis.set_major_locator(FixedLocator([nines(share) for share in shown]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 - 10**-value:.2%}".replace(".00%", "%")))
    axes.set_ylim(low - 0.1, max([nines(0.999), *drawn, *(y for _, y, _, _ in labels)]) + 0.15)
    left = min([x for x, _, _, _ in labels] + ([known.certified_lower] if known else []))
    right = max([x for x, _, _, _ in labels] + [s.cost.mean for s in found.settings if s.startup_s == startup_s])
    axes.set_xlim(left - 0.05 * (right - left) - 0.1, right + 0.16 * (right - left) + 0.3)


def _labelled(axes: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names beside points, moved apart where they would cover each other."""
    width = axes.get_xlim()[1] - axes.get_xlim()[0]
    height = axes.get_ylim()[1] - axes.get_ylim()[0]
    placed: list[tuple[float, float]] = []
    for x, y, name, colour in sorted(labels, key=lambda label: (-label[1], label[0])):
        at = y
        while any(abs(at - other) < 0.042 * height and abs(x - beside) < 0.17 * width for beside, other in placed):
            at -= 0.014 * height
        placed.append((x, at))
        axes.annotate(
            name,
            (x, y),
            (x + 0.012 * width, at),
            color=colour if colour != QUIET else INK,
            va="center",
            fontsize=9,
            fontweight="bold" if name == OURS else "normal",
            arrowprops=None if math.isclose(at, y) else {"arrowstyle": "-", "color": GRID, "linewidth": 0.7},
        )


def nines(share: float) -> float:
    """Return a share on the scale on which 90 %, 99 % and 99.9 % are equally far apart."""
    return -math.log10(max(1.0 - share, 1e-4))


def cost_bars(found: Comparison, startup_s: float) -> Figure:
    """Draw each policy's cost by state of the replicas, beside what the promise costs at least."""
    names = sorted(found.sweep.policies, key=lambda name: found.cheapest[name, startup_s].cost.mean)
    with styled(10.5, 1.4 + 0.38 * len(names)) as figure:
        axes = figure.subplots()
        for row, name in enumerate(names):
            _bar(axes, found, row, name, startup_s)
        known = found.bounds.get(startup_s)
        if known is not None:
            axes.axvline(known.cost, color=INK, linewidth=1.4)
            axes.axvline(known.certified_lower, color=QUIET, linestyle=":", linewidth=1.4)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("cost; line: clairvoyant, dotted: no policy below")
        which = "as shipped" if found.sweep.settings == 1 else "at the cheapest setting that keeps the promise"
        axes.set_title(f"cost {which}, start-up {startup_s:.0f} s")
        handles = [mpl.patches.Patch(color=colour, label=state) for state, colour in STATES.items()]
        axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=8.5)
        return figure


def _bar(axes: Axes, found: Comparison, row: int, name: str, startup_s: float) -> None:
    setting, flight = found.cheapest[name, startup_s], found.example(name, startup_s)
    hours: dict[str, float] = dict.fromkeys(STATES, 0.0)
    for variant, states in flight.score.replica_hours.items():
        for state, value in states.items():
            hours[state] += value * found.scene.policy.variant(variant).cost_per_replica_hour
    scale = setting.cost.mean / max(sum(hours.values()), 1e-12)
    left = 0.0
    for state, value in hours.items():
        faded = 1.0 if setting.reaches else 0.35
        axes.barh(row, value * scale, left=left, color=STATES[state], height=0.66, alpha=faded)
        left += value * scale
    share = min(setting.attainment_by_profile.values())
    told = f" {setting.cost.mean:.2f}" + ("" if setting.reaches else f", misses: {share:.1%}")
    axes.text(left + 0.004 * axes.get_xlim()[1], row, told, va="center", fontsize=8.5)


def _coloured(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    others = [name for name in names if name != OURS]
    yield SERIES[0], OURS
    yield from ((SERIES[1:][i] if i < len(SERIES) - 1 else QUIET, name) for i, name in enumerate(others))


def _worst(setting: Setting) -> float:
    return min(setting.attainment_by_profile.values())


def svg(figure: Figure) -> str:
    """Return a figure as SVG text."""
    with mpl.rc_context(STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _renumbered(buffer.getvalue())


def _renumbered(text: str) -> str:
    """Number ids in order of appearance: matplotlib draws some from memory addresses, which change from run to run."""
    names: dict[str, str] = {}
    return IDENTIFIER.sub(lambda found: names.setdefault(found[0], f"i{len(names)}"), text)


def inline_svg(figure: Figure, prefix: str) -> str:
    """Return a figure for embedding into HTML: it takes the page's colours; ``prefix`` keeps its ids apart."""
    text = re.sub(r'(id="|#)(i\d+)\b', rf"\g<1>{prefix}-\g<2>", svg(figure))
    return text[text.index("<svg") :].replace(INK, "var(--ink)").replace(GRID, "var(--grid)")


def png(figure: Figure) -> bytes:
    """Return a figure as PNG on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, facecolor="white")
    return buffer.getvalue()
