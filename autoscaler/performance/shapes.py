"""What a model's shape costs: parameters, active parameters and KV bytes, from a Hugging Face ``config.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from autoscaler.errors import InputError

Config: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one model. Parameters are counts; ``kv_elements`` are values kept per token over all layers."""

    name: str
    layers: int
    query_size: int  # query heads x head size
    kv_heads: int
    kv_elements: float
    attention_parameters: float  # all layers, with norms
    dense_parameters: float  # feed-forward that every token passes, shared experts included, all layers
    expert_parameters: float  # of routed experts, all layers
    experts: int  # routed experts of a layer; 0: dense
    experts_per_token: int
    embedding_parameters: float
    head_parameters: float  # output head; read and computed every step, tied or not
    tied: bool = False

    @property
    def parameters(self) -> float:
        """Return all parameters that are stored."""
        head = 0.0 if self.tied else self.head_parameters
        return self.layer_parameters + self.embedding_parameters + head

    @property
    def layer_parameters(self) -> float:
        """Return the parameters of all layers, without embeddings and head."""
        return self.attention_parameters + self.dense_parameters + self.expert_parameters

    @property
    def active_layer_parameters(self) -> float:
        """Return the layer parameters that compute one token."""
        share = self.experts_per_token / self.experts if self.experts else 0.0
        return self.attention_parameters + self.dense_parameters + share * self.expert_parameters

    def touched_layer_parameters(self, sequences: float) -> float:
        """Return the layer parameters read by a step over so many sequences that choose experts independently."""
        if not self.experts:
            return self.layer_parameters
        missed = float((1.0 - self.experts_per_token / self.experts) ** sequences)
        return self.attention_parameters + self.dense_parameters + (1.0 - missed) * self.expert_parameters

    @property
    def is_latent(self) -> bool:
        """Tell whether attention keeps a latent (MLA) instead of keys and values."""
        return self.kv_heads == 0


def _integer(config: Config, *names: str, default: int | None = None) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if value is not None:
            msg = f"config.json: {name}: a whole number is expected, not {value!r}"
            raise InputError(msg)
    if default is None:
        msg = f"config.json: {names[0]} is absent; without it the model's size is not known"
        raise InputError(msg)
    return default


def shape_of(config: Config, name: str = "model") -> Shape:
    """Return the shape that a ``config.json`` describes; nested ``text_config`` (multimodal models) is followed.

    Raises:
        InputError: a size is absent or no whole number.
    """
    nested = config.get("text_config")
    if isinstance(nested, Mapping):
        return shape_of(nested, name)
    layers, hidden = _integer(config, "num_hidden_layers"), _integer(config, "hidden_size")
    vocabulary = _integer(config, "vocab_size")
    attention, query, kv_heads, kv_elements = _attention(config, layers, hidden)
    dense, routed, experts, per_token = _feed_forward(config, layers, hidden)
    return Shape(
        name,
        layers,
        query,
        kv_heads,
        kv_elements,
        attention,
        dense,
        routed,
        experts,
        per_token,
        float(vocabulary * hidden),
        float(vocabulary * hidden),
        config.get("tie_word_embeddings") is True,
    )


