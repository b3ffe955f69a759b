"""A small HTTP server in place of the API server, for answers that a real one gives only on bad days."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from autoscaler.domain.units import Seconds
from autoscaler.kube import KubeSession, Limits, Login

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
QUICK = Limits(connect=Seconds(1.0), attempt=Seconds(1.0), write=Seconds(1.0), attempts=3)


def write_kubeconfig(path: Path, server: str, token: str = "first") -> None:  # noqa: S107  # opens nothing
    """Write a kubeconfig with a token."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "fake", "user": {"token": token}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }
    path.write_text(yaml.safe_dump(config))


@asynccontextmanager
async def serving(handler: Handler, kubeconfig: Path, limits: Limits = QUICK) -> AsyncIterator[KubeSession]:
    """Serve, and log in to it."""

    async def handle(request: web.Request) -> web.StreamResponse:  # the router accepts functions only
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    write_kubeconfig(kubeconfig, f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with await KubeSession.open(
            jitter=lambda: 0.0, login=Login(kubeconfig=str(kubeconfig)), limits=limits
        ) as session:
            yield session
    finally:
        await runner.cleanup()


def refusal(status: int, message: str = "no", **headers: str) -> web.Response:
    """Return a Status object as the API server would."""
    body = {"kind": "Status", "status": "Failure", "code": status, "message": message}
    return web.json_response(
        body, status=status, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def discovery(*kinds: tuple[str, str]) -> dict[str, Any]:
    """Return an APIResourceList of (plural, kind) pairs."""
    return {"resources": [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in kinds]}


def pod(number: int, *, version: int = 1, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a Ready pod of the size that real engine pods have."""
    time = "2026-11-23T10:00:00Z"
    environment = [{"name": f"SETTING_{index}", "value": "x" * 40} for index in range(30)]
    conditions = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "decode-abc", "uid": "rs", "controller": True}
    return {
        "metadata": {
            "name": f"decode-{number}",
            "namespace": "llm",
            "uid": f"uid-{number}",
            "resourceVersion": str(version),
            "creationTimestamp": time,
            "labels": {"app": "decode"} | (labels or {}),
            "annotations": {"note": "y" * 500},
            "ownerReferences": [replica_set],
            "managedFields": [
                {"manager": "kubelet", "fieldsV1": {"f:status": {f"f:{index}": {} for index in range(60)}}}
            ],
        },
        "spec": {
            "nodeName": f"node-{number % 50}",
            "containers": [{"name": "engine", "image": "vllm", "env": environment}],
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.0.{number // 250}.{number % 250}",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": time} for kind in conditions],
            "containerStatuses": [{"name": "engine", "restartCount": 1, "state": {"running": {"startedAt": time}}}],
        },
    }
