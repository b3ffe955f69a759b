"""To which scale target does a pod belong? By its chain of owners; where that cannot be read, by label selector.

A pod's ownerReferences name its controller by uid: Pod -> ReplicaSet -> Deployment, Pod -> StatefulSet, leader pod ->
StatefulSet -> LeaderWorkerSet, or whatever a custom resource puts between. Each owner between is looked up once.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from autoscaler.domain.units import Seconds
from autoscaler.kube import KubeReadError, KubeSession
from autoscaler.observe.pods import Owner, SeenPod, owner_of
from autoscaler.observe.selectors import Selector

DENIED_FOR = Seconds(300.0)  # after which an owner that may not be read is tried again
AT_ONCE = 8  # look-ups


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An owner that could not be read: nothing is known of what stands above it."""


Above = Owner | Unreadable | None  # None: nothing owns it, or it is gone


@dataclass(frozen=True, slots=True)
class Claim:
    """How a scale target recognises its pods."""

    uid: str
    selector: Selector
    owns: bool  # its controller sets ownerReferences on every pod: one without any is not its own

    def selects(self, pod: SeenPod) -> bool:
        """Tell whether the pod is meant, as far as labels can tell."""
        return self.selector.selects(pod.labels) and (pod.owner is not None or not self.owns)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Which pods belong to which claim (by uid); ``disputed``: claims whose selectors select one and the same pod."""

    pods: Mapping[str, tuple[SeenPod, ...]]
    disputed: Mapping[str, str]  # uid -> name of such a pod


def attributed(pods: Iterable[SeenPod], claims: Iterable[Claim], above: Mapping[str, Above]) -> Attribution:
    """Sort the pods of one namespace by the claim they belong to; pods of nobody are left out."""
    by_uid = {claim.uid: claim for claim in claims}
    belonging: dict[str, list[SeenPod]] = {uid: [] for uid in by_uid}
    disputed: dict[str, str] = {}
    for pod in pods:
        if not pod.counts:
            continue
        root = _root(pod.owner, by_uid, above)
        if isinstance(root, Owner):
            belonging[root.uid].append(pod)
        elif isinstance(root, Unreadable):
            selecting = [uid for uid, claim in by_uid.items() if claim.selects(pod)]
            if len(selecting) == 1:
                belonging[selecting[0]].append(pod)
            else:
                disputed |= dict.fromkeys(selecting, pod.pod.name)
    return Attribution({uid: tuple(found) for uid, found in belonging.items()}, disputed)


def _root(owner: Owner | None, claims: Mapping[str, Claim], above: Mapping[str, Above]) -> Above:
    """Climb until a claim's object (returned), the end of the chain (None), or where it cannot be read.

    A pod without any owner counts as unreadable: some controllers set no ownerReferences on what they make.
    """
    step: Above = owner or Unreadable()
    while isinstance(step, Owner) and step.uid not in claims:
        step = above.get(step.uid, Unreadable())
    return step


class Owners:
    """What stands above each owner in one namespace, looked up once."""

    def __init__(self, session: KubeSession, namespace: str) -> None:
        """Know nothing yet."""
        self.above: dict[str, Above] = {}
        self._session = session
        self._namespace = namespace
        self._denied: dict[tuple[str, str], float] = {}  # kind -> when to try again
        self._free = asyncio.Semaphore(AT_ONCE)

    async def learn(self, pods: Iterable[SeenPod], roots: frozenset[str]) -> None:
        """Look up every unknown owner between these pods and the roots (uids); forget those of no pod."""
        wanted = {pod.owner for pod in pods if pod.owner is not None and pod.counts}
        met: set[str] = set()
        while wanted := {owner for owner in wanted if owner.uid not in roots and owner.uid not in met}:
            met |= {owner.uid for owner in wanted}
            unknown = [owner for owner in wanted if isinstance(self.above.get(owner.uid, Unreadable()), Unreadable)]
            self.above |= dict(await asyncio.gather(*map(self._look_up, unknown)))
            wanted = {step for owner in wanted if isinstance(step := self.above.get(owner.uid), Owner)}
        self.above = {uid: step for uid, step in self.above.items() if uid in met}

    async def _look_up(self, owner: Owner) -> tuple[str, Above]:
        kind, now = (owner.api_version, owner.kind), asyncio.get_running_loop().time()
        async with self._free:
            if now < self._denied.get(kind, now):
                return owner.uid, Unreadable()
            try:
                resource = await self._session.resource(*kind)
                found = await self._session.get(resource.at(self._namespace, owner.name), metadata_only=True)
            except KubeReadError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return owner.uid, None
                if error.status == HTTPStatus.FORBIDDEN:
                    self._denied[kind] = now + DENIED_FOR
                return owner.uid, Unreadable()
        same = found["metadata"]["uid"] == owner.uid  # else: gone, and another has taken the name
        return owner.uid, owner_of(found["metadata"]) if same else None
