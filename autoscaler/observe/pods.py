"""From a pod as the API server tells it to a ``Pod``: its state, its times, and who owns it.

Withdrawn means: the endpoint picker sends nothing there, by rule R4 of its contract with pods. The annotation
``llm-d.ai/active-ports`` (where absent, its legacy key) lists the ports that serve; a list without any port withdraws.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from autoscaler.domain.fleet import Pod, PodState
from autoscaler.domain.units import Instant

Json: TypeAlias = Mapping[str, Any]

ACTIVE_PORTS = "llm-d.ai/active-ports"
ACTIVE_PORTS_LEGACY = "inference.networking.k8s.io/active-ports"
DRAIN_STARTED = "disagg-autoscaler.io/drain-started"  # RFC 3339, like all times in annotations
DRAIN_DEADLINE = "disagg-autoscaler.io/drain-deadline"

GROUP_MEMBER = "leaderworkerset.sigs.k8s.io/worker-index"  # label; "0" is the leader

# Waiting containers that will not get on without somebody's help (back-off included: each try failed so far).
STUCK = frozenset({"CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"})

_LEADING_PORT = re.compile(r"\s*\d")


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


def seen(found: Json) -> SeenPod:
    """Read a pod object."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    annotations = metadata.get("annotations") or {}
    scheduled, ready = _condition(status, "PodScheduled"), _condition(status, "Ready")
    created, node = instant(metadata["creationTimestamp"]), spec.get("nodeName", "")
    draining_since = _noted(annotations, DRAIN_STARTED)
    state = _state(found, ours=draining_since is not None)
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
    )
    return SeenPod(pod, owner_of(metadata), metadata.get("labels") or {})


def owner_of(metadata: Json) -> Owner | None:
    """Return the owner that controls an object, if any."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return Owner(owner["apiVersion"], owner["kind"], owner["name"], owner["uid"])
    return None


def withdrawn(annotations: Mapping[str, str]) -> bool:
    """Tell whether annotations keep the picker from every port of a pod."""
    ports = annotations.get(ACTIVE_PORTS, annotations.get(ACTIVE_PORTS_LEGACY))
    return ports is not None and not any(_LEADING_PORT.match(port) for port in ports.split(","))


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
    ready, dark = _holds(_condition(status, "Ready")), withdrawn(metadata.get("annotations") or {})
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
