"""From what engines reported over a long time to one model of a replica: calibration without forgetting.

Nothing fades, as the whole history is asked for; what no sample determines stays as the prior has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from autoscaler.domain.observation import EngineLoad
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import is_present
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.performance.calibrate import WARM_UP, Calibration, PrefillSample, Sample, StepSample, samples
from autoscaler.performance.prior import Prior
from autoscaler.performance.profile import ValidRange
from autoscaler.performance.step import EngineLimits, ReplicaModel

FEWEST = 12
"""Samples below which a history says too little to make a profile of."""

HELD_OUT = 4  # one sample in so many judges instead of teaching, before all of them teach


@dataclass(frozen=True, slots=True)
class Learned:
    """A model, how wrong it was where it had not looked, and where it looked."""

    model: ReplicaModel
    error: float  # median relative error of held-out samples, by a model taught by the others
    prior_error: float  # the same of the prior alone
    samples: int
    valid: ValidRange


History: TypeAlias = Sequence[tuple[Instant, Mapping[str, EngineLoad]]]
"""Moments, rising, each with the engines of one variant that reported, by pod."""


def settled_samples(history: History, role: Role) -> tuple[Sample, ...]:
    """Return what engines of a role teach, oldest first; one that appears on the way is first let warm up."""
    found: list[Sample] = []
    since: dict[str, Instant] = {}
    for at, engines in history:
        for pod in engines:
            since.setdefault(pod, Instant(at - WARM_UP) if at == history[0][0] else at)
        warm = [engines[pod] for pod in sorted(engines) if at - since[pod] >= WARM_UP]
        found.extend(samples(warm, role))
    return tuple(found)


def learned(prior: Prior, history: History, role: Role) -> Learned:
    """Return the model that a history makes of a prior, judged on samples that it was not shown.

    Raises:
        InputError: there are too few samples.
    """
    taught = settled_samples(history, role)
    if len(taught) < FEWEST:
        msg = f"{len(taught)} usable samples, {FEWEST} are needed; look further back, or where engines were busy"
        raise InputError(msg)
    before = Calibration.prior(prior.model, prior.uncertainty)
    judges = taught[HELD_OUT - 1 :: HELD_OUT]
    judged = _after(before, [sample for index, sample in enumerate(taught) if index % HELD_OUT != HELD_OUT - 1])
    model = replace(_after(before, taught).model, limits=_limits(prior.model.limits, history))
    return Learned(model, _error(judged, judges), _error(before, judges), len(taught), _valid(taught))


def _after(state: Calibration, taught: Sequence[Sample]) -> Calibration:
    for sample in taught:
        state = state.taught_by(sample)
    return state


def _limits(assumed: EngineLimits, history: History) -> EngineLimits:
    """Return the limits with the KV capacity that engines report, where they do."""
    told = [engine.kv_capacity_tokens for _, engines in history for engine in engines.values()]
    capacities = [capacity for capacity in told if is_present(capacity)]
    return replace(assumed, kv_capacity_tokens=float(np.median(capacities))) if capacities else assumed


def _error(state: Calibration, judges: Sequence[Sample]) -> float:
    return float(np.median([abs(state.relative_error(sample)) for sample in judges]))


def _valid(taught: Sequence[Sample]) -> ValidRange:
    steps = [sample for sample in taught if isinstance(sample, StepSample)]
    prompts = [sample.tokens for sample in taught if isinstance(sample, PrefillSample)]
    return ValidRange(
        _span([step.batch for step in steps]),
        _span([step.kv_tokens / step.batch for step in steps if step.kv_tokens > 0]),
        _span(prompts),
    )


def _span(values: Sequence[float]) -> tuple[float, float] | None:
    return (float(f"{min(values):.4g}"), float(f"{max(values):.4g}")) if values else None
