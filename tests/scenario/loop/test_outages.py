"""The core through three outages of five minutes, in memory: Prometheus gone, empty, stale; and what follows each."""

import asyncio
import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest

from autoscaler.cli import wiring
from autoscaler.controller import Controller
from autoscaler.decider import Decider
from autoscaler.domain.plan import Action, Scale
from autoscaler.domain.policy import Behavior, ScalingRules, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.record import ActionResult, Outcome, Result, TickRecord
from autoscaler.domain.signal import GapReason, Missing, is_present
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.samples import Snapshot
from autoscaler.observe.scrape import MemorySource, Target
from autoscaler.publish.health import Health
from examples.h200_pd import demo
from tests import observing

PERIOD = Seconds(15.0)
BEGIN = 1000.0
CALM, OUTAGE, IDLE = 180.0, 300.0, 600.0
PHASES = (
    *(("whole", CALM), ("gone", OUTAGE), ("whole", CALM), ("empty", OUTAGE), ("whole", CALM), ("stale", OUTAGE)),
    *(("whole", CALM), ("idle", IDLE)),
)
REASONS = {"gone": GapReason.UNREACHABLE, "empty": GapReason.ABSENT, "stale": GapReason.STALE}
LOADED = BEGIN + sum(length for name, length in PHASES if name != "idle")
RATE = 80.0  # requests/s: more than two replicas of each role can serve
PREFILL, DECODE = "prefill-h200", "decode-h200"
PODS = {PREFILL: ("p0", "p1"), DECODE: ("d0", "d1")}
WINDOWS = Windows(fast=Seconds(60.0))


def phase(at: float) -> tuple[str, float]:
    """Return the name of the phase that a moment lies in, and when it began."""
    begin = BEGIN
    for name, length in PHASES:
        if at < begin + length:
            return name, begin
        begin += length
    return "over", begin


def source(end: float) -> MemorySource:
    """Return what was scraped every 15 s until ``end``; from ``LOADED`` on no request comes."""

    def came(seconds: float) -> float:
        return RATE * min(seconds, LOADED - BEGIN)

    def engine(role: Role) -> observing.Page:
        return lambda s: observing.engine(1.0, role, came(s) / 2.0, running=4.0 if BEGIN + s < LOADED else 0.0)

    pages: dict[Target, observing.Page] = {observing.target("epp-0"): lambda s: observing.picker(1.0, {"rag": came(s)})}
    for name, role in ((PREFILL, Role.PREFILL), (DECODE, Role.DECODE)):
        pages |= {observing.target(pod, role.value): engine(role) for pod in PODS[name]}
    return observing.filled(WINDOWS, pages, end, interval=15.0)


class Monitoring:
    """A source of metrics with outages."""

    windows = WINDOWS

    def __init__(self) -> None:
        """Scrape everything there will be; a stale source is one that nobody feeds any more."""
        self._whole = source(BEGIN + sum(length for _, length in PHASES))
        (stale,) = {phase(BEGIN + n)[1] for n in range(3000) if phase(BEGIN + n)[0] == "stale"}
        self._stale = source(stale)
        self._empty = MemorySource(("llm",), WINDOWS)

    async def read(self, now: Instant) -> Snapshot:
        """Return what would be answered now."""
        name, _ = phase(now)
        if name == "gone":
            message = "nobody answers"
            raise ObservationError(message)
        return await {"empty": self._empty, "stale": self._stale}.get(name, self._whole).read(now)

    async def more(self, snapshot: Snapshot, readings: Collection[str], models: Collection[str]) -> Snapshot:
        """Return the snapshot: nothing was left out of it."""
        return await self._whole.more(snapshot, readings, models)


