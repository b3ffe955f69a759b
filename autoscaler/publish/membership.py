"""From an action on a pod's membership to the change of its annotations: pure.

What an operator has written under a key that a drain needs is saved on the pod and restored; a key that another
manager *applies* is left alone, because it would write it again. Every change is one write: no state lies between.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from autoscaler.domain.membership import (
    ACTIVE_PORTS,
    ACTIVE_PORTS_LEGACY,
    DELETION_COST,
    DRAIN_DEADLINE,
    DRAIN_EMPTY,
    DRAIN_STARTED,
    DRAIN_UNROUTED,
    NOTES,
    SAVED,
    TAKEN,
    Drain,
)
from autoscaler.domain.units import Instant

Json: TypeAlias = Mapping[str, Any]

COST_DRAINING = "-1000"
COST_EMPTY = "-2000"  # below those that still drain: exactly the empty ones go


class Form(StrEnum):
    """How a change is written."""

    APPLY = "apply"  # server-side apply of exactly these annotations: keys of ours that are left out disappear
    MERGE = "merge"  # for keys that others own too: None removes one


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a pod's annotations; ``force``: keys are taken over whose values were saved just so."""

    form: Form
    annotations: Mapping[str, str | None]
    force: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod's annotations are not touched."""

    why: str


def withdrawal(metadata: Json, drain: Drain, manager: str) -> Edit | Refusal | None:
    """Return the change that withdraws a pod and notes how far its drain has come; None: all is written already.

    Args:
        metadata: of the pod as it is, with managedFields.
        drain: the notes to be.
        manager: our field manager.
    """
    present: Mapping[str, str] = metadata.get("annotations") or {}
    ours = DRAIN_STARTED in present
    saved = _saved(present) if ours else {key: present[key] for key in TAKEN if key in present}
    if not ours:
        for key in saved:
            for other in _appliers(metadata, key):
                if other != manager:
                    return Refusal(f"{other} applies {key}={saved[key]!r} to this pod; let one of us own it")
    wanted = {
        ACTIVE_PORTS: "",
        ACTIVE_PORTS_LEGACY: "",
        DELETION_COST: COST_DRAINING if drain.empty is None else COST_EMPTY,
        DRAIN_STARTED: text(drain.started),
        DRAIN_DEADLINE: text(drain.deadline),
    }
    wanted |= {DRAIN_UNROUTED: text(drain.unrouted)} if drain.unrouted is not None else {}
    wanted |= {DRAIN_EMPTY: text(drain.empty)} if drain.empty is not None else {}
    wanted |= {SAVED: json.dumps(saved, sort_keys=True)} if saved else {}
    if all(present.get(key) == wanted.get(key) for key in (*TAKEN, *NOTES)):
        return None
    return Edit(Form.APPLY, wanted, force=bool(saved))


def readmission(metadata: Json, manager: str) -> Edit | None:
    """Return the change that makes a pod what it was before we withdrew it; None: nothing of ours is on it."""
    present: Mapping[str, str] = metadata.get("annotations") or {}
    if SAVED in present:
        saved = _saved(present)
        removed: dict[str, str | None] = {key: None for key in (*TAKEN, *NOTES) if key in present}
        return Edit(Form.MERGE, {**removed, **saved})
    owned = any(manager in _appliers(metadata, key) for key in (*TAKEN, *NOTES))
    return Edit(Form.APPLY, {}) if owned or DRAIN_STARTED in present else None


def announcement(metadata: Json) -> Edit | None:
    """Return the change that opens the gate which a pod got from its template; None: it is open, or a drain is on."""
    present: Mapping[str, str] = metadata.get("annotations") or {}
    shut = [key for key in (ACTIVE_PORTS, ACTIVE_PORTS_LEGACY) if key in present]
    if not shut or DRAIN_STARTED in present:
        return None
    return Edit(Form.MERGE, dict.fromkeys(shut))


def text(moment: Instant) -> str:
    """Write a time as annotations have it: RFC 3339, UTC, microseconds, so that it reads back as it was."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


def _saved(present: Mapping[str, str]) -> dict[str, str]:
    """Return what was saved; a value that somebody garbled cannot be restored."""
    try:
        saved = json.loads(present.get(SAVED, "{}"))
    except ValueError:
        return {}
    return {key: str(value) for key, value in saved.items() if key in TAKEN} if isinstance(saved, dict) else {}


def _appliers(metadata: Json, key: str) -> Iterator[str]:
    """Yield the managers that own an annotation by server-side apply."""
    for entry in metadata.get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get("f:metadata", {}).get("f:annotations", {})
        if entry.get("operation") == "Apply" and f"f:{key}" in fields:
            yield entry.get("manager", "")
