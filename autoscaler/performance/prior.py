"""How fast a replica should be before it was ever seen: from the accelerator, the model's shape and the parallelism.

Every coefficient comes with an uncertainty. Constants were chosen on H200 at TP 1 (benchmarks/data) and, for the
overhead of tensor parallelism, on public tables; elsewhere the prior is derived, and calibration corrects it.
"""

import math
from dataclasses import dataclass, fields, replace

from autoscaler.performance.accelerators import GIB, Accelerator
from autoscaler.performance.fit import CORNER
from autoscaler.performance.shapes import Shape, kv_bytes_per_token, replicas_of_kv
from autoscaler.performance.step import EngineLimits, Handover, PrefillModel, ReplicaModel, StepModel

STREAMING = 1.25  # time to stream the weights, over bytes / nominal bandwidth
LAYER_S = {1: 28e-6, 2: 38e-6, 4: 50e-6, 8: 60e-6}  # launches and all-reduce of a layer, by TP
EXPERT_LAYER_S = 15e-6  # routing and scattered launches of a layer with experts, in addition
LATENT_LAYER_S = 25e-6  # projections to and from the latent, in addition
SEQUENCE_LAYER_S = {1: 0.39e-6, 2: 0.5e-6, 4: 0.7e-6, 8: 1.0e-6}  # of a sequence, at H200's arithmetic speed, by TP
NARROW_STREAMING = 1.25  # 4-bit weights are unpacked on the way, over other weights
BESIDE_DECODE = 1.07  # a prompt token in a decode step, over one in a prefill step
KV_EFFICIENCY = 0.94  # of nominal bandwidth, while streaming the KV cache
MFU = {1: 0.64, 2: 0.50, 4: 0.43, 8: 0.33}  # model FLOPS utilisation of prefill, by TP
ATTENTION_MFU_RATIO = 0.94
PREFILL_LAYER_S = 100e-6
FLOOR_S = 3.2e-3  # the shortest prefill takes so much longer than a decode step
ACTIVATION_BYTES = 2.2 * GIB
MANY = 64.0  # sequences up to which the experts that a step reads are taken to grow by the root
SCALE_BITS = 0.5
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
    step = replace(step, per_prefill_token_s=BESIDE_DECODE * prefill.per_token_s)
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
    tp = setup.tensor_parallel
    flops, bandwidth = accelerator.flops_per_second(setup.weight_bits), accelerator.bandwidth_bytes_per_second
    few, many = (_weight_bytes(shape, setup, sequences) / (tp * bandwidth) for sequences in (1.0, MANY))
    streaming = STREAMING * (NARROW_STREAMING if setup.weight_bits < 8 and not shape.experts else 1.0)
    root = streaming * (many - few) / math.sqrt(MANY)
    layer_s = LAYER_S[tp] + EXPERT_LAYER_S * bool(shape.experts) + LATENT_LAYER_S * shape.is_latent
    base = streaming * few + shape.layers * layer_s
    per_sequence = shape.layers * SEQUENCE_LAYER_S[tp] * REFERENCE_FLOPS / accelerator.flops_per_second(16)
    kv = kv_bytes_per_token(shape, setup.kv_bits) * replicas_of_kv(shape, tp)
    arithmetic = 2.0 * (shape.active_layer_parameters + shape.head_parameters) / (tp * flops * MFU[tp])
    knee = many / arithmetic
    return StepModel(
        base_s=base,
        per_sequence_s=per_sequence,
        per_kv_token_s=kv / (tp * KV_EFFICIENCY * bandwidth),
        knee_sequences=knee,
        per_sequence_beyond_knee_s=max(0.0, arithmetic - per_sequence),
        per_root_sequence_s=root,
    )


def _weight_bytes(shape: Shape, setup: Serving, sequences: float) -> float:
    """Return the bytes of weights that a step reads; the head stays at 16 bits, 4-bit weights carry their scales."""
    bits = setup.weight_bits if setup.weight_bits >= 8 else setup.weight_bits + SCALE_BITS
    return shape.touched_layer_parameters(sequences) * bits / 8.0 + shape.head_parameters * 2.0


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
