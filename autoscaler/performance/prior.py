"""How fast a replica should be before it was ever seen: from the accelerator, the model's shape and the parallelism.

Every coefficient comes with an uncertainty. Constants were chosen on H200 at TP 1 (benchmarks/data) and, for the
overhead of tensor parallelism, on public tables; elsewhere the prior is derived, and calibration corrects it.
"""

import math
from dataclasses import dataclass, fields

from autoscaler.performance.accelerators import GIB, Accelerator
from autoscaler.performance.fit import CORNER
from autoscaler.performance.shapes import Shape, kv_bytes_per_token, replicas_of_kv
from autoscaler.performance.step import EngineLimits, Handover, PrefillModel, ReplicaModel, StepModel

STREAMING = 1.25  # time to stream the weights, over bytes / nominal bandwidth
LAYER_S = {1: 28e-6, 2: 38e-6, 4: 50e-6, 8: 60e-6}  # launches and all-reduce of a layer, by TP
SEQUENCE_LAYER_S = 0.39e-6  # work of a sequence in a layer at H200's arithmetic speed
KV_EFFICIENCY = 0.94  # of nominal bandwidth, while streaming the KV cache
MFU = {1: 0.64, 2: 0.50, 4: 0.43, 8: 0.33}  # model FLOPS utilisation of prefill, by TP
ATTENTION_MFU_RATIO = 0.94
PREFILL_LAYER_S = 100e-6
FLOOR_S = 3.2e-3  # the shortest prefill takes so much longer than a decode step
ACTIVATION_BYTES = 2.2 * GIB
TYPICAL_SEQUENCES = 16.0  # at which the experts that a step touches are counted
REFERENCE_FLOPS = 989e12
HANDOVER_S = 0.12  # orchestration, measured over NIXL
HANDOVER_BYTES_PER_SECOND = 17.5e9
STALL_BYTES_PER_SECOND = 26e9  # KV pulled over NIXL delays decode steps as if they read it at this rate


@dataclass(frozen=True, slots=True)
class Serving:
    """How the engine is set up."""

    tensor_parallel: int = 1
    weight_bits: int = 16
    kv_bits: int = 16
    memory_share: float = 0.9
    max_sequences: int = 256
    max_batched_tokens: int = 8192
    block_tokens: int = 16


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Relative standard deviation of each coefficient of a ``ReplicaModel``."""

    base: float = 0.25
    per_sequence: float = 0.8
    per_kv_token: float = 0.5
    beyond_knee: float = 0.8
    prefill_floor: float = 0.25
    prefill_speed: float = 0.25
    stall: float = 0.6

    def widened(self, factor: float) -> "Uncertainty":
        """Return this uncertainty, every coefficient ``factor`` times as uncertain (at most 1.5)."""
        return Uncertainty(*(min(1.5, factor * value) for value in self.all))

    @property
    def all(self) -> tuple[float, ...]:
        """Return the values in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))


MEASURED = Uncertainty(0.05, 0.15, 0.10, 0.2, 0.1, 0.06, 0.5)
"""For a profile fitted to measurements of the same accelerator, engine and model: drivers and versions still differ."""


@dataclass(frozen=True, slots=True)
class Prior:
    """A model of a replica that nobody has seen, and how far to trust it."""

    model: ReplicaModel
    uncertainty: Uncertainty


