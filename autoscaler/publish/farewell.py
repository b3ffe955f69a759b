"""Gives back to the picker the pods of a policy that is not acted for any more: deleted, refused, or set to Recommend.

A pod that was withdrawn to be emptied would else stay withdrawn for good: nobody is left to finish its drain.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.plan import Action, Readmit, VariantRef
from autoscaler.domain.policy import Mode, SLOPolicy
from autoscaler.domain.record import Outcome, Result, TickRecord
from autoscaler.errors import ActuationError

Apply: TypeAlias = Callable[[Sequence[Action]], Awaitable[Outcome]]

SETTLED = frozenset({Result.DONE, Result.UNCHANGED})


class Farewell:
    """A ``Publisher`` that remembers who is withdrawn, and readmits them once their policy is gone."""

    def __init__(self, apply: Apply) -> None:
        """Take who carries out actions (and refuses them on a stand-by)."""
        self._apply = apply
        self._acted: frozenset[str] = frozenset()
        self._draining: Mapping[str, tuple[Readmit, ...]] = {}  # by policy key, as last seen
        self._owed: tuple[Readmit, ...] = ()

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Note whom is acted for from now on."""
        acted = frozenset(policy.key for policy in policies if policy.mode is Mode.AUTO)
        left = [readmit for key in sorted(self._acted - acted) for readmit in self._draining.get(key, ())]
        self._owed = tuple(readmit for readmit in (*self._owed, *left) if readmit.variant.policy not in acted)
        self._acted = acted

    async def publish(self, record: TickRecord) -> None:
        """Readmit what is owed, and look who is withdrawn now.

        Raises:
            ActuationError: some could not be readmitted; they are tried again with the next tick.
        """
        owed, self._owed = self._owed, ()
        self._draining = {
            key: tuple(
                readmit
                for name, workload in observed.fleet.items()
                for pod in _draining(workload)
                for readmit in _readmissions(VariantRef(key, name), pod)
            )
            for key, observed in record.observation.models.items()
            if key in self._acted
        }
        if owed:
            await self._readmit(owed)

    async def _readmit(self, owed: Sequence[Readmit]) -> None:
        outcome = await self._apply(owed)
        again = [result for result in outcome.results if result.result not in SETTLED]
        self._owed = tuple(result.action for result in again if isinstance(result.action, Readmit))
        if again:
            raise ActuationError("; ".join(f"{result.action.variant}: {result.detail}" for result in again))


def _readmissions(variant: VariantRef, pod: Pod) -> tuple[Readmit, ...]:
    return (Readmit(variant, pod.name, pod.uid), *(Readmit(variant, other) for other in pod.others_withdrawn))


def _draining(workload: object) -> tuple[Pod, ...]:
    return workload.in_state(PodState.DRAINING) if isinstance(workload, Workload) else ()
