"""Flies one policy through one trace: requests and decisions on one time line."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoscaler.controller import Controller, Decides
from autoscaler.domain.record import TickRecord
from autoscaler.domain.units import Seconds
from autoscaler.simulate.cluster import SimulatedCluster
from autoscaler.simulate.pods import Bill, FleetSample
from autoscaler.simulate.results import Results

Progress = Callable[[float, float], None]
"""Is told the simulated seconds so far, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Run:
    """What there is to score after a flight."""

    results: Results
    bills: Mapping[str, Bill]  # replica-seconds by variant name, up to the horizon
    fleet: tuple[FleetSample, ...]  # every variant at every tick
    records: tuple[TickRecord, ...]  # every tick; empty where the cluster keeps none
    horizon: Seconds  # up to here ticks were made and replicas were paid


def fly(
    world: SimulatedCluster,
    decider: Decides,
    *,
    period: Seconds = Seconds(15.0),
    horizon: Seconds | None = None,
    grace: Seconds = Seconds(1800.0),
    progress: Progress | None = None,
) -> Run:
    """Run a decider in the production Controller until the horizon, then let what is under way end.

    Args:
        world: a fresh cluster.
        decider: the product's, or a baseline.
        period: between ticks; the first is at ``period``.
        horizon: end of ticks and bill; the trace's end by default, rounded up to a tick.
        grace: how long requests may take to end after the horizon, on the fleet that stands then.
        progress: is told after every tick.
    """
    ticks = max(1, -(-int(horizon or world.trace.duration_s) // int(period)))
    fleet = asyncio.run(_ticked(world, decider, period, ticks, progress))
    return _landed(world, fleet, Seconds(ticks * period), grace)


async def _ticked(
    world: SimulatedCluster, decider: Decides, period: Seconds, ticks: int, progress: Progress | None
) -> list[FleetSample]:
    """Tick the Controller to the end; return the fleet as it was before every tick."""
    fleet: list[FleetSample] = []
    controller = Controller(clock=world, observer=world, decider=decider, actuator=world, publisher=world)
    for tick in range(1, ticks + 1):
        world.env.run(tick * period)
        fleet.extend(world.fleet.sample())
        await controller.tick()
        await asyncio.sleep(0.0 if world.pace is None else period / world.pace)  # an interrupt ends the flight here
        if progress is not None:
            progress(world.env.now, ticks * period)
    return fleet


def stay(world: SimulatedCluster, *, horizon: Seconds | None = None, grace: Seconds = Seconds(1800.0)) -> Run:
    """Run the initial fleet through the trace, without any decision."""
    end = Seconds(horizon or world.trace.duration_s)
    fleet = world.fleet.sample()
    world.env.run(end)
    return _landed(world, fleet, end, grace)


def _landed(world: SimulatedCluster, fleet: list[FleetSample], end: Seconds, grace: Seconds) -> Run:
    world.fleet.settle()
    bills = {name: Bill(bill.booting_s, bill.ready_s, bill.draining_s) for name, bill in world.fleet.bills.items()}
    world.env.run_while(lambda: world.traffic.outstanding, end + grace)
    return Run(world.traffic.results(), bills, tuple(fleet), tuple(world.log), end)
