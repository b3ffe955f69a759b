"""Takes the look at a cluster that checks are made on, and that ``policy init`` writes policies from; only reads."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from autoscaler.domain.policy import Mode, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import ScaleTarget
from autoscaler.domain.units import Instant
from autoscaler.kube import KubeReadError, KubeSession, Resource
from autoscaler.observe.doctor.findings import ClusterLook, Json

KINDS: Mapping[str, str] = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "Pod": "v1",
    "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "ScaledObject": "keda.sh/v1alpha1",
    "VariantAutoscaling": "llmd.ai/v1alpha1",
    "InferencePool": "inference.networking.k8s.io/v1",
    "LLMInferenceService": "serving.kserve.io/v1alpha1",
    "InferenceObjective": "llm-d.ai/v1alpha2",
}
"""What is listed in a namespace; a kind that the API server does not serve counts as without objects."""

FOR_DOCTOR = ("Pod", "HorizontalPodAutoscaler", "ScaledObject", "VariantAutoscaling", "InferencePool")
PAGE = 500
REVIEWS = Resource("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource in a namespace."""

    verb: str
    group: str
    resource: str
    subresource: str = ""

    def __str__(self) -> str:
        path = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f'{self.verb} {path} (API group "{self.group}")'


async def at_cluster(session: KubeSession, policies: Sequence[SLOPolicy], now: Instant) -> ClusterLook:
    """Return what stands in the namespaces of some policies.

    Raises:
        KubeReadError: the API server does not answer at all.
    """
    namespaces = sorted({policy.namespace for policy in policies})
    objects, unread = await listed(session, namespaces, FOR_DOCTOR)
    found = [variant.target for policy in policies for variant in policy.variants]
    targets: dict[str, Json | str] = {}
    scalable: dict[str, bool] = {}
    for target in dict.fromkeys(found):
        targets[str(target)], scalable[str(target)] = await _target(session, target)
    denied = {namespace: await _denied(session, namespace, policies) for namespace in namespaces}
    return ClusterLook(now, targets, scalable, objects, denied, unread)


async def listed(
    session: KubeSession, namespaces: Iterable[str], kinds: Iterable[str]
) -> tuple[dict[tuple[str, str], tuple[Json, ...]], dict[tuple[str, str], str]]:
    """Return the objects of some kinds by namespace and kind, and why some could not be listed.

    Raises:
        KubeReadError: the API server does not answer at all.
    """
    asked = [(namespace, kind) for namespace in namespaces for kind in kinds]
    answers = await asyncio.gather(*(_all_of(session, namespace, kind) for namespace, kind in asked))
    objects = {key: answer for key, answer in zip(asked, answers, strict=True) if isinstance(answer, tuple)}
    unread = {key: answer for key, answer in zip(asked, answers, strict=True) if isinstance(answer, str)}
    return objects, unread


async def _all_of(session: KubeSession, namespace: str, kind: str) -> tuple[Json, ...] | str:
    found: list[Json] = []
    resume = ""
    try:
        resource = await session.resource(KINDS[kind], kind)
        while True:
            page = await session.page(resource.at(namespace), limit=PAGE, resume=resume)
            found += page["items"]
            resume = page["metadata"].get("continue", "")
            if not resume:
                return tuple(found)
    except KubeReadError as error:
        match error.status:
            case HTTPStatus.NOT_FOUND:
                return ()
            case HTTPStatus.FORBIDDEN:
                return str(error)
            case _:
                raise


async def _target(session: KubeSession, target: ScaleTarget) -> tuple[Json | str, bool]:
    """Return a scale target, or why there is none; and whether its kind can be scaled."""
    try:
        resource = await session.resource(target.api_version, target.kind)
        return await session.get(resource.at(target.namespace, target.name)), resource.scalable
    except KubeReadError as error:
        if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}:
            return str(error), False
        raise


async def _denied(session: KubeSession, namespace: str, policies: Sequence[SLOPolicy]) -> tuple[str, ...]:
    """Return the rights that the policies of a namespace need and this login does not have."""
    needed: list[Right] = []
    for policy in policies:
        if policy.namespace == namespace:
            needed += [right for right in await needs(session, policy) if right not in needed]
    answers = await asyncio.gather(*(_allowed(session, namespace, right) for right in needed))
    return tuple(str(right) for right, allowed in zip(needed, answers, strict=True) if not allowed)


async def needs(session: KubeSession, policy: SLOPolicy) -> list[Right]:
    """Return what a policy's mode needs to be allowed; targets of kinds that are not served are left out."""
    rights = [Right(verb, "", "pods") for verb in ("get", "list", "watch")]
    acts, follows = policy.mode is Mode.AUTO, policy.scheduler.kind is SchedulerKind.INFERENCE_POOL
    if acts and policy.scheduler.kind is not SchedulerKind.NONE:
        rights.append(Right("patch", "", "pods"))
    if follows:
        rights += [Right(verb, "inference.networking.k8s.io", "inferencepools") for verb in ("get", "list", "watch")]
    for api_version, kind in dict.fromkeys((v.target.api_version, v.target.kind) for v in policy.variants):
        try:
            resource = await session.resource(api_version, kind)
        except KubeReadError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                continue
            raise
        rights += [Right(verb, resource.group, resource.plural) for verb in ("get", "list", "watch")]
        rights += [
            Right(verb, resource.group, resource.plural, "scale") for verb in ("get", *(("patch",) if acts else ()))
        ]
    return rights


async def _allowed(session: KubeSession, namespace: str, right: Right) -> bool:
    attributes = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": right.resource}
    if right.subresource:
        attributes["subresource"] = right.subresource
    body = {
        "apiVersion": REVIEWS.api_version,
        "kind": REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    answer = await session.create(REVIEWS.at(""), body)
    return bool((answer.get("status") or {}).get("allowed"))
