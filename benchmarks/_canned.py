"""A Prometheus and an API server that always say the same of a large estate: answers of real size, made once.

    python -m benchmarks._canned --models 500 --pods 5 --window 60 --port 0    # prints its port

Per model one picker, two profiles, two roles with two variants each; a StatefulSet and its pods per variant.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from autoscaler.domain.units import Seconds
from autoscaler.observe import catalogue, promql
from autoscaler.observe.catalogue import TIMES_POINTS, Function, Reading, Windows

NAMESPACE = "llm"
ROLES = ("prefill", "decode")
NAMES = ("cheap", "dear")
PROFILES = ("rag", "chat")
BORN = "2026-11-22T00:00:00Z"
BOUNDS = ("0.005", "0.01", "0.02", "0.03", "0.04", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0")
TOKENS = tuple(str(float(2**power)) for power in range(4, 17))

VALUES: Mapping[str, float] = {
    "requests": 2.0, "durations": 2.0, "prompt_tokens_sum": 2400.0, "output_tokens_sum": 260.0, "ttft_sum": 0.6,
    "itl_sum": 5.2, "running": 4.0, "kv_use": 0.2, "waiting_capacity": 0.0, "waiting_deferred": 0.0, "prompts": 700.0,
    "prompt_sources": 350.0, "prefix_hits": 0.0, "generated": 80.0, "finished": 0.6, "preemptions": 0.0,
    "engine_itl_sum": 1.6, "engine_ttft_sum": 0.2, "prefill_time_sum": 0.1, "prefill_time_count": 0.6,
    "queue_time_sum": 0.01, "queue_time_count": 0.6, "engine_before": 40.0, "picker_before": 40.0,
}  # fmt: skip


@dataclass(frozen=True)
class Estate:
    """How much there is."""

    models: int
    pods: int  # of each variant

    def variants(self) -> Iterator[tuple[str, str, str]]:
        """Yield model, role and workload of every variant."""
        for number in range(self.models):
            for role in ROLES:
                for name in NAMES:
                    yield f"model-{number}", role, f"model-{number}-{role}-{name}"

    def replicas(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield model, role, workload and name of every pod."""
        for model, role, workload in self.variants():
            for ordinal in range(self.pods):
                yield model, role, workload, f"{workload}-{ordinal}"


def policies(estate: Estate) -> Iterator[dict[str, Any]]:
    """Yield the policies of all models."""
    slo = {"ttft": "3s", "itl": "50ms", "attainment": 0.95}
    for number in range(estate.models):
        model = f"model-{number}"
        pools = {
            role: {
                "variants": [
                    _variant(f"{model}-{role}-{name}", f"{role}-{name}", 2.0 + n) for n, name in enumerate(NAMES)
                ]
            }
            for role in ROLES
        }
        profiles = [{"name": "rag", "match": {"fairnessID": "rag"}, "slo": slo}, {"name": "default", "slo": slo}]
        yield {
            "apiVersion": "disagg-autoscaler.io/v1alpha1",
            "kind": "SLOPolicy",
            "metadata": {"name": model, "namespace": NAMESPACE},
            "spec": {"model": model, "profiles": profiles, "pools": pools},
        }


def _variant(workload: str, name: str, cost: float) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": workload}
    bounds = {"minReplicas": 1, "maxReplicas": 40}
    speed = {"performanceProfile": "h200-tp1-qwen3-32b", "accelerator": "H200-SXM", "costPerReplicaHour": cost}
    return {"name": name, "scaleTargetRef": target, **bounds, **speed}


def answers(estate: Estate, windows: Windows) -> dict[str, bytes]:
    """Return the answer to each of the catalogue's queries; ``_ago`` stands for times."""
    scope = promql.scope((NAMESPACE,), {})
    return {promql.instant(r, windows, scope): _answer(estate, r, windows) for r in catalogue.READINGS}


def _answer(estate: Estate, reading: Reading, windows: Windows) -> bytes:
    timed = reading.function in {Function.TIME, Function.TIMES}
    step = windows.step(reading)
    count = 1 if step is None else int(windows.of(reading.span) / step)
    stamps = [_ago(count - 1 - n) for n in range(count)]
    points = [f'[{stamp},"{stamp if timed else VALUES.get(reading.name, 1.0)}"]' for stamp in stamps]
    held = f'"value":{points[0]}' if step is None else f'"values":[{",".join(points)}]'
    series = (f'{{"metric":{json.dumps(labels)},{held}}}' for labels in _members(estate, reading))
    kind = "vector" if step is None else "matrix"
    return f'{{"status":"success","data":{{"resultType":"{kind}","result":[{",".join(series)}]}}}}'.encode()


def _ago(points: int) -> str:
    """Return what stands for the time so many points before now."""
    return f"@{points:02}@"


def _members(estate: Estate, reading: Reading) -> Iterator[dict[str, str]]:
    """Yield the labels of a reading's series."""
    if len(reading.series) and reading.name.startswith("flow_"):
        return  # most pickers run without flow control
    bounds = (
        *(TOKENS if "tokens" in reading.name or "prompt" in reading.name or "output" in reading.name else BOUNDS),
        "+Inf",
    )
    for labels in _subjects(estate, reading):
        if "le" in reading.by:
            yield from ({**labels, "le": bound} for bound in bounds)
        elif "source" in reading.by:
            yield from ({**labels, "source": source} for source in ("local_compute", "external_kv_transfer"))
        else:
            yield labels


