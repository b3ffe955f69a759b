"""A controller that dies in the middle of a tick, and one that is asked to end: neither costs a replica."""

import signal
import time
from typing import Any

import pytest

from tests.integration.loop.conftest import NAMES, Scene, Staging
from tests.integration.loop.controller import PATIENCE_S
from tests.integration.loop.gate import Gate

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def _reason(scene: Scene, tick: dict[str, Any], variant: str) -> tuple[str, str]:
    """Return what a count began with: the limit that sizes it, and that more was wanted than there may be."""
    plan = tick["plan"][scene.key]["variants"][variant]
    assert plan["uncapped"] > plan["wanted"], "a wish of its own, not a hold"
    return variant, plan["reasons"][0]["code"]


def test_killed_in_the_middle_of_a_tick_it_decides_the_same_again(staging: Staging) -> None:
    """Under a load whose answer does not hang on how long a controller has watched it: a start alone is cautious."""
    scene = staging(rate=400.0)
    with Gate(scene.prometheus.url) as gate, scene.controller("Auto", prometheus=gate.url) as controller:
        before = controller.until(scene.settled, "both pools at the wanted size, ready")[-1]
        assert scene.wanted(before) == {"prefill": 8, "decode": 8}

        gate.close()
        gate.wait_asked(PATIENCE_S)  # it observes now, and waits for an answer
        controller.kill()
        killed = time.time()
        gate.open()
        controller.start()

        controller.until(lambda ticks: scene.settled(ticks, since=killed), "five ticks after the restart")
        assert controller.terminate() == 0
    after = [tick for tick in controller.ticks() if tick["at"] > killed]
    assert [scene.wanted(tick) for tick in after] == [scene.wanted(before)] * len(after)
    assert {_reason(scene, after[0], name) for name in NAMES} == {_reason(scene, before, name) for name in NAMES}
    assert not scene.sizes.falls()
    assert scene.sizes.now() == scene.wanted(before)


def test_killed_between_its_writes_the_next_one_completes_them(staging: Staging) -> None:
    """The kill comes with the first write that the watch shows, before the tick has been published."""
    scene = staging(rate=80.0)
    with scene.controller("Auto") as controller:
        deadline = time.monotonic() + PATIENCE_S
        while scene.sizes.now() == {"prefill": 1, "decode": 1}:
            assert time.monotonic() < deadline, "no write came"
            time.sleep(0.001)
        controller.kill()
        killed = time.time()
        first = scene.sizes.now()
        controller.start()
        controller.until(lambda ticks: scene.settled(ticks, since=killed), "both pools at the wanted size, ready")
        assert controller.terminate() == 0
    assert not scene.sizes.falls()
    assert all(scene.sizes.now()[name] >= first[name] for name in NAMES)


def test_asked_to_end_it_finishes_its_tick(staging: Staging) -> None:
    scene = staging(rate=80.0)
    with Gate(scene.prometheus.url) as gate, scene.controller("Recommend", prometheus=gate.url) as controller:
        ticks = controller.until(lambda ticks: len(ticks) >= 2, "two ticks")
        gate.close()
        gate.wait_asked(PATIENCE_S)
        controller.send(signal.SIGTERM)
        gate.open()
        assert controller.wait() == 0
    events = [event["event"] for event in controller.events()]
    told = [event for event in events if event != "decision_log_sealed"]
    assert told[-2:] == ["tick", "stopped"], "the tick in progress was finished and told"
    assert len(controller.ticks()) > len(ticks)
