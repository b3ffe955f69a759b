"""One self-contained HTML page of a comparison, offline, light and dark; its charts as SVG and PNG beside it."""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from autoscaler.backtest.comparison import Comparison
from autoscaler.backtest.contenders import CONTENDERS, OURS
from autoscaler.backtest.timeline import Note
from autoscaler.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NOTES = 400

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --grid: #d9dee4; --page: #ffffff; --soft: #f4f6f8; --quiet: #5d6773;
        --bad: #b3322c; --good: #1d7a4f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --grid: #3a424b; --page: #14181c; --soft: #1d2329; --quiet: #9aa5b1; --bad: #ff8a80;
          --good: #6fd3a2; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 76rem; color: var(--ink);
       background: var(--page); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
p { max-width: 62rem; } .quiet { color: var(--quiet); }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--ink); }
figure { margin: 1rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; } th:first-child, td:first-child, td.text { text-align: left; }
tr.ours td { font-weight: 650; background: var(--soft); } .bad { color: var(--bad); } .good { color: var(--good); }
details { border: 1px solid var(--grid); border-radius: 6px; margin: .7rem 0; padding: .2rem .9rem; }
summary { cursor: pointer; padding: .4rem 0; font-weight: 600; }
summary span { font-weight: 400; color: var(--quiet); }
"""


def write(found: Comparison, path: Path) -> list[Path]:
    """Write the page, and every chart as SVG and PNG into a folder beside it; return what was written.

    Raises:
        InputError: matplotlib is not installed, or the place cannot be written.
    """
    try:
        from autoscaler.backtest import charts  # noqa: PLC0415 - matplotlib is an extra
    except ImportError as error:
        msg = "--report: charts need matplotlib; install disagg-autoscaler[report]"
        raise InputError(msg) from error
    return save(dict(_figures(found, charts)), path, lambda drawings: page(found, drawings))


def save(drawn: "Mapping[str, Figure]", path: Path, page_of: Callable[[dict[str, str]], str]) -> list[Path]:
    """Write a page that holds drawings, and each as SVG and PNG into a folder beside it; return what was written.

    Raises:
        InputError: the place cannot be written.
    """
    from autoscaler.backtest import charts  # noqa: PLC0415 - matplotlib is an extra

    folder = path.with_name(f"{path.stem}-charts")
    written = [path]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(page_of({name: charts.inline_svg(figure, name) for name, figure in drawn.items()}), "utf-8")
        for name, figure in drawn.items():
            (folder / f"{name}.svg").write_text(charts.svg(figure), "utf-8")
            (folder / f"{name}.png").write_bytes(charts.png(figure))
            written += [folder / f"{name}.svg", folder / f"{name}.png"]
    except OSError as error:
        msg = f"--report: {path} cannot be written: {error}"
        raise InputError(msg) from error
    return written


def _figures(found: Comparison, draw: ModuleType) -> Iterator[tuple[str, "Figure"]]:
    for startup_s in found.sweep.startups_s:
        yield f"pareto-{startup_s:.0f}s", draw.pareto(found, startup_s)
        yield f"cost-{startup_s:.0f}s", draw.cost_bars(found, startup_s)
        known = found.bounds.get(startup_s)
        for name in found.sweep.policies:
            seen = found.example(name, startup_s).timeline
            if seen is not None:
                ideal = known.timeline if known else None
                yield _timeline_name(name, startup_s), draw.what_happened(found.scene.policy, name, seen, ideal)


def _timeline_name(policy: str, startup_s: float) -> str:
    return f"timeline-{policy}-{startup_s:.0f}s"


def page(found: Comparison, drawings: dict[str, str]) -> str:
    """Return the HTML page. ``drawings``: SVG text by chart name."""
    trace = found.scene.trace
    title = f"Backtest: {trace.name}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="quiet">{html.escape(_subtitle(found))}</p>',
        _promises(found),
    ]
    for startup_s in found.sweep.startups_s:
        parts += [
            f"<h2>Start-up {startup_s:.0f} s</h2>",
            f'<div class="wide">{_table(found, startup_s)}</div>',
            framed(drawings[f"pareto-{startup_s:.0f}s"], "Attainment of the worst profile against cost"),
            framed(drawings[f"cost-{startup_s:.0f}s"], "Cost by policy"),
            *(_happened(found, name, startup_s, drawings) for name in found.sweep.policies),
        ]
    parts.append(_method(found))
    return document(title, parts)


def document(title: str, parts: Sequence[str]) -> str:
    """Return a whole HTML page."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _subtitle(found: Comparison) -> str:
    trace, sweep = found.scene.trace, found.sweep
    tried = "every policy as shipped" if sweep.settings == 1 else f"{sweep.settings} settings of every policy"
    return (
        f"{len(trace):,} requests in {trace.duration_s / 60:.0f} minutes ({trace.kind}), "
        f"{tried}, {sweep.seeds} seed{'s' if sweep.seeds > 1 else ''}, policy {found.scene.policy.key}"
    )


def _promises(found: Comparison) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(p.name)}</td><td>{p.slo.ttft:g} s</td><td>{p.slo.itl * 1000:g} ms</td>"
        f"<td>{p.slo.attainment:.4g}</td></tr>"
        for p in found.scene.policy.profiles
        if p.name in found.scene.trace.profiles
    )
    return (
        f"<table style='width:auto'><tr><th>profile</th><th>TTFT</th><th>ITL</th><th>promised</th></tr>{rows}</table>"
    )


