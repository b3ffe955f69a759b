"""From benchmark points to the coefficients of a replica: least squares on relative error, coefficients >= 0."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import scipy  # loads its parts when they are asked for: whoever only takes constants from here does without 23 MB

from autoscaler.performance.step import FloatArray, PrefillModel, StepModel

CORNER = 6.0
"""Sharpness of the turn from floor to slope: one constant for all engines, since few grids have points in the turn."""

KNEES = (64.0, 96.0, 128.0, 192.0, 256.0)
"""Batches at which kernels change their tiles; a fit takes the best of those that have two batches beyond them."""


@dataclass(frozen=True, slots=True)
class DecodePoint:
    """One measured decode step: ``batch`` sequences with a mean context of ``context_tokens``."""

    batch: float
    context_tokens: float
    itl_s: float


@dataclass(frozen=True, slots=True)
class PrefillPoint:
    """One measured forward pass over ``prompts`` prompts of ``tokens`` each."""

    tokens: float
    latency_s: float
    prompts: int = 1


@dataclass(frozen=True, slots=True)
class MixedPoint:
    """``steps`` decode steps that took ``total_s`` while a prompt was computed beside them."""

    prefill_tokens: float
    total_s: float
    steps: int
    undisturbed_step_s: float


def fit_step(points: Iterable[DecodePoint], mixed: Iterable[MixedPoint] = ()) -> StepModel:
    """Return the step model with the least mean squared relative error.

    Raises:
        ValueError: fewer than three points, or all at one batch and context.
    """
    rows = np.array([(p.batch, p.context_tokens, p.itl_s) for p in points], dtype=np.float64).reshape(-1, 3)
    batch, context, measured = rows.T
    if len({(b, c) for b, c in zip(batch, context, strict=True)}) < 3:
        msg = f"a step model needs 3 different points of batch and context, not {len(rows)}"
        raise ValueError(msg)
    best = min(_step_fits(batch, context, measured), key=lambda fit: fit[0])[1]
    return replace(best, per_prefill_token_s=_per_prefill_token(mixed))


def _step_fits(batch: FloatArray, context: FloatArray, measured: FloatArray) -> Iterable[tuple[float, StepModel]]:
    """Yield the sum of squared relative errors and the model, without a knee and with each possible one."""
    plain = np.stack([np.ones_like(batch), batch, batch * context, np.sqrt(batch)])
    scales, residual = scipy.optimize.nnls((plain / measured).T, np.ones_like(measured))
    yield residual**2, StepModel(scales[0], scales[1], scales[2], per_root_sequence_s=scales[3])
    for knee in KNEES:
        if len({b for b in batch if b > knee}) < 2 or not (batch < knee).any():
            continue
        bent = np.vstack([plain, np.maximum(0.0, batch - knee)])
        scales, residual = scipy.optimize.nnls((bent / measured).T, np.ones_like(measured))
        yield residual**2, StepModel(scales[0], scales[1], scales[2], 0.0, knee, scales[4], scales[3])


def _per_prefill_token(mixed: Iterable[MixedPoint]) -> float:
    """Return the time that each prompt token adds to decode steps; the median, since few points are noisy."""
    slopes = [(p.total_s - p.steps * p.undisturbed_step_s) / p.prefill_tokens for p in mixed]
    return max(0.0, float(np.median(slopes))) if slopes else 0.0


def fit_prefill(points: Iterable[PrefillPoint]) -> PrefillModel:
    """Return the prefill model with the least mean squared relative error.

    Raises:
        ValueError: fewer than four points, or all of one length.
    """
    rows = np.array([(p.prompts, p.tokens, p.latency_s) for p in points], dtype=np.float64).reshape(-1, 3)
    prompts, tokens, measured = rows.T
    if len(rows) < 4 or len(set(tokens)) < 4:
        msg = f"a prefill model needs 4 different prompt lengths, not {len(set(tokens))}"
        raise ValueError(msg)
    model = _prefill_of

    def relative_errors(logs: FloatArray) -> FloatArray:
        return model(logs).pass_s(prompts * tokens, prompts * tokens**2) / measured - 1.0

    shortest, per_token = float(measured.min()), float(np.median(measured / (prompts * tokens)))
    starts = itertools.product((shortest, 0.8 * shortest), (0.1 * shortest, 0.4 * shortest))
    fits = [
        scipy.optimize.least_squares(relative_errors, np.log([f, a, per_token, per_token / 1e5])) for f, a in starts
    ]
    return model(min(fits, key=lambda fit: float(fit.cost)).x)


def _prefill_of(logs: FloatArray) -> PrefillModel:
    """Return the model whose coefficients have these logarithms, which keeps them positive."""
    floor, base, linear, square = (math.exp(min(value, 50.0)) for value in logs)
    return PrefillModel(floor, base, linear, square, CORNER)


def itl_errors_left_out(points: Iterable[DecodePoint]) -> FloatArray:
    """Return the relative error at each point of a model fitted to all others."""
    every = tuple(points)
    models = (fit_step(every[:i] + every[i + 1 :]) for i in range(len(every)))
    return np.array(
        [
            float(model.step_s(p.batch, p.batch * p.context_tokens)) / p.itl_s - 1.0
            for model, p in zip(models, every, strict=True)
        ]
    )


def prefill_errors_left_out(points: Iterable[PrefillPoint]) -> FloatArray:
    """Return the relative error at each single prompt of a model fitted to all other points."""
    every = tuple(points)
    alone = [i for i, point in enumerate(every) if point.prompts == 1]
    models = (fit_prefill(every[:i] + every[i + 1 :]) for i in alone)
    return np.array(
        [
            float(model.latency_s(every[i].tokens)) / every[i].latency_s - 1.0
            for model, i in zip(models, alone, strict=True)
        ]
    )