@dataclass
class World:
    """Clock, Actuator and Publisher; nobody carries out what is asked for, so that each tick meets the same fleet."""

    at: float = BEGIN + 60.0
    records: list[TickRecord] = field(default_factory=list)
    health: Health = field(default_factory=lambda: Health(Seconds(3 * PERIOD)))
    complaints: dict[float, str] = field(default_factory=dict)

    def now(self) -> Instant:
        return Instant(self.at)

    async def sleep(self, duration: Seconds) -> None:
        self.at += duration

    async def apply(self, actions: Sequence[Action]) -> Outcome:
        return Outcome(tuple(ActionResult(action, Result.DRY_RUN) for action in actions))

    async def publish(self, record: TickRecord) -> None:
        self.records.append(record)
        await self.health.publish(record)
        self.complaints[record.observation.at] = self.health.complaint(self.now())


def impatient() -> SLOPolicy:
    """Return the recording's policy without a stabilization window and with at most two replicas a role."""
    (policy,) = wiring.policies([demo.HERE / "policy.yaml"])
    variants = tuple(dataclasses.replace(variant, max_replicas=2) for variant in policy.variants)
    behavior = Behavior(scale_down=ScalingRules(Seconds(0.0)))
    return dataclasses.replace(policy, variants=variants, behavior=behavior)


@pytest.fixture(scope="module")
def world() -> World:
    """Return the world after all phases."""
    policy, lived = impatient(), World()
    pods = {name: observing.pods(name, *names, since=BEGIN) for name, names in PODS.items()}
    controller = Controller(
        clock=lived,
        observer=ClusterObserver([policy], Monitoring(), observing.Fleet(policy.key, pods)),
        decider=Decider([policy], wiring.priors([policy]), period=PERIOD),
        actuator=lived,
        publisher=lived,
    )

    async def live() -> None:
        while phase(lived.at)[0] != "over":
            await controller.tick()
            await lived.sleep(PERIOD)

    asyncio.run(live())
    return lived


def during(world: World, name: str) -> list[TickRecord]:
    return [record for record in world.records if phase(record.observation.at)[0] == name]


def rate(record: TickRecord) -> float | Missing:
    return record.observation.models["llm/qwen3-32b"].loads["rag"].requests_per_second


def test_nothing_is_taken_away_before_the_load_is_really_gone(world: World) -> None:
    loaded = [record for record in world.records if record.observation.at < LOADED]
    assert len(loaded) > 90
    assert not [record.plan.actions for record in loaded if record.plan.actions]
    wanted = [{n: p.target for n, p in r.plan.models["llm/qwen3-32b"].variants.items()} for r in loaded]
    assert wanted == [{PREFILL: 2, DECODE: 2}] * len(loaded)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        pytest.param("gone", 0.0, OUTAGE, id="gone"),
        pytest.param("empty", 0.0, OUTAGE, id="empty"),
        # younger samples are still believed, and after five minutes Prometheus itself forgets them
        pytest.param("stale", 61.0, 280.0, id="stale"),
    ],
)
def test_every_tick_of_an_outage_says_why_it_knows_nothing(world: World, name: str, first: float, last: float) -> None:
    ages = {r.observation.at: r.observation.at - phase(r.observation.at)[1] for r in during(world, name)}
    records = [record for record in during(world, name) if first <= ages[record.observation.at] < last]
    missing = [rate(record) for record in records]
    assert len(missing) >= 14
    assert {state.reason if isinstance(state, Missing) else None for state in missing} == {REASONS[name]}
    assert all(record.observation.gaps for record in records)
    assert not any(record.succeeded for record in records)
    unready = [world.complaints[at] for at, age in ages.items() if age >= 3 * PERIOD + first]
    assert len(unready) >= 12
    assert all(unready)


@pytest.mark.parametrize("name", REASONS)
def test_the_first_tick_after_an_outage_knows_the_load_again(world: World, name: str) -> None:
    last = during(world, name)[-1].observation.at
    first = next(record for record in world.records if record.observation.at > last)
    assert first.observation.at - last == PERIOD
    assert is_present(rate(first))
    assert first.succeeded
    assert world.complaints[first.observation.at] == "", "ready"


def test_the_same_policy_does_let_go_of_what_idles(world: World) -> None:
    """Else the first test could not fail."""
    idle = [action for record in during(world, "idle") for action in record.plan.actions]
    assert {(a.variant.variant, a.replicas) for a in idle if isinstance(a, Scale)} == {(PREFILL, 1), (DECODE, 1)}