COLUMNS = (
    "policy",
    "knob",
    "attained",
    "95 % interval",
    "worst 10 min",
    "cost",
    "to bound",
    "actions",
    "flaps",
    "lost",
)


def _table(found: Comparison, startup_s: float) -> str:
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    ordered = sorted(found.sweep.policies, key=lambda name: _order(found, name, startup_s))
    rows = "".join(_row(found, name, startup_s) for name in ordered)
    return f"<table><tr>{head}</tr>{rows}{_bound_rows(found, startup_s)}</table>"


def _order(found: Comparison, name: str, startup_s: float) -> tuple[bool, float]:
    setting = found.cheapest[name, startup_s]
    return not setting.reaches, setting.cost.mean


def _row(found: Comparison, name: str, startup_s: float) -> str:
    setting, flight = found.cheapest[name, startup_s], found.example(name, startup_s)
    scored, known = flight.score, found.bounds.get(startup_s)
    share = min(setting.attainment_by_profile.values())
    cells = (
        f"{setting.knob:.3g}",
        f'<span class="{"good" if setting.reaches else "bad"}">{share:.2%}</span>',
        f"{setting.attainment.low:.2%} to {setting.attainment.high:.2%}",
        f"{scored.worst_window:.1%}",
        f"{setting.cost.mean:.2f}",
        f"{setting.cost.mean / known.cost:.2f}x" if known else "",
        str(scored.actions),
        str(scored.reversals),
        str(scored.lost_requests),
    )
    mark = ' class="ours"' if name == OURS else ""
    about = html.escape(CONTENDERS[name].about)
    return f'<tr{mark}><td title="{about}">{name}</td>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _bound_rows(found: Comparison, startup_s: float) -> str:
    known = found.bounds.get(startup_s)
    if known is None:
        return ""
    share = f"{min(known.attainment_by_profile.values()):.2%}"
    lower = known.certified_lower / known.cost
    blank = "<td></td>" * 3
    return (
        f'<tr class="quiet"><td>clairvoyant</td><td></td><td>{share}</td><td></td><td></td>'
        f"<td>{known.cost:.2f}</td><td>1.00x</td>{blank}</tr>"
        f'<tr class="quiet"><td>no policy below</td><td></td><td></td><td></td><td></td>'
        f"<td>{known.certified_lower:.2f}</td><td>{lower:.2f}x</td>{blank}</tr>"
    )


def framed(drawing: str, caption: str) -> str:
    """Return a drawing as part of a page; the caption is read to those who do not see it."""
    return f'<figure role="img" aria-label="{html.escape(caption)}">{drawing}</figure>'


def _happened(found: Comparison, name: str, startup_s: float, drawings: dict[str, str]) -> str:
    flight = found.example(name, startup_s)
    drawing = drawings.get(_timeline_name(name, startup_s))
    if drawing is None or flight.timeline is None:
        return ""
    shown = " open" if name == OURS else ""
    worst = f"{flight.score.worst_profile:.2%} attained, cost {flight.score.cost:.2f}"
    notes = _notes(flight.timeline.notes)
    return (
        f"<details{shown}><summary>{name} <span>{html.escape(CONTENDERS[name].about)}; {worst}</span></summary>"
        f"{framed(drawing, f'What happened under {name}')}{notes}</details>"
    )


def _notes(notes: Sequence[Note]) -> str:
    if not notes:
        return '<p class="quiet">No target changed.</p>'
    rows = "".join(
        f'<tr><td>{note.at_s / 60:.1f} min</td><td class="text">{html.escape(note.variant)}</td>'
        f'<td>{note.before} → {note.after}</td><td class="text">{", ".join(note.reasons) or "-"}</td></tr>'
        for note in notes[:MOST_NOTES]
    )
    more = f"<p>{len(notes) - MOST_NOTES} more changes are not shown.</p>" if len(notes) > MOST_NOTES else ""
    return (
        f"<details><summary>{len(notes)} changes of targets, with reasons</summary>"
        f"<table><tr><th>time</th><th>variant</th><th>target</th><th>reasons</th></tr>{rows}</table>{more}</details>"
    )


def _method(found: Comparison) -> str:
    sweep = found.sweep
    sentences = [
        "Attained: share of offered requests inside TTFT and mean ITL of their profile; lost, rejected and unfinished",
        "requests are misses. Cost: price times booting, ready and draining replica time until the end of the trace.",
        "The interval is a bootstrap over ten-minute windows.",
        "Clairvoyant: a schedule that knows the trace, re-flown to confirm that it attains.",
        "No policy below: a certified linear program.",
        "Worst ten minutes, actions, flaps and lost requests are of seed 0, the trace as it is.",
    ]
    if sweep.settings > 1:
        sentences.append("The setting shown is the cheapest that keeps every promise on this trace (in sample).")
    if sweep.seeds > 1:
        sentences.append("Seed 0 is the trace; others move arrivals by up to 5 s and swap requests within each minute.")
    else:
        sentences.append("One recorded trace without redraws gives no interval over seeds.")
    return f'<h2>How to read this</h2><p class="quiet">{html.escape(" ".join(sentences))}</p>'
