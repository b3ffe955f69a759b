"""One engine's measured coefficients carried over to another model in proportion to bytes and arithmetic.

The prior's constants were chosen on both grids of H200. Here nothing was chosen on the model that is judged: what the
physics of the prior says is right only up to a factor per coefficient, and those factors come from the other model.
"""

from dataclasses import replace

from autoscaler.performance import fit
from autoscaler.performance.grid import Grid
from autoscaler.performance.shapes import Shape, kv_bytes_per_token
from autoscaler.performance.step import EngineLimits, Handover, ReplicaModel, StepModel

NOTHING = Handover(0.0, 0.0), EngineLimits(1e6)
"""What grids of single engines do not judge."""


def carried_over(measured: Grid, source: Shape, target: Shape) -> ReplicaModel:
    """Return the model of ``target`` on H200 that the grid of ``source`` on H200 suggests."""
    step = fit.fit_step(measured.decode)
    prefill = fit.fit_prefill([point for point in measured.prefill if point.prompts == 1])
    own, other = _physics(source), _physics(target)
    weights, layers, kv, arithmetic, attention = (b / a for a, b in zip(own, other, strict=True))
    # decode beyond the knee costs arithmetic, below it a launch per layer
    beyond = arithmetic * (step.per_sequence_s + step.per_sequence_beyond_knee_s) - layers * step.per_sequence_s
    return ReplicaModel(
        StepModel(
            base_s=weights * step.base_s,
            per_sequence_s=layers * step.per_sequence_s,
            per_kv_token_s=kv * step.per_kv_token_s,
            knee_sequences=step.knee_sequences,
            per_sequence_beyond_knee_s=max(0.0, beyond),
            per_root_sequence_s=layers * step.per_root_sequence_s,
        ),
        replace(
            prefill,
            floor_s=weights * prefill.floor_s,
            base_s=layers * prefill.base_s,
            per_token_s=arithmetic * prefill.per_token_s,
            per_token_squared_s=attention * prefill.per_token_squared_s,
        ),
        *NOTHING,
    )


def _physics(shape: Shape) -> tuple[float, float, float, float, float]:
    """Return what coefficients grow with: bytes of weights, layers, KV bytes, arithmetic and attention per token."""
    streamed = shape.touched_layer_parameters(1.0) + shape.head_parameters
    active = shape.active_layer_parameters + shape.head_parameters
    return streamed, float(shape.layers), kv_bytes_per_token(shape, 16), active, float(shape.layers * shape.query_size)
