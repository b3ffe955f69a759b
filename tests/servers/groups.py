"""Plays the LeaderWorkerSet controller, as far as leaders go: a StatefulSet of leaders that has the group's count."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from autoscaler.kube import KubeError, KubeSession, Resource

GROUP = "leaderworkerset.x-k8s.io"
LWS = Resource(f"{GROUP}/v1", "LeaderWorkerSet", "leaderworkersets", scalable=True)
STATEFUL_SETS = Resource("apps/v1", "StatefulSet", "statefulsets")
POLL_S = 0.1

CRD: dict[str, Any] = {
    "metadata": {"name": f"leaderworkersets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "leaderworkersets", "singular": "leaderworkerset", "kind": "LeaderWorkerSet"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.hpaPodSelector",
                    },
                },
            }
        ],
    },
}


async def play(session: KubeSession, namespace: str) -> None:
    """Follow every LeaderWorkerSet of a namespace until cancelled; its leaders are made of ``spec.leaders``."""
    while True:
        with contextlib.suppress(KubeError):
            for group in (await session.page(LWS.at(namespace), limit=100))["items"]:
                await _followed(session, namespace, group)
        await asyncio.sleep(POLL_S)


async def _followed(session: KubeSession, namespace: str, group: Mapping[str, Any]) -> None:
    metadata, replicas = group["metadata"], group["spec"].get("replicas", 0)
    place = STATEFUL_SETS.at(namespace, metadata["name"])
    try:
        leaders = await session.get(place)
    except KubeError as absent:
        if absent.status != 404:
            raise
        owner = {"apiVersion": LWS.api_version, "kind": LWS.kind, "name": metadata["name"], "uid": metadata["uid"]}
        body = {
            "metadata": {"name": metadata["name"], "ownerReferences": [owner | {"controller": True}]},
            "spec": {**group["spec"]["leaders"], "replicas": replicas},
        }
        await session.create(STATEFUL_SETS.at(namespace), body)
        return
    if leaders["spec"]["replicas"] != replicas:
        await session.patch(place, {"spec": {"replicas": replicas}})