def _subjects(estate: Estate, reading: Reading) -> Iterator[dict[str, str]]:
    if reading.name == "kv_size":
        size = {"engine": "0", "num_gpu_blocks": "16000", "block_size": "16", "kv_cache_size_tokens": "256000"}
        yield from ({"namespace": NAMESPACE, "pod": pod, **size} for _, _, _, pod in estate.replicas())
    elif "llm_d_ai_role" in reading.by:
        for model, role, _, pod in estate.replicas():
            yield {"namespace": NAMESPACE, "model_name": model, "pod": pod, "llm_d_ai_role": role}
    else:
        for number in range(estate.models):
            known = {"namespace": NAMESPACE, "model_name": f"model-{number}"}
            if "fairness_id" in reading.by:
                named = {"target_model_name": f"model-{number}", "priority": "0"}
                yield from ({**known, **named, "fairness_id": profile} for profile in PROFILES)
            else:
                yield {**known, "pod": f"epp-{number}"}


def objects(estate: Estate) -> dict[str, list[dict[str, Any]]]:
    """Return the objects of the cluster by plural."""
    workloads = [_workload(workload, estate.pods) for _, _, workload in estate.variants()]
    return {"statefulsets": workloads, "pods": [_pod(*replica) for replica in estate.replicas()]}


def _workload(name: str, pods: int) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": BORN,
    }
    status = {"observedGeneration": 1, "replicas": pods, "readyReplicas": pods, "updatedReplicas": pods}
    return {
        "metadata": metadata,
        "spec": {"replicas": pods, "selector": {"matchLabels": {"app": name}}},
        "status": status,
    }


def _pod(model: str, role: str, workload: str, name: str) -> dict[str, Any]:
    owner = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": workload,
        "uid": f"uid-{workload}",
        "controller": True,
    }
    metadata = {
        "name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "resourceVersion": "1", "creationTimestamp": BORN,
        "labels": {"app": workload, "model": model, "llm-d.ai/role": role}, "ownerReferences": [owner],
    }  # fmt: skip
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": BORN} for kind in ("PodScheduled", "Ready")]
    engine = {"name": "vllm", "image": "vllm", "args": ["--model", model, "--port", "8000"], "env": []}
    return {
        "metadata": metadata,
        "spec": {"nodeName": "node", "containers": [engine]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions, "containerStatuses": []},
    }


KINDS = {
    "v1": (("pods", "Pod"),),
    "apps/v1": (("statefulsets", "StatefulSet"), ("deployments", "Deployment")),
    "autoscaling/v2": (("horizontalpodautoscalers", "HorizontalPodAutoscaler"),),
}


class Canned:
    """Answers both kinds of question."""

    def __init__(self, estate: Estate, windows: Windows) -> None:
        """Make every answer."""
        self._answers = answers(estate, windows)
        self._step = windows.fast / TIMES_POINTS
        self._objects = objects(estate)
        self._named = {found["metadata"]["name"]: found for found in self._objects["statefulsets"]}

    async def query(self, request: web.Request) -> web.StreamResponse:
        """Answer a query of Prometheus."""
        asked = (await request.post()).get("query") or request.query.get("query", "")
        body = self._answers.get(str(asked), b'{"status":"success","data":{"resultType":"vector","result":[]}}')
        now = time.time()
        for points in range(TIMES_POINTS if _ago(1).encode() in body else 1):
            body = body.replace(_ago(points).encode(), f"{now - points * self._step:.3f}".encode())
        return web.Response(body=body, content_type="application/json")

    async def api(self, request: web.Request) -> web.StreamResponse:
        """Answer the API server's clients: discovery, lists by pages, watches in which nothing happens."""
        group, _, rest = request.path.removeprefix("/apis/").removeprefix("/api/").partition("/")
        version = group if request.path.startswith("/api/") else f"{group}/{rest.partition('/')[0]}"
        last = request.path.rsplit("/", 1)[1]
        if request.path in {f"/api/{version}", f"/apis/{version}"}:
            verbs = ["get", "list", "watch"]
            found = [{"name": p, "kind": k, "namespaced": True, "verbs": verbs} for p, k in KINDS.get(version, ())]
            return web.json_response({"kind": "APIResourceList", "groupVersion": version, "resources": found})
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(float(request.query.get("timeoutSeconds", "25")))
            return response
        if last in self._named:
            return web.json_response(self._named[last])
        items = self._objects.get(last, [])
        begin, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 500)
        more = {"continue": str(begin + limit)} if begin + limit < len(items) else {}
        page = items[begin : begin + limit]
        return web.json_response({"metadata": {"resourceVersion": "1", **more}, "items": page})


async def serve(canned: Canned) -> None:
    """Serve until killed; print the port."""
    application = web.Application(client_max_size=2**20)
    application.router.add_route("*", "/prometheus/api/v1/{kind}", canned.query)
    application.router.add_route("*", "/{path:.*}", canned.api)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> int:
    """Serve."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--models", type=int, default=500)
    cli.add_argument("--pods", type=int, default=5)
    cli.add_argument("--window", type=float, default=60.0)
    wanted = cli.parse_args()
    asyncio.run(serve(Canned(Estate(wanted.models, wanted.pods), Windows(fast=Seconds(wanted.window)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
