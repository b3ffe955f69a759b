"""The scoreboard as a page: the halves side by side, equal attainment, every cell, what loses, pictures."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoscaler.backtest import charts
from autoscaler.backtest.contenders import OURS
from benchmarks.board.flights import Cell, Effort, Found, Refereed
from benchmarks.board.standings import Board, Standing, geometric, of_half, standing
from benchmarks.board.tracks import Half
from benchmarks.referee import cells as referee
from benchmarks.referee.__main__ import HEAD as REFEREE_HEAD
from benchmarks.referee.__main__ import told as referee_row

DRAWN = (OURS, "static", "hpa", "hpa-saturation", "keda-token-aware", "dynamo-sla", "informed-oracle")
"""Who is drawn; a picture of all would be read by nobody."""

FURTHEST = 12


@dataclass(frozen=True)
class Told:
    """What stands above the tables."""

    command: str
    commit: str
    effort: Effort
    referee: str  # why there is no referee; empty: there is one


def written(results: Mapping[Cell, Found], found: Sequence[Board], told: Told, page: Path, images: Path) -> list[Path]:
    """Write the page and a picture per track; return the files."""
    images.mkdir(parents=True, exist_ok=True)
    pictures = {board.track.name: _picture(board, images) for board in found}
    parts = [_head(found, told), *_standings(found), *_equal(found), *_cells(found), *_furthest(found)]
    parts += [*_referee(results, told), *_errors(results), *_pictures(found, pictures, page)]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return [page, *pictures.values()]


def _head(found: Sequence[Board], told: Told) -> str:
    effort = told.effort
    startups = ", ".join(f"{s:g}" for s in effort.startups_s)
    return f"""# Scoreboard

Made by `{told.command}` at commit {told.commit}; not by hand.
{len(found)} loads x start-up {startups} s x {effort.seeds} seed(s) x {len(effort.policies)} policies in our tunnel;
{effort.settings} settings beside the shipped one of the knobs of {len(effort.tuned)} policies, on seed 0 (a coarse grid
flatters us; `make bench-economy` gives static and HPA eight). The development loads are data:
[benchmarks/board/scenes](../benchmarks/board/scenes) and three of `examples/scenarios`; most are made, not recorded
(each file says so). Other loads: `python -m benchmarks.scoreboard --trace FILE --policy POLICY.yaml
--startup 60,180,300 --seeds 3 --against all --json out.json`.

