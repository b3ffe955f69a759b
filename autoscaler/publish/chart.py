"""A chart of counts over the last hours as inline SVG: steps, no script, colours from the page's style sheet."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from autoscaler.domain.units import Instant, Seconds
from autoscaler.publish.board import Point
from autoscaler.publish.markup import Markup, tag

WIDTH, HEIGHT = 640.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 28.0, 8.0, 10.0, 22.0


def counts(points: Sequence[Point], until: Instant, window: Seconds, title: str) -> Markup:
    """Return wanted (line) against ready (area) of one variant; gaps where a count is not known."""
    begin = Instant(until - window)
    highest = max([1, *(n for point in points for n in (point.wanted, point.ready) if n is not None)])

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, (at - begin) / window))

    def y(count: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * count / highest

    spans = [*_spans(points, until)]
    return tag(
        "svg",
        tag("title", title),
        *_grid(highest, window, y),
        tag("path", d=_area(spans, x, y), class_="ready"),
        tag("path", d=_line(spans, x, y), class_="wanted"),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=title,
        class_="chart",
    )


def _spans(points: Sequence[Point], until: Instant) -> list[tuple[float, float, Point]]:
    """Return from when until when each point holds."""
    if not points:
        return []
    return [*((a.at, b.at, a) for a, b in pairwise(points)), (points[-1].at, until, points[-1])]


def _grid(highest: int, window: Seconds, y: Callable[[float], float]) -> list[Markup]:
    step = max(1, -(-highest // 4))
    made = []
    for count in range(0, highest + 1, step):
        made.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_px(y(count)), y2=_px(y(count)), class_="grid"))
        made.append(tag("text", count, x=LEFT - 6, y=_px(y(count) + 4), class_="axis", text_anchor="end"))
    hours = round(window / 3600)
    for hour in range(hours + 1):
        at = LEFT + (WIDTH - LEFT - RIGHT) * hour / hours
        label = "now" if hour == hours else f"-{hours - hour} h"
        anchor = "end" if hour == hours else "start" if hour == 0 else "middle"
        made.append(tag("text", label, x=_px(at), y=HEIGHT - 6, class_="axis", text_anchor=anchor))
    return made


Scale = Callable[[float], float]


def _line(spans: Sequence[tuple[float, float, Point]], x: Scale, y: Scale) -> str:
    parts = []
    known = False
    for begin, end, point in spans:
        if point.wanted is None:
            known = False
            continue
        level = _px(y(point.wanted))
        parts.append(f"{'L' if known else 'M'}{_px(x(begin))} {level}H{_px(x(end))}")
        known = True
    return "".join(parts)


def _area(spans: Sequence[tuple[float, float, Point]], x: Scale, y: Scale) -> str:
    return "".join(
        f"M{_px(x(begin))} {_px(y(0))}V{_px(y(point.ready))}H{_px(x(end))}V{_px(y(0))}Z"
        for begin, end, point in spans
        if point.ready
    )


def _px(value: float) -> str:
    return f"{value:.1f}"
