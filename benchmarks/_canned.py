"""A Prometheus and an API server that always say the same of a large estate: answers of real size, made once.

    python -m benchmarks._canned --models 500 --pods 5 --window 60 --port 0    # prints its port

Per model one picker, two profiles, two roles with two variants each; a StatefulSet and its pods per variant.
"""

import argparse
import asyncio
import itertools
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from autoscaler.domain.units import Seconds
from autoscaler.observe import catalogue, promql
from autoscaler.observe.catalogue import Function, Reading, Windows

NAMESPACE = "llm"
ROLES = ("prefill", "decode")
NAMES = ("cheap", "dear")
PROFILES = ("rag", "chat")
BORN = "2026-11-22T00:00:00Z"
BOUNDS = ("0.005", "0.01", "0.02", "0.03", "0.04", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0")
SOURCES = ("local_compute", "local_cache_hit", "external_kv_transfer")
TOKENS = tuple(str(float(2**power)) for power in range(4, 17))

SCOPE = promql.scope((NAMESPACE,), {})
_AGO = re.compile(rb"@\d{6}@")
_OF_MODELS = re.compile(r', model_name=~"[^"]*"')
_NUMBER = re.compile(r"model\W+(\d+)")

VALUES: Mapping[str, float] = {
    "requests": 2.0, "durations": 2.0, "prompt_tokens_sum": 2400.0, "output_tokens_sum": 260.0, "ttft_sum": 0.6,
    "itl_sum": 5.2, "running": 4.0, "kv_use": 0.2, "waiting_capacity": 0.0, "waiting_deferred": 0.0, "prompts": 700.0,
    "prompt_sources": 350.0, "prefix_hits": 0.0, "generated": 80.0, "finished": 0.6, "preemptions": 0.0,
    "engine_itl_sum": 1.6, "engine_ttft_sum": 0.2, "prefill_time_sum": 0.1, "prefill_time_count": 0.6,
    "queue_time_sum": 0.01, "queue_time_count": 0.6, "engine_before": 40.0, "picker_before": 40.0,
    "engine_itl_count": 80.0, "engine_ttft_count": 0.6, "engine_prompt_sum": 700.0, "engine_output_sum": 80.0,
}  # fmt: skip
SCRAPE_S = 15.0
OBSERVED: Mapping[str, float] = {"itl_bucket": 260.0, "engine_itl_bucket": 80.0, "engine_itl_shared": 80.0}
"""Observations per second of a histogram, where they are not requests: 2 of a profile, 0.6 of a pod."""


@dataclass(frozen=True)
class Estate:
    """How much there is."""

    models: int
    pods: int  # of each variant
    picker: bool = True  # tells requests, lengths and latencies of each profile
    only: frozenset[int] | None = None  # of so many models, these

    def numbers(self) -> Iterator[int]:
        """Yield the number of every model."""
        return (number for number in range(self.models) if self.only is None or number in self.only)

    def variants(self) -> Iterator[tuple[str, str, str]]:
        """Yield model, role and workload of every variant."""
        for number in self.numbers():
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
    """Return the answer to each query of a whole look; ``_ago`` stands for times."""
    often = (reading for reading in catalogue.READINGS if not reading.seldom)
    return {promql.instant(r, windows, SCOPE): _answer(estate, r, windows) for r in often}


def _answer(estate: Estate, reading: Reading, windows: Windows) -> bytes:
    series = (
        f'{{"metric":{json.dumps(labels)},{_held(reading, windows, _value(estate, reading, labels))}}}'
        for labels in _members(estate, reading)
    )
    kind = "vector" if windows.step(reading) is None else "matrix"
    return f'{{"status":"success","data":{{"resultType":"{kind}","result":[{",".join(series)}]}}}}'.encode()


def _held(reading: Reading, windows: Windows, value: float) -> str:
    """Return the value or the values of a series, the newest last; times of samples are those of its scrapes."""
    step = windows.step(reading)
    if step is None:
        return f'"value":[{_ago(0)},"{_ago(0) if reading.function is Function.TIME else value}"]'
    ages = [n * step for n in reversed(range(int(windows.of(reading.span) / step)))]
    if reading.function is Function.TIMES:
        scraped = [_ago(math.ceil(age / SCRAPE_S) * SCRAPE_S) for age in ages]
        return f'"values":[{",".join(f"""[{_ago(age)},"{at}"]""" for age, at in zip(ages, scraped, strict=True))}]'
    return f'"values":[{",".join(f"""[{_ago(age)},"{value}"]""" for age in ages)}]'


def _value(estate: Estate, reading: Reading, labels: Mapping[str, str]) -> float:
    """Return the value of a series: of a bucket, its share of what is observed."""
    if "le" not in labels:
        return VALUES.get(reading.name, 1.0)
    bounds = _bounds(reading)
    share = min(1.0, (bounds.index(labels["le"]) + 1) / (len(bounds) * 0.8))
    pods = estate.pods * len(NAMES) if reading.name.endswith("_shared") else 1
    observed = OBSERVED.get(reading.name, 0.6 if "engine" in reading.name else 2.0)
    return observed * share * pods


def _ago(seconds: float) -> str:
    """Return what stands for the time so long before now, in whole milliseconds."""
    return f"@{round(seconds * 1000):06}@"


def _members(estate: Estate, reading: Reading) -> Iterator[dict[str, str]]:
    """Yield the labels of a reading's series."""
    if len(reading.series) and reading.name.startswith("flow_"):
        return  # most pickers run without flow control
    bounds = _bounds(reading)
    for labels in _subjects(estate, reading):
        if "le" in reading.by:
            yield from ({**labels, "le": bound} for bound in bounds)
        elif "source" in reading.by:
            yield from ({**labels, "source": source} for source in SOURCES)
        else:
            yield labels


def _bounds(reading: Reading) -> tuple[str, ...]:
    tokens = any(kind in reading.name for kind in ("tokens", "prompt", "output"))
    return (*(TOKENS if tokens else BOUNDS), "+Inf")


def _subjects(estate: Estate, reading: Reading) -> Iterator[dict[str, str]]:
    if reading.name == "kv_size":
        size = {"engine": "0", "num_gpu_blocks": "16000", "block_size": "16", "kv_cache_size_tokens": "256000"}
        yield from ({"namespace": NAMESPACE, "pod": pod, **size} for _, _, _, pod in estate.replicas())
    elif reading.name.endswith("_shared"):
        for number, role in itertools.product(estate.numbers(), ROLES):
            yield {"namespace": NAMESPACE, "model_name": f"model-{number}", "llm_d_ai_role": role}
    elif "llm_d_ai_role" in reading.by:
        for model, role, _, pod in estate.replicas():
            yield {"namespace": NAMESPACE, "model_name": model, "pod": pod, "llm_d_ai_role": role}
    elif estate.picker:
        for number in estate.numbers():
            known = {"namespace": NAMESPACE, "model_name": f"model-{number}"}
            if "fairness_id" in reading.by:
                named = {"target_model_name": f"model-{number}", "priority": "0"}
                yield from ({**known, **named, "fairness_id": profile} for profile in PROFILES)
            else:
                yield {**known, "pod": f"epp-{number}"}


def _stamped(body: bytes) -> tuple[bytes, frozenset[bytes]]:
    """Return an answer and what stands for times in it."""
    return body, frozenset(_AGO.findall(body))


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
        self._estate, self._windows = estate, windows
        self._answers = {query: _stamped(body) for query, body in answers(estate, windows).items()}
        self._seldom = {promql.instant(r, windows, SCOPE): r for r in catalogue.READINGS if r.seldom}
        self._objects = objects(estate)
        self._named = {found["metadata"]["name"]: found for found in self._objects["statefulsets"]}

    async def query(self, request: web.Request) -> web.StreamResponse:
        """Answer a query of Prometheus."""
        arguments = {**request.query, **await request.post()}
        asked = str(arguments.get("query", ""))
        body, stamps = self._answers.get(asked) or self._of_models(asked)
        now = float(str(arguments.get("time", time.time())))  # by the clock of who asks, which may run fast
        for stamp in stamps:
            body = body.replace(stamp, b"%.3f" % (now - int(stamp[1:-1]) / 1000))
        return web.Response(body=body, content_type="application/json")

    def _of_models(self, asked: str) -> tuple[bytes, frozenset[bytes]]:
        """Return the answer to a query of some models, and keep it."""
        found = _OF_MODELS.search(asked)
        reading = self._seldom.get(_OF_MODELS.sub("", asked))
        if found is None or reading is None:
            return b'{"status":"success","data":{"resultType":"vector","result":[]}}', frozenset()
        some = replace(self._estate, only=frozenset(map(int, _NUMBER.findall(found[0]))))
        return self._answers.setdefault(asked, _stamped(_answer(some, reading, self._windows)))

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
    cli.add_argument("--no-picker", action="store_true")
    wanted = cli.parse_args()
    estate = Estate(wanted.models, wanted.pods, picker=not wanted.no_picker)
    asyncio.run(serve(Canned(estate, Windows(fast=Seconds(wanted.window)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
