"""Several publishers as one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from autoscaler.domain.record import TickRecord
from autoscaler.errors import AutoscalerError

Publish: TypeAlias = Callable[[TickRecord], Awaitable[None]]


class Every:
    """Publishes to each in turn; one that fails keeps none of the others from it."""

    def __init__(self, publishes: Sequence[Publish]) -> None:
        """Take the ``publish`` methods of all publishers."""
        self._publishes = tuple(publishes)

    async def publish(self, record: TickRecord) -> None:
        """Publish one tick everywhere, then complain of all that failed.

        Raises:
            AutoscalerError: some publishers failed; the message names each error.
        """
        problems = []
        for publish in self._publishes:
            try:
                await publish(record)
            except Exception as error:  # noqa: BLE001 - collected and raised below, after the others had their turn
                problems.append(f"{type(error).__name__}: {error}")
        if problems:
            raise AutoscalerError("; ".join(problems))
