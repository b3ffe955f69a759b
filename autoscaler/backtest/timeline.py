"""What happened in a flight, minute by minute, small enough to keep: for reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autoscaler.controller import Decides
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.simulate.run import Run

FloatArray = NDArray[np.float64]
BIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Note:
    """A target that changed, and why."""

    at_s: float
    variant: str
    before: int
    after: int
    reasons: tuple[str, ...]


class Noted:
    """A decider that keeps a note of every change of a target, and of errors.

    The Controller turns an error into a hold, as it must in a cluster; in a comparison a policy that fails would look
    like one that stands still, so ``check`` tells.
    """

    def __init__(self, decider: Decides) -> None:
        """Listen to a decider."""
        self.notes: list[Note] = []
        self.failure: Exception | None = None  # the first one
        self._decider = decider
        self._targets: dict[str, int] = {}

    def decide(self, observation: Observation) -> Plan:
        """Return the inner plan."""
        try:
            plan = self._decider.decide(observation)
        except Exception as error:
            error.add_note(f"while deciding at {observation.at:.0f} s of the trace")
            self.failure = self.failure or error
            raise
        for model in plan.models.values():
            for name, wanted in model.variants.items():
                before = self._targets.get(name)
                if before is not None and before != wanted.target:
                    codes = tuple(dict.fromkeys(str(reason.code) for reason in wanted.reasons))
                    self.notes.append(Note(float(plan.at), name, before, wanted.target, codes))
                self._targets[name] = wanted.target
        return plan

    def check(self) -> None:
        """Raise the first error of the decider, if there was one."""
        if self.failure is not None:
            raise self.failure


@dataclass(frozen=True, slots=True)
class Timeline:
    """Columns per minute of arrival, and per tick for the fleet; NaN where nothing happened."""

    minutes_s: FloatArray  # start of each minute
    requests_per_s: Mapping[str, FloatArray]  # by profile
    prompt_tokens_per_s: FloatArray
    output_tokens_per_s: FloatArray
    ttft_p90_s: Mapping[str, FloatArray]  # by profile, of finished requests
    itl_p90_s: Mapping[str, FloatArray]
    ticks_s: FloatArray
    wanted: Mapping[str, FloatArray]  # asked for, by variant
    ready: Mapping[str, FloatArray]
    notes: tuple[Note, ...] = field(default=())


def timeline(run: Run, notes: tuple[Note, ...] = ()) -> Timeline:
    """Return what happened."""
    trace = run.results.trace
    bins = max(1, int(np.ceil(run.horizon / BIN_S)))
    place = np.minimum((trace.arrival_s // BIN_S).astype(int), bins - 1)
    variants = sorted({sample.variant for sample in run.fleet})
    samples = {name: [s for s in run.fleet if s.variant == name] for name in variants}
    ticks = [sample.at for sample in samples[variants[0]]]
    return Timeline(
        minutes_s=np.arange(bins, dtype=np.float64) * BIN_S,
        requests_per_s={
            name: np.bincount(place[trace.profile == index], minlength=bins) / BIN_S
            for index, name in enumerate(trace.profiles)
        },
        prompt_tokens_per_s=np.bincount(place, trace.input_tokens, bins) / BIN_S,
        output_tokens_per_s=np.bincount(place, trace.output_tokens, bins) / BIN_S,
        ttft_p90_s=_quantiles(run, place, bins, run.results.ttft_s),
        itl_p90_s=_quantiles(run, place, bins, run.results.itl_s),
        ticks_s=np.asarray(ticks, dtype=np.float64),
        wanted={name: np.array([float(s.requested) for s in samples[name]]) for name in variants},
        ready={name: np.array([float(s.ready) for s in samples[name]]) for name in variants},
        notes=notes,
    )


def _quantiles(run: Run, place: NDArray[np.int_], bins: int, values: FloatArray) -> dict[str, FloatArray]:
    trace, done = run.results.trace, run.results.done
    found = {}
    for index, name in enumerate(trace.profiles):
        mine = (trace.profile == index) & done
        column = np.full(bins, np.nan)
        for minute in np.unique(place[mine]):
            column[minute] = np.percentile(values[mine & (place == minute)], 90)
        found[name] = column
    return found
