"""Hundreds of workloads and ten thousand pods: the requests stay few, a look stays short."""

import asyncio
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.signal import is_present
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.kube import KubeFleet
from tests.unit.kube.fake_api import discovery, pod, serving

TARGETS, PODS_EACH = 200, 50


def target(number: int) -> dict[str, Any]:
    name = f"decode-{number}"
    metadata = {"name": name, "uid": f"d{number}", "resourceVersion": "1", "generation": 1}
    spec = {"replicas": PODS_EACH, "selector": {"matchLabels": {"app": name}}}
    status = {"observedGeneration": 1, "replicas": PODS_EACH, "updatedReplicas": PODS_EACH}
    return {"metadata": metadata, "spec": spec, "status": status}


def replica(number: int) -> dict[str, Any]:
    found = pod(number)
    (owner,) = found["metadata"]["ownerReferences"]
    owner |= {"name": f"rs-{number % TARGETS}", "uid": f"rs-{number % TARGETS}"}
    return found


class BigCluster:
    """200 Deployments of 50 pods, through their replica sets."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._listed = {
            "deployments": [target(number) for number in range(TARGETS)],
            "pods": [replica(number) for number in range(TARGETS * PODS_EACH)],
        }

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path in {"/api/v1", "/apis/apps/v1"}:
            kinds = (("pods", "Pod"), ("deployments", "Deployment"), ("replicasets", "ReplicaSet"))
            return web.json_response(discovery(*kinds))
        if owned := re.search(r"/replicasets/rs-(\d+)$", request.path):
            self.asked["owner"] += 1
            return web.json_response({"metadata": self._replica_set(owned[1])})
        if "watch" in request.query:
            self.asked["watch"] += 1
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(60)
            return response
        self.asked["page"] += 1
        return self._page(request)

    @staticmethod
    def _replica_set(number: str) -> dict[str, Any]:
        above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"decode-{number}", "uid": f"d{number}"}
        return {"name": f"rs-{number}", "uid": f"rs-{number}", "ownerReferences": [above | {"controller": True}]}

    def _page(self, request: web.Request) -> web.StreamResponse:
        items = self._listed[request.path.rsplit("/", 1)[1]]
        begin, end = (start := int(request.query.get("continue", "0"))), start + int(request.query["limit"])
        metadata = {"resourceVersion": "1"} | ({"continue": str(end)} if end < len(items) else {})
        return web.json_response({"metadata": metadata, "items": items[begin:end]})


def policy(number: int) -> SLOPolicy:
    name = f"decode-{number}"
    where = ScaleTarget("llm", "apps/v1", "Deployment", name)
    variant = Variant(name, Role.DECODE, where, "H200", 1, 1.0, 0, 100)
    return SLOPolicy(name=name, namespace="llm", model=name, profiles=(), variants=(variant,))


@pytest.mark.slow
def test_two_hundred_policies_and_ten_thousand_pods(tmp_path: Path) -> None:
    """The bounds are generous for a busy machine; ``pytest -s`` prints what was measured."""
    cluster = BigCluster()

    async def play() -> tuple[float, float, float]:
        async with serving(cluster, tmp_path / "config") as session:
            fleet = KubeFleet(session, [policy(number) for number in range(TARGETS)])
            times = [time.process_time()]
            await fleet.start()
            try:
                await fleet.wait_synced(Seconds(60.0))
                for _ in range(3):
                    times.append(time.process_time())
                    views = await fleet.fleets(Instant(0.0))
                times.append(time.process_time())
            finally:
                await fleet.close()
            workloads = [workload for view in views.values() for workload in view.workloads.values()]
            assert {workload.ready for workload in workloads if is_present(workload)} == {PODS_EACH}
            assert len(workloads) == TARGETS
            return times[1] - times[0], times[2] - times[1], times[4] - times[3]

    synced_s, first_s, look_s = asyncio.run(play())
    figures = f"synced {synced_s:.2f} s, first look {first_s:.2f} s, later looks {look_s * 1000:.0f} ms of CPU"
    print(f"10,000 pods: {figures}")  # noqa: T201
    assert dict(cluster.asked) == {"watch": 2, "page": 21, "owner": TARGETS}
    assert look_s < 1.0
