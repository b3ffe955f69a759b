"""Joins what changes the cluster: counts by one room, membership by another, and the rule that only the leader acts."""

from collections.abc import Callable, Sequence
from itertools import groupby

from autoscaler.domain.plan import Action, Scale
from autoscaler.domain.record import ActionResult, Outcome, Result
from autoscaler.ports import Actuator


class Actuation:
    """An ``Actuator`` that hands every action to whoever can carry it out, in the given order.

    Removals need no withdrawal of the same tick: the drain acts on notes that the cluster has already shown.
    """

    def __init__(self, *, scaling: Actuator, membership: Actuator) -> None:
        """Take who changes counts, and who changes membership."""
        self._scaling = scaling
        self._membership = membership

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Carry out runs of actions of one kind, one run after the other."""
        results: list[ActionResult] = []
        for scales, run in groupby(actions, key=lambda action: isinstance(action, Scale)):
            actuator = self._scaling if scales else self._membership
            results += (await actuator.apply(tuple(run))).results
        return Outcome(tuple(results))


class OnlyLeader:
    """An ``Actuator`` that acts only while its process leads, and has led since before the tick's observation.

    What was observed as a stand-by is not acted on: whoever led until then may have changed it meanwhile. The session
    behind the inner actuator asks again before each single write.
    """

    def __init__(self, inner: Actuator, is_leader: Callable[[], bool], leader: Callable[[], str]) -> None:
        """Take what to guard, and how to ask who leads."""
        self._inner = inner
        self._is_leader = is_leader
        self._leader = leader
        self._led_when_last_tick_ended = False

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Act, or say why not."""
        try:
            if self._is_leader() and self._led_when_last_tick_ended:
                return await self._inner.apply(actions)
            why = (
                "leads since this tick, acts from the next"
                if self._is_leader()
                else f"{self._leader() or 'nobody'} leads"
            )
            return Outcome(tuple(ActionResult(action, Result.REFUSED, f"stand-by: {why}") for action in actions))
        finally:
            self._led_when_last_tick_ended = self._is_leader()
