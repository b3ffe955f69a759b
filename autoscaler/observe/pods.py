"""From a pod as the API server tells it to a ``Pod``: its state, its times, and who owns it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from autoscaler.domain.fleet import Pod, PodState
from autoscaler.domain.membership import (
    DRAIN_DEADLINE,
    DRAIN_EMPTY,
    DRAIN_STARTED,
    DRAIN_UNROUTED,
    WARM_UP,
    withdrawn,
)
from autoscaler.domain.units import MINUTE, Instant, Seconds

Json: TypeAlias = Mapping[str, Any]

GROUP_MEMBER = "leaderworkerset.sigs.k8s.io/worker-index"  # label; "0" is the leader
GROUP = ("leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/group-index")  # labels of all pods of a group

# Waiting containers that will not get on without somebody's help (back-off included: each try failed so far).
STUCK = frozenset({"CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"})

_ORDINAL = re.compile(r"-(\d+)$")
_WARM_UP = re.compile(r"(\d+(?:\.\d+)?)(s|m)")


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller of an object, as its ownerReferences name it."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod before it is known to which variant it belongs (``pod.variant`` is empty)."""

    pod: Pod
    owner: Owner | None
    labels: Mapping[str, str]

    @property
    def counts(self) -> bool:
        """Tell whether the pod is a replica: of a group, only the leader is."""
        return self.labels.get(GROUP_MEMBER, "0") == "0"

    @property
    def group(self) -> tuple[str, ...] | None:
        """Return what all pods of its group have in common; None: it is in none."""
        return tuple(self.labels[label] for label in GROUP) if set(GROUP) <= self.labels.keys() else None


def seen(found: Json) -> SeenPod:
    """Read a pod object."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    annotations = metadata.get("annotations") or {}
    scheduled, ready = _condition(status, "PodScheduled"), _condition(status, "Ready")
    created, node = instant(metadata["creationTimestamp"]), spec.get("nodeName", "")
    draining_since = _noted(annotations, DRAIN_STARTED)
    state, owner = _state(found, ours=draining_since is not None), owner_of(metadata)
    pod = Pod(
        name=metadata["name"],
        variant="",
        state=state,
        created=created,
        uid=metadata["uid"],
        # a pod that was created with its node in the spec never had to be scheduled
        scheduled=_since(scheduled, created) if _holds(scheduled) else created if node else None,
        ready_since=_since(ready, created) if _holds(ready) else None,
        draining_since=draining_since,
        drain_deadline=_noted(annotations, DRAIN_DEADLINE),
        restarts=sum(container.get("restartCount", 0) for container in status.get("containerStatuses") or ()),
        ip=status.get("podIP", ""),
        node=node,
        blocked_by=_blocked_by(state, scheduled, status),
        unrouted_since=_noted(annotations, DRAIN_UNROUTED),
        empty_since=_noted(annotations, DRAIN_EMPTY),
        ordinal=_ordinal(metadata["name"], owner),
        warm_up=_warm_up(annotations),
    )
    return SeenPod(pod, owner, metadata.get("labels") or {})


def owner_of(metadata: Json) -> Owner | None:
    """Return the owner that controls an object, if any."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return Owner(owner["apiVersion"], owner["kind"], owner["name"], owner["uid"])
    return None


def instant(text: str) -> Instant:
    """Read a time as Kubernetes writes it.

    Raises:
        ValueError: the text is not RFC 3339.
    """
    return Instant(datetime.fromisoformat(text).timestamp())


def _state(found: Json, *, ours: bool) -> PodState:
    """Return where a pod stands; ``ours``: it carries this controller's note of a drain."""
    metadata, status = found["metadata"], found.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return PodState.TERMINATING
    if status.get("phase") in {"Failed", "Succeeded"} or any(_stuck(status)):
        return PodState.FAILED
    if not (found.get("spec") or {}).get("nodeName"):
        return PodState.PENDING
    annotations = metadata.get("annotations") or {}
    ready, dark = _holds(_condition(status, "Ready")), withdrawn(annotations)
    if dark and not ours and _warm_up(annotations) is not None:
        return PodState.STARTING  # behind the gate of its template until it is announced
    # A pod that somebody else withdrew does not serve either; without draining_since, it is not ours to readmit.
    if dark and (ready or ours):
        return PodState.DRAINING
    return PodState.READY if ready else PodState.STARTING


def _blocked_by(state: PodState, scheduled: Json | None, status: Json) -> str:
    match state:
        case PodState.PENDING if scheduled is not None:
            return str(scheduled.get("message", ""))
        case PodState.FAILED:
            return next(_stuck(status), "") or ": ".join(
                str(status[key]) for key in ("reason", "message") if status.get(key)
            )
        case _:
            return ""


def _stuck(status: Json) -> Iterator[str]:
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in STUCK:
            yield f"{container['name']}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")


def _condition(status: Json, kind: str) -> Json | None:
    return next((condition for condition in status.get("conditions") or () if condition["type"] == kind), None)


def _holds(condition: Json | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def _since(condition: Json | None, otherwise: Instant) -> Instant:
    """Return since when a condition is as it is; writers may leave the time out."""
    time = condition.get("lastTransitionTime") if condition else None
    return instant(time) if time else otherwise


def _noted(annotations: Mapping[str, str], key: str) -> Instant | None:
    """Return the time in an annotation; one that somebody garbled counts as not there."""
    try:
        return instant(annotations[key])
    except (KeyError, ValueError):
        return None


def _ordinal(name: str, owner: Owner | None) -> int | None:
    """Return the place of a pod in its StatefulSet (which also makes the leaders of a LeaderWorkerSet)."""
    found = _ORDINAL.search(name) if owner is not None and owner.kind == "StatefulSet" else None
    return int(found.group(1)) if found else None


def _warm_up(annotations: Mapping[str, str]) -> Seconds | None:
    """Return how long after Ready a gated pod is to be announced; what cannot be read is no gate of ours."""
    found = _WARM_UP.fullmatch(annotations.get(WARM_UP, "").strip())
    return Seconds(float(found.group(1)) * (MINUTE if found.group(2) == "m" else 1.0)) if found else None
