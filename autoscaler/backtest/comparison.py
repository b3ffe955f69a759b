"""Policies side by side: all flights, the clairvoyant bound, each policy's cheapest setting that keeps the promise."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from autoscaler.backtest.bound import Bound, bound
from autoscaler.backtest.contenders import contender
from autoscaler.backtest.run import Flight, Flown, Sweep, Told, flown, over
from autoscaler.backtest.scene import Scene
from autoscaler.backtest.score import Interval, interval_over_seeds, interval_over_windows


@dataclass(frozen=True, slots=True)
class Setting:
    """One policy at one knob value and start-up time, over all seeds."""

    policy: str
    startup_s: float
    knob: float
    cost: Interval
    attainment: Interval  # over ten-minute windows of all seeds
    attainment_by_profile: Mapping[str, float]  # mean over seeds
    reaches: bool  # every profile gets what it was promised, on average over seeds


@dataclass(frozen=True)  # without slots: what is drawn and told many times is computed once
class Comparison:
    """What a sweep found."""

    scene: Scene
    sweep: Sweep
    flights: tuple[Flown, ...]
    bounds: Mapping[float, Bound]  # by start-up time; empty where none was asked for

    def ratio(self, flight: Flown) -> float | None:
        """Return a flight's cost over the clairvoyant cost of its start-up time; None without a bound."""
        found = self.bounds.get(flight.flight.startup_s)
        return flight.score.cost / found.cost if found else None

    @cached_property
    def settings(self) -> Sequence[Setting]:
        """Return every setting that was flown, over its seeds."""

        def cell(each: Flown) -> tuple[str, float, float]:
            return each.flight.policy, each.flight.startup_s, each.flight.knob

        groups = itertools.groupby(sorted(self.flights, key=cell), key=cell)
        return [self._setting(*key, list(group)) for key, group in groups]

    def _setting(self, policy: str, startup_s: float, knob: float, group: Sequence[Flown]) -> Setting:
        names = group[0].score.attainment_by_profile
        by_profile = {name: fmean(each.score.attainment_by_profile[name] for each in group) for name in names}
        goals = self.scene.policy
        return Setting(
            policy,
            startup_s,
            knob,
            interval_over_seeds([each.score.cost for each in group]),
            interval_over_windows([window for each in group for window in each.score.windows]),
            by_profile,
            all(share >= goals.profile(name).slo.attainment for name, share in by_profile.items()),
        )

    @cached_property
    def cheapest(self) -> Mapping[tuple[str, float], Setting]:
        """Return each policy's cheapest setting that keeps every promise, else the one that comes nearest.

        With a sweep this compares cost at equal attainment; the setting is chosen on the trace it is scored on.
        """
        best: dict[tuple[str, float], Setting] = {}
        for setting in self.settings:
            key = setting.policy, setting.startup_s
            if key not in best or _rank(setting) < _rank(best[key]):
                best[key] = setting
        return best

    def example(self, policy: str, startup_s: float) -> Flown:
        """Return the flight of seed 0 at the policy's cheapest setting: the one that a report draws."""
        knob = self.cheapest[policy, startup_s].knob
        wanted = Flight(policy, startup_s, 0, knob)
        return next(each for each in self.flights if each.flight == wanted)


def _rank(setting: Setting) -> tuple[bool, float]:
    worst = min(setting.attainment_by_profile.values())
    return (False, setting.cost.mean) if setting.reaches else (True, -worst)


def compare(
    scene: Scene,
    sweep: Sweep,
    *,
    bounded: bool = True,
    workers: int | None = None,
    backend: str = "loky",
    told: Told | None = None,
) -> Comparison:
    """Fly every cell of the sweep and find the bounds, in parallel; same inputs, same result.

    Raises:
        InputError: a policy or backend that does not exist, or a scene that cannot be bounded.
    """
    for name in sweep.policies:
        contender(name)
    tasks: list[Flight | float] = [*(sweep.startups_s if bounded else ()), *sweep.flights()]
    done = list(over(_task, [(scene, task) for task in tasks], workers=workers, backend=backend, told=told))
    return Comparison(
        scene,
        sweep,
        tuple(each for each in done if isinstance(each, Flown)),
        {each.startup_s: each for each in done if isinstance(each, Bound)},
    )


def _task(scene: Scene, task: Flight | float) -> Flown | Bound:
    return flown(scene, task) if isinstance(task, Flight) else bound(scene, task)
