"""What the recording of two H200 must bring about: more prefill when it saturates, nothing more in light phases."""

import asyncio

import pytest

from autoscaler.cli import wiring
from autoscaler.observe.recording import load_recording
from examples.h200_pd import demo

PREFILL, DECODE = "prefill-h200", "decode-h200"
SATURATED = 4  # the phase in which three long prompts a second come
LIGHT = (1, 2, 7)


@pytest.mark.slow
def test_prefill_is_asked_for_where_it_saturates_and_nothing_where_load_is_light() -> None:
    (policy,) = wiring.policies([demo.HERE / "policy.yaml"])
    records = asyncio.run(demo.replay(load_recording(demo.HERE), policy))
    shown = demo.timeline(records, policy)
    more = [entry["t_s"] for entry in shown if entry["phase"] == SATURATED and entry["wanted"][PREFILL] > 1]
    assert more[0] - (SATURATED - 1) * demo.PHASE <= 30.0
    assert {entry["wanted"][DECODE] for entry in shown if entry["phase"] == SATURATED} == {1}
    light = [entry["wanted"] for entry in shown if entry["phase"] in LIGHT]
    assert light == [{PREFILL: 1, DECODE: 1}] * len(light)
