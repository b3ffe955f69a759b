"""Scaling left to others: the wanted count is published as a metric, and an HPA or KEDA applies it."""

from collections.abc import Sequence

from autoscaler.domain.plan import Action, Scale
from autoscaler.domain.record import ActionResult, Outcome, Result


class MetricActuator:
    """An ``Actuator`` for Scale actions that writes nothing to the cluster; the others are refused.

    A removal is published only once the pods it stands for are empty, and they stay withdrawn until the count is seen
    to be lower: whoever applies it removes the ones with the lowest deletion cost.
    """

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        """Report every count as handed over."""
        return Outcome(
            tuple(
                ActionResult(action, Result.DONE, "published for the target's own autoscaler")
                if isinstance(action, Scale)
                else ActionResult(action, Result.REFUSED, f"{type(action).__name__}: this actuator only scales")
                for action in actions
            )
        )
