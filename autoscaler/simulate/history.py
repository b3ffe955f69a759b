"""A trace from a Prometheus' own history: the load that was observed, drawn again request by request.

Rates and length moments of every profile hold from one observation to the next. What was not observed is not zero:
a gap repeats what was known before it (and what comes first, where it begins with a gap).
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from autoscaler.domain.observation import ModelObservation, Moments, ProfileLoad
from autoscaler.domain.signal import Signal, is_present
from autoscaler.domain.units import Seconds
from autoscaler.errors import InputError
from autoscaler.simulate.load import steps
from autoscaler.simulate.trace import FloatArray, IntArray, Trace, checked

NOTHING = Moments(0.0, 0.0)


def from_history(
    models: Iterable[ModelObservation], *, step: Seconds, seed: int = 0, squared_variation: float = 1.0
) -> Trace:
    """Draw the requests that observations of one model tell of.

    Args:
        models: one model's observations, oldest first, ``step`` apart.
        step: between observations.
        seed: of arrivals and lengths.
        squared_variation: of the gaps between arrivals within a step (1: Poisson).

    Raises:
        InputError: no observation, or none that tells rate and lengths of any profile.
    """
    seen = list(models)
    names = sorted({name for model in seen for name in model.loads})
    parts = []
    for index, (name, random) in enumerate(zip(names, np.random.default_rng(seed).spawn(len(names)), strict=True)):
        loads = [model.loads[name] for model in seen if name in model.loads]
        parts.append((index, *_drawn(loads, step, random, squared_variation)))
    told = [part for part in parts if len(part[1])]
    if not told:
        msg = f"history: {len(seen)} observations tell of no request with known lengths; choose another time span"
        raise InputError(msg)
    arrival = np.concatenate([part[1] for part in told])
    order = np.argsort(arrival, kind="stable")
    return checked(
        Trace(
            arrival_s=arrival[order],
            input_tokens=np.concatenate([part[2] for part in told])[order],
            output_tokens=np.concatenate([part[3] for part in told])[order],
            profile=np.concatenate([np.full(len(part[1]), part[0], dtype=np.uint8) for part in told])[order],
            profiles=tuple(names),
            name="history",
            kind="synthetic",
        )
    )


def _drawn(
    loads: Sequence[ProfileLoad], step: Seconds, random: np.random.Generator, squared_variation: float
) -> tuple[FloatArray, IntArray, IntArray]:
    """Return arrivals, prompt and output tokens of one profile; none where its rate or lengths were never known."""
    rates = _filled([load.requests_per_second for load in loads], 0.0)
    prompts = _filled([load.prompt_tokens for load in loads], NOTHING)
    outputs = _filled([load.output_tokens for load in loads], NOTHING)
    known = bool(rates) and prompts[0].mean > 0 and outputs[0].mean > 0
    if not known or max(rates) <= 0:
        nothing = np.zeros(0, dtype=np.int32)
        return np.zeros(0), nothing, nothing
    arrival = steps([(rate, step) for rate in rates]).arrivals(random, squared_variation)
    which = np.minimum((arrival // step).astype(np.intp), len(rates) - 1)
    return arrival, _lengths(prompts, which, random), _lengths(outputs, which, random)


T = TypeVar("T")


def _filled(signals: Sequence[Signal[T]], otherwise: T) -> list[T]:
    """Return values without gaps: each repeats the one before, the first ones the first that is known."""
    last = next((signal for signal in signals if is_present(signal)), otherwise)
    filled: list[T] = []
    for signal in signals:
        last = signal if is_present(signal) else last
        filled.append(last)
    return filled


def _lengths(moments: Sequence[Moments], which: NDArray[np.intp], random: np.random.Generator) -> IntArray:
    """Draw log-normal lengths with the moments of each request's step."""
    mean = np.array([m.mean for m in moments])[which]
    sigma2 = np.log1p(np.array([m.squared_variation for m in moments]))[which]
    values = mean * np.exp(np.sqrt(sigma2) * random.standard_normal(len(which)) - sigma2 / 2)
    return np.asarray(np.maximum(1, np.round(values)), dtype=np.int32)
