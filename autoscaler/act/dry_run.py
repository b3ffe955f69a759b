"""Acting without acting: what ``mode: Recommend`` carries out."""

from collections.abc import Sequence

from autoscaler.domain.plan import Action
from autoscaler.domain.record import ActionResult, Outcome, Result


class DryRunActuator:
    """An ``Actuator`` that says what it would do. It holds no session: nothing can be written by mistake."""

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Report every action as not done."""
        return Outcome(tuple(ActionResult(action, Result.DRY_RUN, "mode Recommend") for action in actions))