def physics_prior(accelerator: Accelerator, shape: Shape, serving: Serving | None = None) -> Prior:
    """Return the prior of a replica.

    Raises:
        ValueError: the weights leave no memory for KV, or nothing is known of this tensor parallelism.
    """
    setup = serving if serving is not None else Serving()
    if setup.tensor_parallel not in MFU:
        msg = f"tensor parallelism {setup.tensor_parallel} has no prior; known are {', '.join(map(str, MFU))}"
        raise ValueError(msg)
    step = _step(accelerator, shape, setup)
    prefill = _prefill(accelerator, shape, setup, step)
    step = StepModel(
        step.base_s, step.per_sequence_s, step.per_kv_token_s, 1.07 * prefill.per_token_s,
        step.knee_sequences, step.per_sequence_beyond_knee_s,
    )  # fmt: skip
    kv_bytes = kv_bytes_per_token(shape, setup.kv_bits)
    handover = Handover(HANDOVER_S, kv_bytes / HANDOVER_BYTES_PER_SECOND, kv_bytes / STALL_BYTES_PER_SECOND)
    model = ReplicaModel(step, prefill, handover, _limits(accelerator, shape, setup))
    return Prior(model, Uncertainty().widened(_spread(accelerator, shape, setup)))


def _spread(accelerator: Accelerator, shape: Shape, setup: Serving) -> float:
    """Return how much wider than for a dense model on one H200 the prior is."""
    parallel = 1.0 if setup.tensor_parallel == 1 else 1.5
    routed = 2.0 if shape.experts else 1.0
    latent = 1.3 if shape.is_latent else 1.0
    return accelerator.spread * parallel * routed * latent


def _step(accelerator: Accelerator, shape: Shape, setup: Serving) -> StepModel:
    tp, weight_bytes = setup.tensor_parallel, setup.weight_bits / 8.0
    flops, bandwidth = accelerator.flops_per_second(setup.weight_bits), accelerator.bandwidth_bytes_per_second
    touched = (shape.touched_layer_parameters(TYPICAL_SEQUENCES) + shape.head_parameters) * weight_bytes
    base = STREAMING * touched / (tp * bandwidth) + shape.layers * LAYER_S[tp]
    per_sequence = shape.layers * SEQUENCE_LAYER_S * REFERENCE_FLOPS / accelerator.flops_per_second(16)
    kv = kv_bytes_per_token(shape, setup.kv_bits) * replicas_of_kv(shape, tp)
    arithmetic = 2.0 * (shape.active_layer_parameters + shape.head_parameters) / (tp * flops * MFU[tp])
    knee = touched / (tp * bandwidth) / arithmetic
    return StepModel(
        base_s=base,
        per_sequence_s=per_sequence,
        per_kv_token_s=kv / (tp * KV_EFFICIENCY * bandwidth),
        knee_sequences=knee,
        per_sequence_beyond_knee_s=max(0.0, arithmetic - per_sequence),
    )


def _prefill(accelerator: Accelerator, shape: Shape, setup: Serving, step: StepModel) -> PrefillModel:
    tp = setup.tensor_parallel
    speed = tp * accelerator.flops_per_second(setup.weight_bits) * MFU[tp]
    attention_speed = tp * accelerator.flops_per_second(16) * MFU[tp] * ATTENTION_MFU_RATIO
    return PrefillModel(
        floor_s=step.base_s + FLOOR_S,
        base_s=shape.layers * PREFILL_LAYER_S,
        per_token_s=2.0 * shape.active_layer_parameters / speed,
        per_token_squared_s=2.0 * shape.layers * shape.query_size / attention_speed,
        corner=CORNER,
    )


def _limits(accelerator: Accelerator, shape: Shape, setup: Serving) -> EngineLimits:
    tp = setup.tensor_parallel
    memory = setup.memory_share * accelerator.memory_bytes * tp - ACTIVATION_BYTES * tp
    free = memory - shape.parameters * setup.weight_bits / 8.0
    capacity = free / (kv_bytes_per_token(shape, setup.kv_bits) * replicas_of_kv(shape, tp))
    if capacity < setup.block_tokens:
        needed = math.ceil(shape.parameters * setup.weight_bits / 8.0 / GIB)
        msg = f"{shape.name} needs {needed} GiB for its weights alone: {tp} x {accelerator.name} cannot hold it"
        raise ValueError(msg)
    blocks = math.floor(capacity / setup.block_tokens)
    return EngineLimits(
        float(blocks * setup.block_tokens), setup.max_sequences, setup.max_batched_tokens, setup.block_tokens
    )
