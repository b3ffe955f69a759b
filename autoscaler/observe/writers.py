"""Who else sizes a scale target: HorizontalPodAutoscalers, KEDA, and whoever wrote ``spec.replicas`` last.

Two writers of one count undo each other. An autoscaler object on a target holds it for as long as it is there; a single
write by hand or by GitOps holds it for a while, so that nobody is fought and everybody can see why nothing happens.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import ScaleTarget
from autoscaler.domain.units import Instant, Seconds, after
from autoscaler.kube import FIELD_MANAGER, Json, KubeReadError, KubeSession
from autoscaler.observe.pods import instant

LOOK_EVERY = Seconds(30.0)
STEP_BACK = Seconds(300.0)
"""How long a count that somebody else has written is left alone."""

AT_ONCE = 8
PAGE = 500

AUTOSCALERS = (
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("keda.sh/v1alpha1", "ScaledObject"),
)


@dataclass(frozen=True, slots=True)
class Write:
    """The write of ``spec.replicas`` that holds now, and was not ours."""

    manager: str
    at: Instant | None  # None: the API server does not date writes of /scale


class Unknown:
    """A target that could not be read."""


def foreign_write(metadata: Mapping[str, Any]) -> Write | None:
    """Return who else wrote the count last; None: we did, or nobody since the target was created.

    Whoever writes a field by an update takes it over, so an owner that is not us has written after us.
    """
    owners = [
        entry
        for entry in metadata.get("managedFields") or ()
        if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]
    if any(entry.get("manager") == FIELD_MANAGER for entry in owners):
        return None
    created = instant(metadata["creationTimestamp"])
    for entry in owners:
        at = instant(entry["time"]) if entry.get("time") else None
        if at is None or at > created:
            return Write(str(entry.get("manager", "somebody")), at)
    return None


def scaled_by(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return kind and name of what an HPA or a ScaledObject scales (for the latter a Deployment by default)."""
    reference = (found.get("spec") or {}).get("scaleTargetRef") or {}
    return str(reference.get("kind") or "Deployment"), str(reference.get("name", ""))


class ForeignWriters:
    """Looks every LOOK_EVERY; what could not be looked at is told in ``problems``, and holds nothing."""

    def __init__(self, policies: Sequence[SLOPolicy], session: KubeSession) -> None:
        """Take whose targets to look at; the session stays the caller's to close."""
        self.problems: tuple[str, ...] = ()
        self._session = session
        self._looked: Instant | None = None
        self.follow(policies)
        self._autoscalers: dict[ScaleTarget, str] = {}
        self._writes: dict[ScaleTarget, tuple[Write | None, Instant]] = {}  # and when it was made, or first seen
        self._free = asyncio.Semaphore(AT_ONCE)

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Look at the targets of these policies, from the next tick on."""
        self._policies = tuple(policies)
        self._looked = None

    async def look(self, now: Instant) -> Mapping[str, Mapping[str, str]]:
        """Return who else sizes each variant, in words, by policy key and variant name."""
        if self._looked is None or not 0.0 <= now - self._looked < LOOK_EVERY:
            self._looked = now
            await self._look(now)
        return MappingProxyType(
            {
                policy.key: MappingProxyType(
                    {v.name: who for v in policy.variants if (who := self._who(v.target, now)) is not None}
                )
                for policy in self._policies
            }
        )

    def _who(self, target: ScaleTarget, now: Instant) -> str | None:
        if target in self._autoscalers:
            return f"{self._autoscalers[target]} sizes {target} too; delete it, or use mode: Recommend"
        write, at = self._writes.get(target, (None, Instant(0.0)))
        if write is not None and now < after(at, STEP_BACK):
            return f"{write.manager} has set the replicas of {target}; left alone for {STEP_BACK:g} s after it"
        return None

    async def _look(self, now: Instant) -> None:
        targets = sorted({variant.target for policy in self._policies for variant in policy.variants})
        problems: list[str] = []
        found: dict[ScaleTarget, str] = {}
        for namespace in sorted({target.namespace for target in targets}):
            for api_version, kind in AUTOSCALERS:
                objects = await self._listed(namespace, api_version, kind, problems)
                found |= dict(_claims(objects, kind, [t for t in targets if t.namespace == namespace]))
        written = await asyncio.gather(*(self._written(target, problems) for target in targets))
        self._autoscalers = found
        self._writes = {
            target: self._dated(target, write, now)
            for target, write in zip(targets, written, strict=True)
            if not isinstance(write, Unknown)
        }
        self.problems = tuple(sorted(set(problems)))

    async def _listed(self, namespace: str, api_version: str, kind: str, problems: list[str]) -> list[Json]:
        """Return all objects of a kind; none where the API server does not serve it."""
        objects: list[Json] = []
        try:
            place = (await self._session.resource(api_version, kind)).at(namespace)
            resume = ""
            while True:
                page = await self._session.page(place, limit=PAGE, resume=resume)
                objects += page.get("items", [])
                resume = page.get("metadata", {}).get("continue", "")
                if not resume:
                    return objects
        except KubeReadError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                problems.append(str(error))
            return objects

    def _dated(self, target: ScaleTarget, write: Write | None, now: Instant) -> tuple[Write | None, Instant]:
        """Date a write: by itself, else by the look that found it new; what the first look finds is old."""
        if write is None or write.at is not None:
            return write, (write.at if write is not None else None) or Instant(0.0)
        before = self._writes.get(target)
        if before is None:
            return write, Instant(0.0)
        return before if before[0] == write else (write, now)

    async def _written(self, target: ScaleTarget, problems: list[str]) -> Write | Unknown | None:
        try:
            async with self._free:
                resource = await self._session.resource(target.api_version, target.kind)
                found = await self._session.get(resource.at(target.namespace, target.name), metadata_only=True)
        except KubeReadError as error:
            problems.append(str(error))
            return Unknown()
        return foreign_write(found["metadata"])


def _claims(objects: Sequence[Json], kind: str, targets: Sequence[ScaleTarget]) -> Iterator[tuple[ScaleTarget, str]]:
    by_name = {(target.kind, target.name): target for target in targets}
    for found in objects:
        target = by_name.get(scaled_by(found))
        if target is not None:
            yield target, f"{kind} {found['metadata']['name']}"
