"""Writes status and Events of SLOPolicy resources: what changed at once, what merely drifts now and then."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Protocol

from autoscaler.domain.policy import SLOPolicy, Written
from autoscaler.domain.record import TickRecord
from autoscaler.domain.units import MINUTE, Instant, Seconds
from autoscaler.errors import ActuationError
from autoscaler.kube import KubeError, KubeSession, Resource
from autoscaler.policy.schema import API_VERSION, KIND
from autoscaler.publish import k8s_events, status
from autoscaler.publish.k8s_events import EventWriter, Regarded
from autoscaler.publish.status_schema import LONGEST_SPEC, PolicyStatus

POLICIES = Resource(API_VERSION, KIND, "slopolicies")
AT_ONCE = 8
REFRESH = Seconds(MINUTE)
NOT_KEPT = f"that version exceeds {LONGEST_SPEC:,} characters of JSON: the status cannot hold it, a restart would hold"


class Described(Regarded, Protocol):
    """An SLOPolicy resource, as far as its status is concerned."""

    @property
    def generation(self) -> int:
        """Return the generation of its spec."""
        ...

    @property
    def status(self) -> Mapping[str, Any]:
        """Return the status that it carries."""
        ...


@dataclass(frozen=True, slots=True)
class _Said:
    """What was last said of a resource, and when."""

    uid: str
    status: PolicyStatus
    at: Instant


class StatusWriter:
    """A ``Publisher`` for the resources that ``resources`` returns; writes only while ``may_write`` says so."""

    def __init__(
        self,
        session: KubeSession,
        resources: Callable[[], Mapping[str, Described]],
        events: EventWriter,
        *,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take where to write, what there is, and whether this process is the one to write (the leader)."""
        self._session = session
        self._resources = resources
        self._events = events
        self._may_write = may_write
        self._policies: Mapping[str, SLOPolicy] = MappingProxyType({})
        self._refused: Mapping[str, Sequence[str]] = MappingProxyType({})
        self._written: Mapping[str, Written] = MappingProxyType({})
        self._said: dict[str, _Said] = {}
        self._free = asyncio.Semaphore(AT_ONCE)

    def follow(
        self, policies: Sequence[SLOPolicy], refused: Mapping[str, Sequence[str]], written: Mapping[str, Written]
    ) -> None:
        """Speak of these policies from now on.

        By key, ``refused``: what is wrong with the others, or with the newest version of one of these; ``written``: how
        the resources say these.
        """
        self._policies = MappingProxyType({policy.key: policy for policy in policies})
        self._refused = refused
        self._written = written

    async def publish(self, record: TickRecord) -> None:
        """Write what has changed.

        Raises:
            ActuationError: some resources could not be written; the message says which and why.
        """
        if not self._may_write():
            return
        there = self._resources()
        self._said = {key: said for key, said in self._said.items() if key in there}
        self._events.forget(frozenset(found.uid for found in there.values()))
        tries = await asyncio.gather(*(self._speak(key, found, record) for key, found in there.items()))
        if problems := [problem for problem in tries if problem]:
            raise ActuationError("; ".join(problems))

    async def _speak(self, key: str, found: Described, record: TickRecord) -> str:
        """Write one resource's status and events; return what went wrong."""
        before = self._before(key, found)
        after = self._status(key, found, record, before.status)
        if after is None or not _worth_writing(before, after, record.observation.at):
            return ""
        try:
            async with self._free:
                await self._session.patch(POLICIES.at(found.namespace, found.name, "status"), _body(after))
                self._said[key] = _Said(found.uid, after, record.observation.at)
                for notice in k8s_events.notices(before.status, after):
                    await self._events.write(found, notice, record.observation.at)
        except KubeError as error:
            return "" if error.status == HTTPStatus.NOT_FOUND else str(error)  # deleted meanwhile
        return ""

    def _before(self, key: str, found: Described) -> _Said:
        said = self._said.get(key)
        if said is not None and said.uid == found.uid:
            return said
        return _Said(found.uid, status.read(found.status), Instant(0.0))

    def _status(self, key: str, found: Described, record: TickRecord, before: PolicyStatus) -> PolicyStatus | None:
        policy, problems = self._policies.get(key), self._refused.get(key, ())
        if policy is not None:  # where there are problems, a former version that stands in
            in_office = status.in_office(self._written.get(key))
            if problems and in_office is None:
                problems = (*problems, NOT_KEPT)
            after = status.of_tick(record, policy, found.generation, before, problems)
            return after.model_copy(update={"in_office": in_office})
        return status.of_refused(problems, record.observation.at, found.generation, before) if problems else None


def _worth_writing(before: _Said, after: PolicyStatus, at: Instant) -> bool:
    if _essence(before.status) != _essence(after):
        return True
    return before.status != after and at - before.at >= REFRESH


def _essence(said: PolicyStatus) -> tuple[object, ...]:
    """Return what readers must not wait for; shares inside a limit and wordings may."""
    conditions = tuple((condition.type, condition.status, condition.reason) for condition in said.conditions)
    return (said.observed_generation, said.in_office, conditions, said.variants, said.decisions)


def _body(said: PolicyStatus) -> dict[str, Any]:
    """Return a merge patch: what is not known any more is null, else it would stay as it was."""
    summary = said.summary.model_dump(mode="json", by_alias=True)
    return {"status": {"inOffice": None} | status.written(said) | {"summary": summary}}
