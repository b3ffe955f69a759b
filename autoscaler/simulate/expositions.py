"""Metrics as vLLM and llm-d's picker write them, of a simulated cluster; served over HTTP for any scraper.

Only series that the tunnel can fill truthfully are written; engine histograms have the one bucket ``+Inf`` (their sums
and counts are exact), the picker's have its bounds.
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from autoscaler.domain.fleet import PodState
from autoscaler.domain.pool import Role
from autoscaler.domain.profile import RequestProfile
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.meters import Histogram, ProfileMeters
from autoscaler.simulate.pods import SimulatedPod
from autoscaler.simulate.scraping import SERVING

NOT_READY = '{"error": "model is loading"}'
"""What a decode pod's sidecar answers while its engine loads."""


def engine_exposition(pod: SimulatedPod, model: str) -> str:
    """Return what a pod's ``/metrics`` shows now."""
    engine, meters = pod.engine, pod.engine.meters
    labels = {"model_name": model, "engine": "0"}
    limits = engine.model.limits
    blocks = int(limits.kv_capacity_tokens // limits.block_tokens)
    pulled = meters.prompt_tokens - _own_prompts(pod)
    hits = _own_prompts(pod) - meters.computed_tokens if pod.variant.role is not Role.DECODE else 0
    sources = {"local_compute": meters.computed_tokens, "local_cache_hit": max(0, hits), "external_kv_transfer": pulled}
    reasons = {"capacity": engine.waiting, "deferred": engine.transferring}
    lines = [
        _line("vllm:num_requests_running", labels, engine.running),
        _line("vllm:num_requests_waiting", labels, engine.waiting + engine.transferring),
        *(_line("vllm:num_requests_waiting_by_reason", {**labels, "reason": k}, v) for k, v in reasons.items()),
        _line("vllm:kv_cache_usage_perc", labels, engine.kv_use_ratio),
        _line("vllm:num_preemptions_total", labels, meters.preemptions),
        _line("vllm:prompt_tokens_total", labels, meters.prompt_tokens),
        *(_line("vllm:prompt_tokens_by_source_total", {**labels, "source": k}, v) for k, v in sources.items()),
        _line("vllm:generation_tokens_total", labels, meters.output_tokens),
        _line("vllm:request_success_total", {**labels, "finished_reason": "length"}, meters.requests),
        _line(
            "vllm:cache_config_info",
            {"engine": "0", "num_gpu_blocks": str(blocks), "block_size": str(limits.block_tokens)},
            1,
        ),
        *_summary("vllm:inter_token_latency_seconds", labels, meters.gap_s, meters.gaps),
        *_summary("vllm:time_to_first_token_seconds", labels, meters.ttft_s, meters.requests),
        *_summary("vllm:request_prefill_time_seconds", labels, meters.prefill_s, meters.prefills),
        *_summary("vllm:request_queue_time_seconds", labels, meters.queue_s, meters.prefills),
    ]
    return "\n".join(lines) + "\n"


def _own_prompts(pod: SimulatedPod) -> int:
    """Return the prompt tokens that did not come from another replica: on a decode replica, those computed there."""
    meters = pod.engine.meters
    return meters.computed_tokens if pod.variant.role is Role.DECODE else meters.prompt_tokens


def picker_exposition(cluster: SimulatedCluster) -> str:
    """Return what the picker's ``/metrics`` shows now: requests, latencies, lengths, membership."""
    lines: list[str] = []
    for name, meters in zip(cluster.trace.profiles, cluster.traffic.meters, strict=True):
        lines += _profile_lines(_labels(cluster.policy.profile(name), cluster.policy.model), meters)
    for pod in cluster.fleet.pods.values():
        if pod.state is PodState.READY:
            endpoint = {"name": cluster.policy.name, "model_server_endpoint": f"{pod.name}-rank-0"}
            lines.append(_line("llm_d_epp_per_endpoint_queue_size", endpoint, pod.engine.waiting))
    return "\n".join(lines) + "\n"


def _labels(profile: RequestProfile, model: str) -> dict[str, str]:
    """Return the labels by which a profile is told: as its match says."""
    match = profile.match
    return {
        "model_name": match.model_name or model,
        "target_model_name": model,
        "fairness_id": match.fairness_id or "default-flow",
        "priority": str(match.priority or 0),
    }


def _profile_lines(labels: Mapping[str, str], meters: ProfileMeters) -> Iterator[str]:
    if not meters.requests:
        return  # the picker's series appear with their first observation
    yield _line("llm_d_epp_request_total", labels, meters.requests)
    yield _line("llm_d_epp_request_running", labels, meters.requests - meters.finished)
    yield _line("llm_d_epp_request_duration_seconds_count", labels, meters.finished)
    streamed = {**labels, "streaming": "true"}
    for name, labelled, histogram in (
        ("llm_d_epp_request_ttft_seconds", streamed, meters.ttft),
        ("llm_d_epp_request_streaming_itl_seconds", labels, meters.itl),
        ("llm_d_epp_request_input_tokens", labels, meters.prompt_lengths),
        ("llm_d_epp_request_output_tokens", labels, meters.output_lengths),
    ):
        yield from _histogram(name, labelled, histogram)


def _histogram(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterator[str]:
    below = 0
    for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
        below += count
        yield _line(f"{name}_bucket", {**labels, "le": str(bound)}, below)
    yield _line(f"{name}_sum", labels, histogram.total)
    yield _line(f"{name}_count", labels, below)


def _summary(name: str, labels: Mapping[str, str], total: float, count: int) -> Sequence[str]:
    return (
        _line(f"{name}_bucket", {**labels, "le": "+Inf"}, count),
        _line(f"{name}_sum", labels, total),
        _line(f"{name}_count", labels, count),
    )


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}"


class ExpositionServer(ThreadingHTTPServer):
    """Serves ``/picker/metrics`` and ``/pods/NAME/metrics``; hold ``lock`` while time passes in the cluster."""

    daemon_threads = True

    def __init__(self, cluster: SimulatedCluster, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. ``serve_forever`` answers, ``shutdown`` ends."""
        super().__init__((host, port), _Handler)
        self.cluster = cluster
        self.lock = Lock()

    @property
    def url(self) -> str:
        """Return where the server listens."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def answer(self, path: str) -> tuple[HTTPStatus, str]:
        """Return status and body for a path."""
        if path == "/picker/metrics":
            return HTTPStatus.OK, picker_exposition(self.cluster)
        name = path.removeprefix("/pods/").removesuffix("/metrics")
        pod = self.cluster.fleet.pods.get(name)
        if pod is None or path != f"/pods/{name}/metrics":
            return HTTPStatus.NOT_FOUND, f"{path}: no such page\n"
        if pod.state not in SERVING:
            return HTTPStatus.SERVICE_UNAVAILABLE, NOT_READY
        pod.engine.advance(self.cluster.env.now)
        return HTTPStatus.OK, engine_exposition(pod, self.cluster.policy.model)


class _Handler(BaseHTTPRequestHandler):
    server: ExpositionServer

    def do_GET(self) -> None:
        with self.server.lock:
            status, body = self.server.answer(self.path)
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: scrapes are no news."""
