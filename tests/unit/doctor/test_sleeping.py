"""A model that sleeps has no engine series, and that is no fault; one that may not sleep has to have some."""

from dataclasses import replace

import pytest

from autoscaler.domain.policy import ScaleToZero
from tests import observing
from tests.unit.doctor.test_metrics_checks import PICKER, RATES, World, examined


@pytest.mark.parametrize("sleeps", [True, False])
def test_without_replicas_series_of_engines_are_missed_only_of_a_model_that_may_not_sleep(*, sleeps: bool) -> None:
    policy = replace(observing.policy(*observing.BY_FAIRNESS), scale_to_zero=ScaleToZero(enabled=sleeps))
    fleet = observing.Fleet(policy.key, {"prefill": (), "decode": ()})
    world = World(policy, {PICKER: lambda seconds: observing.picker(seconds, RATES)}, fleet)
    checked = next(one for one in examined(policy, world.look()).values() if "num_requests_running" in one.looked_at)
    assert bool(checked.skipped) == sleeps
    assert bool(checked.findings) != sleeps