Attainment: share of offered requests inside both limits of their profile; a cell is *kept* if every profile got what it
was promised, mean over seeds. Bound: the cheapest schedule found that knows the trace (`autoscaler/backtest/bound.py`);
it is sought by a search that fills one variant after another and does not know of faults, so that with three variants,
and now and then elsewhere, somebody is cheaper than it. A dash: no such schedule was found."""


def _standings(found: Sequence[Board]) -> Iterator[str]:
    yield "## Side by side"
    halves = [half for half in Half if of_half(found, half)]
    yield (
        "As shipped. Kept: cells in which every profile got its promise. Cost: over the bound, geometric mean over all "
        "cells (over the kept ones). Lost requests and changes of direction: sums over cells, mean over seeds. "
        f"The half *{Half.CHOOSING}* may be looked at while the product is changed, *{Half.CONFIRMING}* may not."
    )
    names = list(dict.fromkeys(name for board in found for name, _ in board.pairs))
    heads = [f"{half}: {what}" for half in halves for what in ("kept", "worst", "cost", "lost", "turns")]
    lines = [_line("policy", *heads), _line(*["---"] * (len(heads) + 1))]
    for name in names:
        places = [standing(name, of_half(found, half)) for half in halves]
        lines.append(_line(_bold(name), *(word for place in places for word in _place(place))))
    yield "\n".join(lines)


def _place(found: Standing | None) -> tuple[str, ...]:
    if found is None:
        return ("",) * 5
    cost = f"{_times(found.ratio)} ({_times(found.kept_ratio)})"
    return f"{found.kept} of {found.cells}", f"{found.worst:.2%}", cost, f"{found.lost:.0f}", f"{found.reversals:.0f}"


def _equal(found: Sequence[Board]) -> Iterator[str]:
    yield "## At equal attainment"
    yield (
        "Our cost as shipped over that of each policy's cheapest setting that gives every profile what ours got (or "
        "what it was promised, if less), on seed 0. Their setting is chosen in hindsight for each load and start-up "
        "time; ours is not. Geometric mean over cells in which they have such a setting; below 1 ours is cheaper."
    )
    halves = [half for half in Half if of_half(found, half)]
    lines = [_line("policy", *(f"{half}: {what}" for half in halves for what in ("cells", "our cost over theirs"))),
             _line(*["---"] * (2 * len(halves) + 1))]  # fmt: skip
    for name in dict.fromkeys(name for board in found for name, _ in board.pairs if name != OURS):
        words: list[str] = []
        for half in halves:
            boards = of_half(found, half)
            ratios = [board.over_rival(name, s) for board in boards for peer, s in board.pairs if peer == name]
            there = [ratio for ratio in ratios if ratio is not None]
            words += [f"{len(there)} of {len(ratios)}", _times(geometric(there))]
        lines.append(_line(name, *words))
    yield "\n".join(lines)


def _cells(found: Sequence[Board]) -> Iterator[str]:
    yield "## Ours, cell by cell"
    yield (
        "Over bound: our cost as shipped. Best rival: the policy whose cheapest setting in hindsight is the cheapest "
        "of all at equal attainment, oracle left out, and our cost over its."
    )
    lines = [_line("load", "half", "start-up", "attained", "kept", "cost", "over bound", "lost", "turns", "best rival"),
             _line(*["---"] * 10)]  # fmt: skip
    for board in found:
        lines += [_cell(board, startup) for name, startup in board.pairs if name == OURS]
    yield "\n".join(lines)


def _cell(board: Board, startup_s: float) -> str:
    shares = ", ".join(f"{name} {share:.2%}" for name, share in board.attained(OURS, startup_s).items())
    return _line(
        board.track.name,
        str(board.track.half),
        f"{startup_s:g} s",
        shares,
        "yes" if board.kept(OURS, startup_s) else "**no**",
        f"{board.cost(OURS, startup_s):.2f}",
        _times(board.ratio(OURS, startup_s)),
        f"{board.mean(OURS, startup_s, 'lost_requests'):.0f}",
        f"{board.mean(OURS, startup_s, 'reversals'):.0f}",
        _best_rival(board, startup_s),
    )


def _best_rival(board: Board, startup_s: float) -> str:
    peers = [name for name, s in board.pairs if s == startup_s and name not in {OURS, "informed-oracle"}]
    ratios = {name: ratio for name in peers if (ratio := board.over_rival(name, startup_s)) is not None}
    if not ratios:
        return "none reaches it"
    best = max(ratios, key=lambda name: ratios[name])
    return f"{best} {_times(ratios[best])}"


def _furthest(found: Sequence[Board]) -> Iterator[str]:
    cells = [(board, startup) for board in found for name, startup in board.pairs if name == OURS]
    missed = sorted((min(b.attained(OURS, s).values()), b.track.name, s) for b, s in cells if not b.kept(OURS, s))
    far = sorted(((ratio, b.track.name, s) for b, s in cells if (ratio := b.ratio(OURS, s)) is not None), reverse=True)
    yield "## Where ours is worst"
    lines = [f"- {name}, {s:g} s: {share:.2%} of the worst profile" for share, name, s in missed]
    yield f"Promise not kept in {len(missed)} of {len(cells)} cells:" if lines else "The promise is kept in every cell."
    if lines:
        yield "\n".join(lines)
    yield (
        "Furthest from the bound: " + "; ".join(f"{name}, {s:g} s: {_times(r)}" for r, name, s in far[:FURTHEST]) + "."
    )


def _referee(results: Mapping[Cell, Found], told: Told) -> Iterator[str]:
    yield "## On the referee"
    if told.referee:
        yield told.referee
        return
    runs: dict[tuple[str, float], list[Found]] = {}
    for cell, found in results.items():
        if isinstance(cell.task, Refereed) and "error" not in found:
            runs.setdefault((cell.task.scenario, cell.task.startup_s), []).append(found)
    yield (
        "NVIDIA's own simulator, scenarios and references that nobody here made "
        "([benchmarks/referee](../benchmarks/referee)); peers are tuned in hindsight."
    )
    yield "\n".join(
        [REFEREE_HEAD, *(referee_row(referee.Cell(name, s, tuple(each))) for (name, s), each in runs.items())]
    )


def _errors(results: Mapping[Cell, Found]) -> Iterator[str]:
    failed = [(cell, found["error"]) for cell, found in results.items() if "error" in found]
    if failed:
        yield f"## Cells that failed: {len(failed)} of {len(results)}"
        yield "\n".join(f"- {_named(cell)}: {str(error).splitlines()[0]}" for cell, error in failed)


def _named(cell: Cell) -> str:
    return f"{'referee' if cell.track is None else cell.track.name}, {cell.task}"


def _pictures(found: Sequence[Board], pictures: Mapping[str, Path], page: Path) -> Iterator[str]:
    yield "## Cost against attainment, load by load"
    yield "Each point a setting of a policy's knob on seed 0; the star is the clairvoyant schedule."
    for board in found:
        about = board.comparison.scene.trace
        image = os.path.relpath(pictures[board.track.name], page.parent)
        yield f"### {board.track.name}"
        yield f"{len(about)} requests ({about.kind}) in {about.duration_s / 60:.0f} min, half: {board.track.half}."
        yield f"![{board.track.name}]({image})"


def _picture(board: Board, images: Path) -> Path:
    """Draw a board at its middle start-up time, seed 0."""
    found = board.comparison
    startup = found.sweep.startups_s[len(found.sweep.startups_s) // 2]
    names = tuple(name for name in DRAWN if name in found.sweep.policies) or found.sweep.policies[:6]
    flights = tuple(f for f in found.flights if f.flight.policy in names and f.flight.seed == 0)
    figure = charts.pareto(replace(found, sweep=replace(found.sweep, policies=names), flights=flights), startup)
    figure.set_facecolor("white")  # readable on a dark page, too
    path = images / f"{board.track.name}.svg"
    path.write_text(charts.svg(figure), encoding="utf-8")
    return path


def _line(*words: str) -> str:
    return f"| {' | '.join(words)} |"


def _bold(name: str) -> str:
    return f"**{name}**" if name == OURS else name


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"
