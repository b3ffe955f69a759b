"""Kubernetes Events of SLOPolicy resources: one for what begins or ends, none for what merely goes on.

The same event again is counted on the object that is there (``series``), under a name made from its content: so a
restart repeats nothing either. A policy that flaps is cut off after BURST new events in WINDOW.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol

from autoscaler.domain.record import Result
from autoscaler.domain.units import MINUTE, Instant, Seconds
from autoscaler.kube import Json, KubeError, KubeSession, Resource
from autoscaler.policy.schema import API_VERSION, KIND
from autoscaler.publish.status_schema import ConditionReason, ConditionStatus, ConditionType, Decision, PolicyStatus

EVENTS = Resource("events.k8s.io/v1", "Event", "events")
CONTROLLER = "disagg-autoscaler.io/controller"

WINDOW = Seconds(10 * MINUTE)
BURST = 20
REMEMBERED = 1024
LONGEST_NOTE = 1024  # the API server's own limit

OF_READY = frozenset({ConditionReason.POLICY_INVALID, ConditionReason.STEP_FAILED})
"""What Ready alone tells; its other reasons are told by the condition that they come from."""

DONE_AS = {Result.DONE.value: "Scaled", Result.DRY_RUN.value: "Recommended"}
QUIET = frozenset({Result.UNCHANGED.value})


class Kind(StrEnum):
    """How much an event wants to be looked at."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Notice:
    """What an event says, before it is one."""

    kind: Kind
    reason: str
    action: str
    note: str


class Regarded(Protocol):
    """The object that an event is about."""

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    @property
    def namespace(self) -> str:
        """Return its namespace."""
        ...

    @property
    def uid(self) -> str:
        """Return its uid."""
        ...


def notices(before: PolicyStatus, after: PolicyStatus) -> Iterator[Notice]:
    """Yield what has begun or ended between two states of a policy, and what has been decided anew."""
    known = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        former = known.get(condition.type)
        was, now = former and (former.status, former.reason), (condition.status, condition.reason)
        if was == now or _told_elsewhere(condition.type, condition.reason, former.reason if former else None):
            continue
        if condition.status is ConditionStatus.FALSE:
            yield Notice(Kind.WARNING, condition.reason.value, condition.type.value, condition.message)
        elif condition.status is ConditionStatus.TRUE and former and former.status is ConditionStatus.FALSE:
            note = f"{condition.type.value} again: {condition.reason.value}"
            yield Notice(Kind.NORMAL, condition.type.value, condition.type.value, note)
    fresh = [decision for decision in after.decisions if decision not in before.decisions]
    yield from (_of_decision(decision) for decision in reversed(fresh) if decision.result not in QUIET)


def _told_elsewhere(kind: ConditionType, now: ConditionReason, was: ConditionReason | None) -> bool:
    return kind is ConditionType.READY and not OF_READY & {now, was}


def _of_decision(decision: Decision) -> Notice:
    note = f"{decision.variant}: {decision.observed} -> {decision.wanted}: {decision.message}"
    reason = DONE_AS.get(decision.result)
    if reason is None:
        return Notice(Kind.WARNING, "ScaleNotDone", "Scale", f"{decision.result}: {note}")
    return Notice(Kind.NORMAL, reason, "Scale", note)


class EventWriter:
    """Writes notices as Events, each content once and then counted."""

    def __init__(self, session: KubeSession, instance: str) -> None:
        """Take the session, and the name of this process (its pod)."""
        self._session = session
        self._instance = instance
        self._counts: OrderedDict[str, int] = OrderedDict()  # by name of the Event
        self._begun: dict[str, deque[Instant]] = {}  # new Events of a policy, by uid

    def forget(self, uids: frozenset[str]) -> None:
        """Forget policies that are gone; ``uids``: those that are there."""
        self._begun = {uid: times for uid, times in self._begun.items() if uid in uids}

    async def write(self, regarded: Regarded, notice: Notice, at: Instant) -> None:
        """Write one notice.

        Raises:
            KubeWriteError: the API server did not take it.
        """
        name = _name(regarded, notice)
        if name in self._counts:
            await self._again(regarded, name, at)
        elif self._may_begin(regarded.uid, at):
            await self._begin(regarded, name, notice, at)

    def _may_begin(self, uid: str, at: Instant) -> bool:
        times = self._begun.setdefault(uid, deque(maxlen=BURST))
        if len(times) == BURST and at - times[0] < WINDOW:
            return False
        times.append(at)
        return True

    async def _begin(self, regarded: Regarded, name: str, notice: Notice, at: Instant) -> None:
        try:
            await self._session.create(EVENTS.at(regarded.namespace), self._event(regarded, name, notice, at))
            self._remember(name, 1)
        except KubeError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            there = await self._session.get(EVENTS.at(regarded.namespace, name))  # from before a restart
            self._remember(name, int((there.get("series") or {}).get("count", 1)))
            await self._again(regarded, name, at)

    async def _again(self, regarded: Regarded, name: str, at: Instant) -> None:
        count = self._counts[name] + 1
        series = {"series": {"count": count, "lastObservedTime": _moment(at)}}
        try:
            await self._session.patch(EVENTS.at(regarded.namespace, name), series)
        except KubeError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            del self._counts[name]  # it has lived its hour; the next one begins anew
            return
        self._remember(name, count)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def _event(self, regarded: Regarded, name: str, notice: Notice, at: Instant) -> Json:
        identity = {"name": regarded.name, "namespace": regarded.namespace, "uid": regarded.uid}
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": regarded.namespace},
            "eventTime": _moment(at),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "regarding": {"apiVersion": API_VERSION, "kind": KIND, **identity},
            "type": notice.kind.value,
            "reason": notice.reason,
            "action": notice.action,
            "note": _short(notice.note),
        }


def _name(regarded: Regarded, notice: Notice) -> str:
    content = f"{regarded.uid} {notice.kind} {notice.reason} {notice.action} {notice.note}"
    return f"{regarded.name}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _short(note: str) -> str:
    """Cut a note to the bytes that the API server takes."""
    cut = note.encode()[:LONGEST_NOTE].decode(errors="ignore")
    return cut if cut == note else f"{cut[:-1]}…".encode()[:LONGEST_NOTE].decode(errors="ignore")


def _moment(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
