"""The garbage collector pauses during a look, and never longer."""

import asyncio
import gc
from collections.abc import Collection, Mapping

import pytest

from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.fleet import FleetView
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.samples import Snapshot
from tests import observing


class Away:
    """Neither metrics nor fleet; notes whether the collector ran when it was asked."""

    windows = Windows(fast=Seconds(60.0))

    def __init__(self) -> None:
        self.collecting: list[bool] = []

    async def read(self, now: Instant) -> Snapshot:  # noqa: ARG002 - always away
        self.collecting.append(gc.isenabled())
        message = "away"
        raise ObservationError(message)

    async def more(self, snapshot: Snapshot, readings: Collection[str], models: Collection[str]) -> Snapshot:  # noqa: ARG002
        return snapshot

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:
        await self.read(now)
        return {}


@pytest.mark.parametrize("collects", [True, False], ids=["it ran before", "somebody had stopped it"])
def test_a_look_that_fails_leaves_the_collector_as_it_was(*, collects: bool) -> None:
    away = Away()
    if not collects:
        gc.disable()
    try:
        with pytest.raises(ObservationError, match="away; away"):
            asyncio.run(ClusterObserver((observing.policy(),), away, away).observe(Instant(0.0)))
        assert gc.isenabled() is collects
        assert away.collecting == [False, False]
    finally:
        gc.enable()
