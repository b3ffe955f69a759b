"""Policies, fleets and comparisons for tests of what is observed."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.policy import Metrics, MetricsSource, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.signal import Missing
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.fleet import FleetView
from autoscaler.observe.scrape import MemorySource, Target

DATA = Path(__file__).parent / "data"
RECORDING = Path(__file__).parents[1] / "examples" / "h200_pd"

DEFAULT = RequestProfile("default", SLO(Seconds(3.0), Seconds(0.06), 0.95))
BY_FAIRNESS = (
    RequestProfile("rag", SLO(Seconds(2.0), Seconds(0.05)), Match(fairness_id="rag"), importance=10),
    RequestProfile("reasoning", SLO(Seconds(1.0), Seconds(0.03)), Match(fairness_id="reasoning")),
    DEFAULT,
)


def variant(name: str, role: Role) -> Variant:
    """Return a variant that may have up to eight replicas."""
    return Variant(name, role, ScaleTarget("llm", "apps/v1", "Deployment", name), "H200-SXM", 1, 3.0, 1, 8)


def policy(
    *profiles: RequestProfile,
    name: str = "h200",
    model: str = "m",
    roles: Sequence[Role] = (Role.PREFILL, Role.DECODE),
    metrics: Metrics | None = None,
) -> SLOPolicy:
    """Return a policy of namespace llm with one variant per role, named as the role."""
    return SLOPolicy(
        name=name,
        namespace="llm",
        model=model,
        profiles=profiles or (DEFAULT,),
        variants=tuple(variant(role.value, role) for role in roles),
        metrics=metrics or Metrics(),
    )


def pods(variant_name: str, *names: str, state: PodState = PodState.READY, since: float = 0.0) -> tuple[Pod, ...]:
    """Return pods of a variant."""
    return tuple(Pod(name, variant_name, state, Instant(0.0), ready_since=Instant(since)) for name in names)


class Fleet:
    """A fleet source that knows the given pods by variant, of one policy."""

    def __init__(self, key: str, by_variant: Mapping[str, Sequence[Pod]], **flags: bool) -> None:
        workloads = {name: Workload(name, len(members), tuple(members)) for name, members in by_variant.items()}
        self._views = {key: FleetView(MappingProxyType(workloads), **flags)}

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:  # noqa: ARG002 - stands still
        return self._views


def one_each(key: str = "llm/h200") -> Fleet:
    """Return the fleet of the recording: one prefill pod, one decode pod."""
    return Fleet(key, {"prefill": pods("prefill", "p0"), "decode": pods("decode", "d0")})


def differences(left: Any, right: Any, path: str = "", relative: float = 1e-6) -> list[str]:  # noqa: ANN401 - any value
    """Return where two values differ: numbers by more than ``relative``, Missing by reason or date."""
    parts, others = _parts(left), _parts(right)
    if parts is None or others is None or type(left) is not type(right):
        return [] if _same(left, right, relative) else [f"{path}: {left!r} / {right!r}"]
    if parts.keys() != others.keys():
        return [f"{path}: {sorted(parts)} / {sorted(others)}"]
    return [d for name in parts for d in differences(parts[name], others[name], f"{path}.{name}", relative)]


def _parts(value: object) -> dict[str, Any] | None:
    """Return the parts of a value that is made of parts."""
    if isinstance(value, Missing):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    return {str(n): part for n, part in enumerate(value)} if isinstance(value, tuple) else None


def _same(left: object, right: object, relative: float) -> bool:
    if isinstance(left, Missing) and isinstance(right, Missing):
        return left.reason is right.reason and math.isclose(left.since, right.since, abs_tol=2e-3)
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=relative, abs_tol=1e-9)  # a sum that is 0 but for rounding
    return left == right


def exposition(*samples: tuple[str, Mapping[str, str], float]) -> str:
    """Return a text exposition."""
    lines = []
    for name, labels, value in samples:
        pairs = ",".join(f'{label}="{text}"' for label, text in labels.items())
        lines.append(f"{name}{{{pairs}}} {value!r}")
    return "\n".join(lines) + "\n"


def histogram(name: str, labels: Mapping[str, str], buckets: Mapping[str, float], mean: float) -> list[Any]:
    """Return the samples of a histogram whose last bucket is infinite."""
    count = list(buckets.values())[-1]
    samples = [(f"{name}_bucket", {**labels, "le": bound}, upto) for bound, upto in buckets.items()]
    return [*samples, (f"{name}_sum", labels, count * mean), (f"{name}_count", labels, count)]


def picker(seconds: float, rates: Mapping[str, float], *, per_response: float = 1.0, old: bool = False) -> str:
    """Return what a picker shows that has dispatched requests of these fairness ids for some seconds.

    Prompts have 1000 tokens, answers 100; ``per_response``: observations of token histograms for each response.
    """
    samples: list[Any] = []
    for fairness, rate in rates.items():
        model = {"model_name": "m", "target_model_name": "m"}
        labels = model if old else {**model, "fairness_id": fairness, "priority": "0"}
        prefix = "inference_objective" if old else "llm_d_epp"
        tokens = "" if old else "request_"
        count = rate * seconds
        samples.append((f"{prefix}_request_total", {**model, "priority": "0"} if old else labels, count))
        samples.append((f"{prefix}_request_duration_seconds_count", labels, count))
        seen = {"512": 0.0, "2048": count * per_response, "+Inf": count * per_response}
        samples += histogram(f"{prefix}_{tokens}input_tokens", labels, seen, 1000.0)
        seen = {"64": 0.0, "128": count * per_response, "+Inf": count * per_response}
        samples += histogram(f"{prefix}_{tokens}output_tokens", labels, seen, 100.0)
        if not old:
            waits = {"1": count / 2.0, "3": count, "+Inf": count}
            samples += histogram("llm_d_epp_request_ttft_seconds", {**labels, "streaming": "true"}, waits, 1.2)
    return exposition(*samples)


def engine(
    seconds: float, role: Role, rate: float, *, running: float = 4.0, waiting: float = 0.0, cached: float = 0.25
) -> str:
    """Return what vLLM's engine of a role shows after some seconds of a constant rate: 1000 tokens in, 100 out."""
    labels = {"model_name": "m", "engine": "0"}
    count, decode = rate * seconds, role is Role.DECODE
    hits = 0.0 if decode else 1000.0 * count * cached
    sources = {"local_cache_hit": hits, "external_kv_transfer": 1000.0 * count if decode else 0.0}
    sources["local_compute"] = 1000.0 * count - sum(sources.values())
    samples: list[Any] = [
        ("vllm:num_requests_running", labels, running),
        ("vllm:num_requests_waiting", labels, waiting),
        ("vllm:num_requests_waiting_by_reason", {**labels, "reason": "capacity"}, 0.0 if decode else waiting),
        ("vllm:num_requests_waiting_by_reason", {**labels, "reason": "deferred"}, waiting if decode else 0.0),
        ("vllm:kv_cache_usage_perc", labels, 0.5 if running else 0.0),  # cached blocks without a user count as free
        ("vllm:cache_config_info", {"engine": "0", "num_gpu_blocks": "1000", "block_size": "16"}, 1.0),
        ("vllm:prompt_tokens_total", labels, 1000.0 * count),
        ("vllm:generation_tokens_total", labels, count * (100.0 if decode else 1.0)),
        ("vllm:request_success_total", {**labels, "finished_reason": "length"}, count),
        ("vllm:num_preemptions_total", labels, 0.0),
        *(("vllm:prompt_tokens_by_source_total", {**labels, "source": s}, value) for s, value in sources.items()),
    ]
    for name, mean in (("request_prefill_time_seconds", 0.3), ("request_queue_time_seconds", 0.1)):
        samples += histogram(f"vllm:{name}", labels, {"0.3": count / 2.0, "+Inf": count}, mean)
    ttft = 0.15 if decode else 0.5
    samples += histogram("vllm:time_to_first_token_seconds", labels, {"0.1": 0.0, "1.0": count, "+Inf": count}, ttft)
    gaps = count * 99.0 if decode else 0.0
    samples += histogram("vllm:inter_token_latency_seconds", labels, {"0.025": gaps, "+Inf": gaps}, 0.02)
    samples += histogram("vllm:request_prompt_tokens", labels, {"500": 0.0, "2000": count, "+Inf": count}, 1000.0)
    samples += histogram("vllm:request_generation_tokens", labels, {"50": 0.0, "200": count, "+Inf": count}, 100.0)
    return exposition(*samples)


def target(pod: str, role: str = "") -> Target:
    """Return a scrape target in namespace llm."""
    return Target({"namespace": "llm", "pod": pod, **({"llm_d_ai_role": role} if role else {})})


Page: TypeAlias = Callable[[float], str | None]
"""What a target shows some seconds after 1,000 s; None: it fails to answer."""


def filled(
    windows: Windows, pages: Mapping[Target, Page], until: float, *, interval: float = 5.0, keep: Sequence[str] = ()
) -> MemorySource:
    """Return a source that scraped pages from 1,000 s on."""
    source = MemorySource(("llm",), windows, keep=keep)
    for n in range(int((until - 1000.0) / interval) + 1):
        at = Instant(1000.0 + n * interval)
        for page, text in pages.items():
            shown = text(at - 1000.0)
            if shown is None:
                source.failed(at, page)
            else:
                source.add(at, page, shown)
    return source


def metrics(source: str, **matchers: str) -> Metrics:
    """Return where a policy's series come from."""
    return Metrics(MetricsSource(source), tuple(matchers.items()))
