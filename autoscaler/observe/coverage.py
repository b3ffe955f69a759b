"""How much of a window samples cover, and whether a rate over it can be believed.

PromQL's ``rate`` divides by the whole window whatever part of it was seen: behind a gap of the scrapes, and from the
moment when they stop, a constant 400/s reads as 100/s. Such a rate is no low load; it is missing.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.samples import Row

ENOUGH = 0.9
"""Share of the window from which a rate counts: what it then reads low is within the tolerance of every decision."""


@dataclass(frozen=True, slots=True)
class Covered:
    """What a target's samples leave open in a window."""

    share: float  # of a constant load that ``rate`` reads, in [0, 1]
    ended: bool  # more is open behind the newest sample than before the oldest
    newest: Instant


def covered(times: Iterable[float], at: Instant, window: Seconds) -> Covered:
    """Return how much of the window up to ``at`` samples cover, as ``rate`` extrapolates them.

    Each end counts whole where a sample is no farther from it than usual (1.1 distances), else with half a distance.

    Args:
        times: of the samples, in any order; those outside the window are left out.
        at: the end of the window.
        window: its length (s).
    """
    inside = sorted({time for time in times if at - window <= time <= at})
    if not inside:
        return Covered(0.0, ended=True, newest=Instant(at - window))
    first, last = inside[0], inside[-1]
    before, behind = first - (at - window), at - last
    if first == last:  # no rate comes of one sample
        return Covered(0.0, ended=behind > before, newest=Instant(last))
    typical = (last - first) / (len(inside) - 1)
    credited = sum(gap if gap < typical * 1.1 else typical / 2.0 for gap in (before, behind))
    return Covered(min(1.0, (last - first + credited) / window), ended=behind > before, newest=Instant(last))


def of_targets(
    times: Mapping[str, Iterable[Row]], newest: Mapping[str, Iterable[Row]], at: Instant, window: Seconds
) -> dict[str, Covered]:
    """Return what the samples of each target that is there now leave open; the rows are those of two readings."""
    return {
        target: covered((row.value for row in (*times.get(target, ()), *now)), at, window)
        for target, now in newest.items()
    }


def gap(targets: Mapping[str, Covered], at: Instant, window: Seconds) -> Missing | None:
    """Return why a sum of rates over targets cannot be believed; None: it can.

    Targets are taken to share the load evenly: one that was missed for a moment among many takes little away.
    """
    if not targets:
        return None
    share = math.fsum(target.share for target in targets.values()) / len(targets)
    if share >= ENOUGH:
        return None
    worst = min(targets, key=lambda name: targets[name].share)
    detail = f"samples cover {share * window:.0f} of {window:.0f} s, least of {worst}"
    if targets[worst].ended:
        return Missing(GapReason.STALE, targets[worst].newest, detail)
    return Missing(GapReason.PARTIAL, at, detail)