def _attention(config: Config, layers: int, hidden: int) -> tuple[float, int, int, float]:
    """Return parameters of all layers, query size, KV heads (0: latent) and KV values kept per token."""
    heads = _integer(config, "num_attention_heads")
    latent = _integer(config, "kv_lora_rank", default=0)
    if latent:
        rope, plain = _integer(config, "qk_rope_head_dim"), _integer(config, "qk_nope_head_dim")
        value, q_rank = _integer(config, "v_head_dim"), _integer(config, "q_lora_rank", default=0)
        query = heads * (rope + plain)
        q_weights = hidden * q_rank + q_rank * query if q_rank else hidden * query
        kv_weights = hidden * (latent + rope) + latent * heads * (plain + value)
        return (
            float(layers * (q_weights + kv_weights + heads * value * hidden)),
            query,
            0,
            float(layers * (latent + rope)),
        )
    kv_heads = _integer(config, "num_key_value_heads", default=heads)
    size = _integer(config, "head_dim", default=hidden // heads)
    weights = hidden * size * (2 * heads + 2 * kv_heads)
    return float(layers * weights), heads * size, kv_heads, float(_full_layers(config, layers) * 2 * kv_heads * size)


def _full_layers(config: Config, layers: int) -> int:
    """Return the layers that keep every token; sliding windows keep few and do not grow."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and kinds:
        return sum(kind == "full_attention" for kind in kinds)
    return layers


def _feed_forward(config: Config, layers: int, hidden: int) -> tuple[float, float, int, int]:
    """Return dense and routed parameters of all layers, routed experts of a layer and those each token takes."""
    experts = _integer(config, "n_routed_experts", "num_experts", "num_local_experts", default=0)
    if not experts:
        return float(layers * 3 * hidden * _integer(config, "intermediate_size")), 0.0, 0, 0
    inner = _integer(config, "moe_intermediate_size", "intermediate_size")
    plain_layers = min(layers, _integer(config, "first_k_dense_replace", default=0))
    shared = _integer(config, "n_shared_experts", default=0) * 3 * hidden * inner + hidden * experts
    dense = (layers - plain_layers) * shared
    if plain_layers:
        dense += plain_layers * 3 * hidden * _integer(config, "intermediate_size")
    return (
        float(dense),
        float((layers - plain_layers) * experts * 3 * hidden * inner),
        experts,
        _integer(config, "num_experts_per_tok"),
    )


def _config(layers: int, hidden: int, inner: int, heads: int, kv_heads: int, vocabulary: int, **more: object) -> Config:
    sizes: dict[str, object] = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "head_dim": 128,
    }
    return MappingProxyType(sizes | more)


_QWEN3_MOE = {"num_experts": 128, "num_experts_per_tok": 8}
_DEEPSEEK = {
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "q_lora_rank": 1536,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
}
BUILT_IN: Mapping[str, Config] = MappingProxyType(
    {
        "meta-llama/Llama-3.1-8B": _config(32, 4096, 14336, 32, 8, 128_256),
        "meta-llama/Llama-3.1-70B": _config(80, 8192, 28672, 64, 8, 128_256),
        "meta-llama/Llama-3.1-405B": _config(126, 16384, 53248, 128, 8, 128_256),
        "Qwen/Qwen3-8B": _config(36, 4096, 12288, 32, 8, 151_936),
        "Qwen/Qwen3-14B": _config(40, 5120, 17408, 40, 8, 151_936),
        "Qwen/Qwen3-32B": _config(64, 5120, 25600, 64, 8, 151_936),
        "Qwen/Qwen3-30B-A3B": _config(48, 2048, 6144, 32, 4, 151_936, moe_intermediate_size=768, **_QWEN3_MOE),
        "Qwen/Qwen3-235B-A22B": _config(94, 4096, 12288, 64, 4, 151_936, moe_intermediate_size=1536, **_QWEN3_MOE),
        "mistralai/Mixtral-8x7B-v0.1": _config(
            32, 4096, 14336, 32, 8, 32_000, num_local_experts=8, num_experts_per_tok=2
        ),
        "openai/gpt-oss-120b": _config(
            36,
            2880,
            2880,
            64,
            8,
            201_088,
            num_local_experts=128,
            num_experts_per_tok=4,
            head_dim=64,
            layer_types=["sliding_attention", "full_attention"] * 18,
        ),
        "deepseek-ai/DeepSeek-V3": _config(61, 7168, 18432, 128, 128, 129_280, **_DEEPSEEK),
    }
)


def built_in(name: str) -> Shape:
    """Return the shape of a common model by its Hugging Face name; ``-Instruct`` and the like change nothing.

    Raises:
        InputError: it is not in the table.
    """
    plain = name.rsplit("/", maxsplit=1)[-1].casefold()
    matches = [known for known in BUILT_IN if plain.startswith(known.rsplit("/", maxsplit=1)[-1].casefold())]
    if not matches:
        msg = f'model "{name}" is not in the table; give its config.json; known are {", ".join(BUILT_IN)}'
        raise InputError(msg)
    known = max(matches, key=len)
    return shape_of(BUILT_IN[known], known)


def kv_bytes_per_token(shape: Shape, bits: int) -> float:
    """Return the bytes that one token keeps in the KV cache of all devices together (without replication)."""
    return shape.kv_elements * bits / 8.0


def replicas_of_kv(shape: Shape, tensor_parallel: int) -> float:
    """Return how many times the KV cache is stored: every device holds whole heads, a latent is held by each."""
    return float(tensor_parallel) if shape.is_latent else max(1.0, tensor_parallel / shape.kv_heads)
