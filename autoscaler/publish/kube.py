"""Membership written to the cluster: annotations of pods, by an own field manager, on the pod as it was just read."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

from autoscaler.domain.plan import Action, Announce, Readmit, Withdraw
from autoscaler.domain.record import ActionResult, Outcome, Result
from autoscaler.kube import FIELD_MANAGER, PODS, Json, KubeError, KubeSession, PatchForm, Place, retry_on_conflict
from autoscaler.publish import membership
from autoscaler.publish.membership import Edit, Form, Refusal

AT_ONCE = 8

GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})
"""Applying to a pod that has gone would create it, which the API server refuses as unprocessable."""

Change = Callable[[Json], Edit | Refusal | None]


class KubeMembership:
    """An ``Actuator`` for Withdraw, Readmit and Announce; pods live in the namespace of their policy."""

    def __init__(self, session: KubeSession) -> None:
        """Take the session, which stays the caller's to close."""
        self._session = session
        self._free = asyncio.Semaphore(AT_ONCE)

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Carry out actions, those of different pods at once; never raises."""
        return Outcome(tuple(await asyncio.gather(*(self._one(action) for action in actions))))

    async def _one(self, action: Action) -> ActionResult:
        if not isinstance(action, Withdraw | Readmit | Announce):
            return ActionResult(action, Result.REFUSED, f"{type(action).__name__}: this actuator only sets membership")
        change = _change(action)
        if change is None:
            return ActionResult(action, Result.REFUSED, "no drain to note: this decision was made for a simulation")
        place = PODS.at(action.variant.policy.rpartition("/")[0], action.pod)
        try:
            async with self._free:
                result, detail = await self._settled(place, action.uid, change)
        except KubeError as error:
            result, detail = _verdict(error), str(error)
        return ActionResult(action, result, detail)

    async def readmit(self, place: Place) -> tuple[Result, str]:
        """Make a pod what it was before it was withdrawn.

        Raises:
            KubeError: the API server did not take it.
        """
        return await self._settled(place, "", lambda metadata: membership.readmission(metadata, FIELD_MANAGER))

    async def _settled(self, place: Place, uid: str, change: Change) -> tuple[Result, str]:
        """Edit the pod as it is: its kubelet may write its status at any moment."""
        return await retry_on_conflict(lambda: self._edited(place, uid, change))

    async def _edited(self, place: Place, uid: str, change: Change) -> tuple[Result, str]:
        metadata = (await self._session.get(place, metadata_only=True))["metadata"]
        if uid and metadata["uid"] != uid:
            return Result.REFUSED, f"{place} is another pod of that name by now"
        if metadata.get("deletionTimestamp"):
            return Result.REFUSED, f"{place} is being deleted"
        edit = change(metadata)
        if edit is None:
            return Result.UNCHANGED, ""
        if isinstance(edit, Refusal):
            return Result.REFUSED, f"{place}: {edit.why}"
        await self._write(place, metadata, edit)
        return Result.DONE, ""

    async def _write(self, place: Place, metadata: Json, edit: Edit) -> None:
        """Write, provided that nobody has touched the pod since it was read."""
        known = {"name": place.name, "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body: Json = {"metadata": {**known, "annotations": dict(edit.annotations)}}
        if edit.form is Form.APPLY:
            body |= {"apiVersion": "v1", "kind": "Pod"}
            await self._session.patch(place, body, PatchForm.APPLY, force=edit.force)
        else:
            await self._session.patch(place, body)


def _change(action: Withdraw | Readmit | Announce) -> Change | None:
    if isinstance(action, Readmit):
        return lambda metadata: membership.readmission(metadata, FIELD_MANAGER)
    if isinstance(action, Announce):
        return membership.announcement
    drain = action.drain
    return None if drain is None else lambda metadata: membership.withdrawal(metadata, drain, FIELD_MANAGER)


def _verdict(error: KubeError) -> Result:
    if error.status == HTTPStatus.CONFLICT:
        return Result.CONFLICT
    return Result.REFUSED if error.status in GONE | {HTTPStatus.FORBIDDEN} else Result.FAILED
