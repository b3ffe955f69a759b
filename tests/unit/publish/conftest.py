"""A decision log of a few ticks over a real recording, for whoever reads logs."""

import asyncio
from pathlib import Path

import pytest

from autoscaler.act.dry_run import DryRunActuator
from autoscaler.cli import wiring
from autoscaler.controller import Controller
from autoscaler.decider import Decider
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.files import FileFleet
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.recording import load_recording
from autoscaler.publish.file import DecisionLog
from examples.h200_pd import demo


@pytest.fixture(scope="session")
def policy() -> SLOPolicy:
    """Return the policy of the recording."""
    (found,) = wiring.policies([demo.HERE / "policy.yaml"])
    return found


@pytest.fixture(scope="session")
def records(policy: SLOPolicy) -> list[TickRecord]:
    """Return the ticks of a controller that lives through the phase that saturates prefill."""
    recording = load_recording(demo.HERE)
    world = demo.Replay(Instant(recording.start + 15.0))
    controller = Controller(
        clock=world,
        observer=ClusterObserver(
            [policy], recording.source(Windows(fast=Seconds(15.0))), FileFleet(demo.HERE / "fleet.yaml", [policy])
        ),
        decider=Decider([policy], wiring.priors([policy]), period=Seconds(15.0)),
        actuator=DryRunActuator(),
        publisher=world,
    )

    async def live() -> None:
        while world.moment <= recording.start + 240.0:
            await controller.tick()
            await world.sleep(Seconds(15.0))

    asyncio.run(live())
    return world.records


@pytest.fixture
def log(tmp_path: Path, policy: SLOPolicy, records: list[TickRecord]) -> Path:
    """Return the path of a decision log of those ticks."""
    path = tmp_path / "decisions.jsonl"
    written = DecisionLog(path, [policy])

    async def publish() -> None:
        for record in records:
            await written.publish(record)

    asyncio.run(publish())
    written.close()
    return path
