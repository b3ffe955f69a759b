"""From a scale target as the API server tells it to what the fleet needs: its count, its selector, its roll-out.

Deployments and StatefulSets say all of it in the object. Any other kind says its count and selector only under
``/scale``: which fields hold them is the CRD's own affair.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from autoscaler.observe import selectors
from autoscaler.observe.selectors import Selector

Json: TypeAlias = Mapping[str, Any]

PAUSED = "disagg-autoscaler.io/paused"
PAUSED_SCALE_DOWN = "disagg-autoscaler.io/paused-scale-down"

BUILT_IN = frozenset({("apps/v1", "Deployment"), ("apps/v1", "StatefulSet")})


@dataclass(frozen=True, slots=True)
class Size:
    """How many replicas a target asks for, and which pods it means."""

    requested: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class SeenTarget:
    """A scale target. ``size`` is None where only ``/scale`` can tell it."""

    name: str
    uid: str
    version: str  # resourceVersion: the /scale of the same version belongs to it
    size: Size | None
    rolling_out: bool
    paused: bool
    paused_scale_down: bool


def seen(found: Json, *, built_in: bool) -> SeenTarget:
    """Read a scale target; ``built_in``: of a kind in BUILT_IN (objects in lists do not say their kind)."""
    metadata = found["metadata"]
    annotations = metadata.get("annotations") or {}
    return SeenTarget(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        size=_size(found["spec"]) if built_in else None,
        rolling_out=rolling_out(found, built_in=built_in),
        paused=_set(annotations, PAUSED),
        paused_scale_down=_set(annotations, PAUSED_SCALE_DOWN),
    )


def of_scale(scale: Json) -> Size:
    """Read a Scale. The count is left out where it is 0; a selector that cannot be read selects nothing."""
    try:
        selector = selectors.of_text((scale.get("status") or {}).get("selector") or "")
    except ValueError:
        selector = Selector()
    return Size(int((scale.get("spec") or {}).get("replicas", 0)), selector)


def rolling_out(found: Json, *, built_in: bool) -> bool:
    """Tell whether pods of two revisions exist, or the controller has not yet looked at the newest spec.

    Other kinds can be told to roll out only as far as they report the same fields.
    """
    status, generation = found.get("status") or {}, found["metadata"].get("generation", 0)
    # built-in kinds leave zeros out: no updatedReplicas beside some replicas means that none is up to date
    seen_generation = status.get("observedGeneration", 0 if built_in else generation)
    replicas = status.get("replicas", 0)
    updated = status.get("updatedReplicas", 0 if built_in else replicas)
    return bool(seen_generation < generation or updated < replicas)


def _size(spec: Json) -> Size:
    return Size(int(spec.get("replicas", 1)), selectors.of_object(spec.get("selector") or {}))


def _set(annotations: Mapping[str, str], key: str) -> bool:
    """Tell whether an annotation asks for a pause: by any value that is not a plain no."""
    return key in annotations and annotations[key].strip().lower() not in {"false", "no", "0"}
