"""The loop, told as stories in virtual time: cadence, steps that fail or hang, and its end."""

import asyncio
import gc
import itertools
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from autoscaler.domain.record import Result, Step, StepFailure
from autoscaler.domain.signal import GapReason
from autoscaler.domain.units import Seconds
from autoscaler.errors import ObservationError
from autoscaler.publish.metrics import OwnMetrics
from tests.unit.controller import world
from tests.unit.controller.world import PERIOD, World, lived, virtually


def gaps(moments: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def test_a_quiet_hour_has_240_ticks_and_no_action() -> None:
    quiet = World()
    virtually(lived(quiet.controller(), until=3599.0))
    assert len(quiet.log) == 240
    assert not any(record.plan.actions or record.outcome.results for record in quiet.log)
    assert all(record.succeeded for record in quiet.log)
    assert quiet.began == [15.0 * n for n in range(240)]


def test_garbage_is_looked_for_between_ticks_and_not_in_one() -> None:
    looked: list[bool] = []

    async def look() -> None:
        looked.append(gc.isenabled())

    watched = World(observing=look, deciding=lambda: looked.append(gc.isenabled()), acting=look, publishing=look)

    async def story() -> bool:
        await watched.controller().tick()
        return gc.isenabled()

    assert virtually(story())
    assert looked == [False] * 4


def test_a_wish_is_carried_out_once() -> None:
    growing = World(wanted=5)
    virtually(lived(growing.controller(), until=40.0))
    assert growing.requested == 5
    assert [len(record.outcome.results) for record in growing.log] == [1, 0, 0]
    (result,) = growing.log[0].outcome.results
    assert result.result is Result.DONE


BROKEN = ObservationError("nobody answers")


def broken_decision() -> None:
    message = "division by zero"
    raise ZeroDivisionError(message)


@pytest.mark.parametrize(
    ("break_it", "step", "kind", "detail"),
    [
        pytest.param(
            lambda w: setattr(w, "observing", world.failing(BROKEN)),
            Step.OBSERVE,
            "ObservationError",
            "nobody answers",
            id="observe fails",
        ),
        pytest.param(
            lambda w: setattr(w, "observing", world.hang), Step.OBSERVE, "TimeoutError", "took too long",
            id="observe hangs",
        ),
        pytest.param(
            lambda w: setattr(w, "deciding", broken_decision), Step.DECIDE, "ZeroDivisionError", "division by zero",
            id="decide fails",
        ),
        pytest.param(
            lambda w: setattr(w, "acting", world.failing(RuntimeError("boom"))), Step.ACT, "RuntimeError", "boom",
            id="act fails",
        ),
        pytest.param(
            lambda w: setattr(w, "acting", world.hang), Step.ACT, "TimeoutError", "took too long", id="act hangs"
        ),
    ],
)  # fmt: skip
def test_a_step_that_does_not_end_well_is_a_hold_with_a_name(
    break_it: Callable[[World], None], step: Step, kind: str, detail: str
) -> None:
    broken = World(wanted=5)
    break_it(broken)
    record = virtually(broken.controller().tick())
    assert broken.log == [record]
    assert record.failures == (StepFailure(step, kind, detail),)
    assert not record.succeeded
    assert broken.requested == 2
    assert set(record.step_seconds) == {Step.OBSERVE, Step.DECIDE, Step.ACT}


def test_a_tick_that_saw_nothing_says_so_and_wants_nothing() -> None:
    blind = World(wanted=5, observing=world.failing(BROKEN))
    record = virtually(blind.controller().tick())
    (gap,) = record.observation.gaps
    assert (gap.signal, gap.missing.reason) == ("observation", GapReason.UNREACHABLE)
    assert (dict(record.observation.models), dict(record.plan.models)) == ({}, {})


def test_after_a_failure_the_next_tick_carries_on() -> None:
    flaky = World(wanted=5)

    async def story() -> None:
        controller = flaky.controller()
        flaky.acting = world.failing(RuntimeError("boom"))
        await controller.tick()
        assert flaky.requested == 2
        flaky.acting = world.nothing
        await controller.tick()

    virtually(story())
    assert flaky.requested == 5
    assert [record.succeeded for record in flaky.log] == [False, True]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(world.failing(OSError("disk full")), "OSError", id="fails"),
        pytest.param(world.hang, "TimeoutError", id="hangs"),
    ],
)
def test_a_failed_publication_is_told_by_the_next_record(fault: world.Fault, kind: str) -> None:
    mute = World(wanted=5)

    async def story() -> None:
        controller = mute.controller()
        mute.publishing = fault
        assert not (await controller.tick()).failures
        mute.publishing = world.nothing
        await controller.tick()
        await controller.tick()

    virtually(story())
    assert mute.requested == 5, "what was decided was done"
    told, quiet = mute.log
    assert [(failure.step, failure.kind) for failure in told.failures] == [(Step.PUBLISH, kind)]
    assert (told.succeeded, quiet.succeeded) == (False, True)


