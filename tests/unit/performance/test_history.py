"""A profile from history: from the real recording, and by the rules what teaches."""

import asyncio
import dataclasses
import re

import pytest

from autoscaler.cli import profile_fit, wiring
from autoscaler.domain.observation import EngineLoad
from autoscaler.domain.pool import Role
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.observer import PrometheusHistory
from autoscaler.observe.recording import Recording, load_recording
from autoscaler.performance import learn
from autoscaler.performance.calibrate import WARM_UP
from autoscaler.performance.profile import load_profile, parse_profile
from autoscaler.performance.profile_document import dump_profile
from examples.h200_pd import demo

DECODE, PREFILL = "decode-h200", "prefill-h200"


@pytest.fixture(scope="module")
def recording() -> Recording:
    return load_recording(demo.HERE)


def past(recording: Recording, variant: str, pods: str) -> profile_fit.Past:
    found = profile_fit.past_of(demo.HERE / "policy.yaml", variant, pods, recording.start, recording.end)
    physics = dataclasses.replace(found.variant, performance_profile=None)
    return dataclasses.replace(
        found, variant=physics, policy=dataclasses.replace(found.policy, model="Qwen/Qwen3-32B", variants=(physics,))
    )


def history(recording: Recording, variant: str, pods: str) -> learn.History:
    read = profile_fit.past_of(demo.HERE / "policy.yaml", variant, pods, recording.start, recording.end)
    source = recording.source(Windows(fast=Seconds(15.0)))
    return asyncio.run(profile_fit.history_of(read, PrometheusHistory([read.policy], source)))


def test_decode_engines_teach_their_step_from_physics(recording: Recording) -> None:
    seen = history(recording, DECODE, "d0")
    made = profile_fit.from_history(past(recording, DECODE, "d0"), "mine", seen)
    assert made.roles == (Role.DECODE,)
    assert made.provenance.itl_error is not None
    assert made.provenance.itl_error < 0.03
    assert made.provenance.prefill_error is None
    assert "1 pods of decode-h200" in made.provenance.source
    assert made.model.limits.kv_capacity_tokens == pytest.approx(225_280.0)  # as the engine reports
    truth = load_profile("h200-tp1-qwen3-32b").model.step  # fitted to a grid of the same engine
    for batch in (4.0, 16.0, 48.0):
        assert float(made.model.step.step_s(batch, 1500.0 * batch)) == pytest.approx(
            float(truth.step_s(batch, 1500.0 * batch)), rel=0.06
        )


def test_what_was_learned_is_a_profile_file(recording: Recording) -> None:
    made = profile_fit.from_history(past(recording, PREFILL, "p0"), "mine", history(recording, PREFILL, "p0"))
    read = parse_profile(dump_profile(made), "mine.yaml")
    assert read.roles == (Role.PREFILL,)
    assert read.provenance.prefill_error == pytest.approx(made.provenance.prefill_error, rel=0.01)
    assert read.valid == made.valid
    assert read.for_role(Role.PREFILL).prefill.per_token_s == pytest.approx(made.model.prefill.per_token_s, rel=1e-4)


def test_pods_of_others_teach_nothing(recording: Recording) -> None:
    with pytest.raises(InputError, match=re.escape("no pod that reported matches 'qwen\\\\-decode-.*'; name those")):
        profile_fit.from_history(past(recording, DECODE, ""), "mine", history(recording, DECODE, ""))


def test_too_short_a_history_is_refused(recording: Recording) -> None:
    short = history(recording, DECODE, "d0")[:3]
    with pytest.raises(InputError, match=r"decode-h200: [0-3] usable samples, 12 are needed; look further back"):
        profile_fit.from_history(past(recording, DECODE, "d0"), "mine", short)


def test_a_pod_that_appears_on_the_way_first_warms_up(recording: Recording) -> None:
    seen = history(recording, DECODE, "d0")
    whole = learn.settled_samples(seen, Role.DECODE)
    late: list[tuple[Instant, dict[str, EngineLoad]]] = [(Instant(seen[0][0] - 15.0), {})]
    appearing = learn.settled_samples([*late, *seen], Role.DECODE)
    assert len(whole) > len(appearing)
    assert appearing == whole[-len(appearing) :]
    assert len(whole) - len(appearing) <= WARM_UP / 15.0


def test_the_policy_names_the_prior(recording: Recording) -> None:
    found = profile_fit.past_of(demo.HERE / "policy.yaml", DECODE, "d0", recording.start, recording.end)
    assert wiring.prior(found.policy, found.variant).model == load_profile("h200-tp1-qwen3-32b").model
