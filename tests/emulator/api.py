"""An API server in memory, as far as drains need one: pods, scales, optimistic locks, server-side apply, faults.

``ApiSession`` has the verbs of ``KubeSession`` that the actuators use, with a checkpoint before and after each call: a
controller can be killed at any of them, so also between a write and its answer.
"""

import asyncio
import copy
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from autoscaler.kube import FIELD_MANAGER, Json, KubeReadError, KubeWriteError, PatchForm, Place, Resource

Owner = tuple[str, str]  # manager, operation


@dataclass
class Api:
    """The objects. Whoever changes one calls ``touch``."""

    pods: dict[str, Json] = field(default_factory=dict)
    owners: dict[str, dict[str, set[Owner]]] = field(default_factory=dict)  # of annotations, by pod and key
    scales: dict[str, Json] = field(default_factory=dict)
    watchers: list[Callable[[str, Json | None], None]] = field(default_factory=list)
    down: bool = False
    _versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def touch(self, name: str) -> None:
        """Note that a pod has changed, and tell everybody."""
        pod = self.pods[name]
        pod["metadata"]["resourceVersion"] = str(next(self._versions))
        for tell in self.watchers:
            tell(name, copy.deepcopy(pod))

    def drop(self, name: str) -> None:
        """Remove a pod."""
        self.pods.pop(name, None)
        self.owners.pop(name, None)
        for tell in self.watchers:
            tell(name, None)

    def rescale(self, name: str, replicas: int) -> None:
        """Set a count."""
        self.scales[name] = {
            "metadata": {"name": name, "resourceVersion": str(next(self._versions))},
            "spec": {"replicas": replicas},
        }

    def annotate(self, name: str, changes: dict[str, str | None], owner: Owner) -> None:
        """Set or remove annotations as an update does: whoever writes last owns."""
        present = self.pods[name]["metadata"].setdefault("annotations", {})
        owners = self.owners.setdefault(name, {})
        for key, value in changes.items():
            if value is None:
                present.pop(key, None)
                owners.pop(key, None)
            elif present.get(key) != value:
                present[key] = value
                owners[key] = {owner}
        self.touch(name)

    def applied(self, name: str, wanted: dict[str, str], manager: str, *, force: bool) -> str:
        """Apply annotations server-side; return the name of a manager in conflict, else nothing."""
        present = self.pods[name]["metadata"].setdefault("annotations", {})
        owners, me = self.owners.setdefault(name, {}), (manager, "Apply")
        for key, value in wanted.items():
            others = owners.get(key, set()) - {me}
            if others and present.get(key) != value and not force:
                return min(others)[0]
        for key, value in wanted.items():
            same = present.get(key) == value
            present[key] = value
            owners[key] = {me} | (owners.get(key, set()) if same else set())
        for key in [key for key, who in owners.items() if me in who and key not in wanted]:
            owners[key].discard(me)
            if not owners[key]:
                del owners[key], present[key]
        self.touch(name)
        return ""

    def managed_fields(self, name: str) -> list[Json]:
        """Return who owns which annotation, as pods tell it."""
        by_owner: dict[Owner, dict[str, Any]] = {}
        for key, owners in self.owners.get(name, {}).items():
            for owner in owners:
                by_owner.setdefault(owner, {})[f"f:{key}"] = {}
        return [
            {"manager": manager, "operation": operation, "fieldsV1": {"f:metadata": {"f:annotations": fields}}}
            for (manager, operation), fields in by_owner.items()
        ]


class Faults:
    """Which calls fail, how, and after how many checkpoints the controller dies."""

    def __init__(self, chance: random.Random, share: float = 0.0) -> None:
        """Let a share of the calls fail."""
        self.chance = chance
        self.share = share
        self.failed = 0
        self.life: int | None = None  # checkpoints until death; None: immortal
        self.dead = asyncio.Event()

    async def checkpoint(self) -> None:
        """Let others run; never return if this is where the controller dies."""
        await asyncio.sleep(0)
        if self.life is not None:
            if self.life <= 0:
                self.dead.set()
                await asyncio.Event().wait()
            self.life -= 1

    def strikes(self) -> int:
        """Return the HTTP status of a fault, or 0."""
        if self.chance.random() >= self.share:
            return 0
        self.failed += 1
        return self.chance.choice((409, 410, 429, 500, 503, 504))


class ApiSession:
    """The calls of one controller."""

    def __init__(self, api: Api, faults: Faults) -> None:
        """Speak to an API server through faults."""
        self._api = api
        self._faults = faults

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Serve every kind, scalable."""
        return Resource(api_version, kind, f"{kind.lower()}s", scalable=True)

    async def get(self, place: Place, *, metadata_only: bool = False) -> Json:
        """Return an object."""
        await self._faults.checkpoint()
        self._fail(place, KubeReadError, self._faults.strikes())
        if place.subresource == "scale":
            return copy.deepcopy(self._api.scales[place.name])
        if place.name not in self._api.pods:
            self._fail(place, KubeReadError, HTTPStatus.NOT_FOUND)
        found = copy.deepcopy(self._api.pods[place.name])
        found["metadata"]["managedFields"] = self._api.managed_fields(place.name)
        await self._faults.checkpoint()
        return {"metadata": found["metadata"]} if metadata_only else found

    async def patch(self, place: Place, body: Json, form: PatchForm = PatchForm.MERGE, *, force: bool = False) -> Json:
        """Change an object; a fault strikes before the write, or between it and its answer."""
        await self._faults.checkpoint()
        status = self._faults.strikes()
        if status and not (status >= 500 and self._faults.chance.random() < 0.5):
            self._fail(place, KubeWriteError, status)
        self._written(place, body, form, force=force)
        await self._faults.checkpoint()
        self._fail(place, KubeWriteError, status)
        return {}

    def _written(self, place: Place, body: Json, form: PatchForm, *, force: bool) -> None:
        if self._api.down:
            self._fail(place, KubeWriteError, 503)
        scales = place.subresource == "scale"
        found = (self._api.scales if scales else self._api.pods).get(place.name)
        if found is None:
            self._fail(place, KubeWriteError, 422 if form is PatchForm.APPLY else 404)
            return
        version = body["metadata"].get("resourceVersion")
        if version is not None and version != found["metadata"]["resourceVersion"]:
            self._fail(place, KubeWriteError, 409)
        if scales:
            self._api.rescale(place.name, body["spec"]["replicas"])
        elif form is PatchForm.APPLY:
            annotations = body["metadata"]["annotations"]
            if self._api.applied(place.name, annotations, FIELD_MANAGER, force=force):
                self._fail(place, KubeWriteError, 409)
        else:
            self._api.annotate(place.name, body["metadata"]["annotations"], (FIELD_MANAGER, "Update"))

    def _fail(self, place: Place, kind: type[KubeReadError | KubeWriteError], status: int) -> None:
        if self._api.down:
            status = 503
        if status:
            message = f"{place}: fault {status}"
            raise kind(message, status=status)
