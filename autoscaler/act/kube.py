"""Scaling through ``/scale``, of any group and kind, without overwriting what somebody else has just decided."""

import asyncio
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from autoscaler.act import order
from autoscaler.domain.plan import Action, Scale, VariantRef
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import ScaleTarget
from autoscaler.domain.record import ActionResult, Outcome, Result
from autoscaler.errors import AutoscalerError
from autoscaler.kube import Json, KubeError, KubeSession, Place, retry_on_conflict

AT_ONCE = 8  # targets written at the same time

REFUSALS = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
SUCCESSES = frozenset({Result.DONE, Result.UNCHANGED})


class KubeActuator:
    """An ``Actuator`` for Scale actions; the others (membership) are refused, since they are not its trade.

    Growth that stands behind a shrink of the same policy counts on its release (see ``order.ordered``): where that
    shrink did not succeed, the growth is left to the next tick, and the budget is kept.
    """

    def __init__(self, session: KubeSession, policies: Sequence[SLOPolicy]) -> None:
        """Take whose variants may be scaled; the session stays the caller's to close."""
        self._session = session
        self._free = asyncio.Semaphore(AT_ONCE)
        self.follow(policies)

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Scale the variants of these policies, and no others, from now on."""
        self._targets = {
            VariantRef(policy.key, variant.name): variant.target for policy in policies for variant in policy.variants
        }

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Carry out actions in order, those of different targets at once where the order allows it; never raises."""
        dependent = order.growth_behind_shrink(actions)
        results: dict[int, ActionResult] = {}
        for wave in order.waves(actions):
            unreleased = _unreleased(results.values())
            blocks = [unreleased.get(actions[at].variant.policy) if at in dependent else None for at in wave]
            done = await asyncio.gather(
                *(self._one(actions[at], block) for at, block in zip(wave, blocks, strict=True))
            )
            results |= zip(wave, done, strict=True)
        return Outcome(tuple(results[position] for position in range(len(actions))))

    async def _one(self, action: Action, block: ActionResult | None) -> ActionResult:
        if not isinstance(action, Scale):
            return ActionResult(action, Result.REFUSED, f"{type(action).__name__}: this actuator only scales")
        if block is not None:
            return ActionResult(action, Result.FAILED, f"left out: {block.action.variant} was not shrunk before it")
        target = self._targets.get(action.variant)
        if target is None:
            return ActionResult(action, Result.REFUSED, f"no policy of this controller has a variant {action.variant}")
        try:
            async with self._free:
                result, detail = await self._scale(target, action)
        except AutoscalerError as error:
            result, detail = _verdict(error), str(error)
        return ActionResult(action, result, detail)

    async def _scale(self, target: ScaleTarget, action: Scale) -> tuple[Result, str]:
        resource = await self._session.resource(target.api_version, target.kind)
        if not resource.scalable:
            return Result.REFUSED, f"{target}: {target.kind} of {target.api_version} has no /scale subresource"
        place = resource.at(target.namespace, target.name, "scale")
        return await retry_on_conflict(lambda: self._resize(place, target, action))

    async def _resize(self, place: Place, target: ScaleTarget, action: Scale) -> tuple[Result, str]:
        scale = await self._session.get(place)
        requested = _requested(scale)
        if requested == action.replicas:
            return Result.UNCHANGED, f"{target} already asks for {requested}"
        if requested != action.observed:
            return Result.CONFLICT, f"{target}: somebody set {requested}, the plan was made for {action.observed}"
        await self._write(place, scale, action.replicas)
        return Result.DONE, f"{target}: {action.observed} -> {action.replicas}"

    async def _write(self, place: Place, scale: Json, replicas: int) -> None:
        """Write a count, provided that nobody has touched the target since ``scale`` was read."""
        precondition = {"resourceVersion": scale["metadata"]["resourceVersion"]}
        await self._session.patch(place, {"metadata": precondition, "spec": {"replicas": replicas}})


def _requested(scale: Json) -> int:
    return int((scale.get("spec") or {}).get("replicas", 0))  # a Scale leaves 0 out


def _verdict(error: AutoscalerError) -> Result:
    status = error.status if isinstance(error, KubeError) else None
    if status == HTTPStatus.CONFLICT:
        return Result.CONFLICT
    return Result.REFUSED if status in REFUSALS else Result.FAILED


def _unreleased(results: Iterable[ActionResult]) -> dict[str, ActionResult]:
    """Return, by policy, a shrink that did not succeed."""
    return {
        result.action.variant.policy: result
        for result in results
        if isinstance(result.action, Scale)
        and result.action.replicas < result.action.observed
        and result.result not in SUCCESSES
    }