def test_failures_and_durations_of_every_step_end_in_counters() -> None:
    registry = CollectorRegistry()
    metrics = OwnMetrics(registry)
    slow = World(observing=world.lasting(3.0), publishing=world.lasting(2.0))

    async def story() -> None:
        controller = slow.controller()
        await controller.tick()
        slow.observing, slow.acting, slow.publishing = world.hang, world.failing(RuntimeError()), world.hang
        await controller.tick()
        slow.observing = slow.acting = slow.publishing = world.nothing
        slow.deciding = broken_decision
        await controller.tick()
        for record in slow.log:
            await metrics.publish(record)

    virtually(story())

    def errors(step: Step, kind: str) -> float | None:
        return registry.get_sample_value("autoscaler_step_errors_total", {"step": step.value, "kind": kind})

    assert [len(record.failures) for record in slow.log] == [0, 2], "the second record was never published"
    assert errors(Step.DECIDE, "ZeroDivisionError") == errors(Step.PUBLISH, "TimeoutError") == 1.0
    assert registry.get_sample_value("autoscaler_step_seconds_sum", {"step": "observe"}) == pytest.approx(3.0)
    assert registry.get_sample_value("autoscaler_step_seconds_sum", {"step": "publish"}) == pytest.approx(10.0)


def test_every_step_has_its_own_deadline() -> None:
    slow = World(observing=world.lasting(9.0), acting=world.lasting(9.0), publishing=world.lasting(9.0))

    async def story() -> float:
        controller = slow.controller()
        await controller.tick()
        await controller.tick()
        return slow.now()

    assert virtually(story()) == pytest.approx(54.0)
    assert all(record.succeeded for record in slow.log)
    assert slow.log[1].step_seconds == {Step.OBSERVE: 9.0, Step.DECIDE: 0.0, Step.ACT: 9.0, Step.PUBLISH: 9.0}


def test_a_late_tick_delays_the_next_and_never_doubles_it() -> None:
    late = World(observing=world.lasting(20.0))
    virtually(lived(late.controller(Seconds(30.0)), until=119.0))
    assert late.began == [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]


def test_after_one_late_tick_the_cadence_is_kept_without_catching_up() -> None:
    once = World()
    durations = iter([40.0])

    async def first_is_slow() -> None:
        await asyncio.sleep(next(durations, 0.0))

    once.observing = first_is_slow
    virtually(lived(once.controller(Seconds(60.0)), until=90.0))
    assert once.began == [0.0, 40.0, 55.0, 70.0, 85.0]


def test_jitter_puts_ticks_off_and_does_not_add_up() -> None:
    spread = World()
    draws = itertools.cycle([0.0, 0.05, 0.02])
    virtually(lived(spread.controller(), until=3599.0, jitter=lambda: next(draws)))
    offsets = [moment - 15.0 * n for n, moment in enumerate(spread.began)]
    assert len(spread.began) == 240
    assert 0.0 <= min(offsets) <= max(offsets) <= 0.05 * PERIOD + 1e-6
    assert max(offsets) == pytest.approx(0.05 * PERIOD)
    assert max(gaps(spread.began)) <= 1.05 * PERIOD + 1e-6


def test_stop_while_resting_ends_at_once() -> None:
    resting = World()

    async def story() -> float:
        controller = resting.controller()
        running = asyncio.ensure_future(controller.run(PERIOD))
        await asyncio.sleep(1.0)
        controller.stop()
        await running
        return resting.now()

    assert virtually(story()) == pytest.approx(1.0)
    assert len(resting.log) == 1


def test_stop_within_a_tick_lets_it_finish() -> None:
    acting = World(wanted=5, acting=world.lasting(4.0))

    async def story() -> float:
        controller = acting.controller()
        running = asyncio.ensure_future(controller.run(PERIOD))
        await asyncio.sleep(1.0)
        controller.stop()
        await running
        return acting.now()

    assert virtually(story()) == pytest.approx(4.0)
    assert (acting.requested, len(acting.log)) == (5, 1)


def test_a_stop_before_the_first_tick_makes_none() -> None:
    unwanted = World()

    async def story() -> None:
        controller = unwanted.controller()
        controller.stop()
        await controller.run(PERIOD)

    virtually(story())
    assert not unwanted.log


def test_a_run_that_is_cancelled_leaves_nothing_behind() -> None:
    """``virtually`` looks for tasks that are left."""
    resting = World()
    virtually(lived(resting.controller(), until=20.0))
    assert len(resting.log) == 2
