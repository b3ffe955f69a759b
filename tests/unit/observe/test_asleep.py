"""A model without replicas in a picker's series: zero is known to be zero, and a request that waits is seen."""

import asyncio

from autoscaler.domain.fleet import Workload
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.signal import is_present, known
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.observer import ClusterObserver
from autoscaler.plan.zero import Quiet
from tests import observing

WINDOWS = Windows(fast=Seconds(60.0), long=Seconds(300.0))
POLICY = observing.policy(*observing.BY_FAIRNESS)
STOPPED, ASKED = 100.0, 390.0  # seconds after the first scrape: the last request, and the one that waits


def page(seconds: float) -> str:
    """Return what a picker with flow control shows: no request after the first minutes, then one that waits."""
    labels = {"model_name": "m", "target_model_name": "m", "fairness_id": "rag", "priority": "0"}
    count = 3.0 * min(seconds, STOPPED)
    waits = observing.histogram(
        "llm_d_epp_flow_control_request_queue_duration_seconds", labels, {"1": count, "+Inf": count}, 0.01
    )
    queue = ("llm_d_epp_flow_control_queue_size", labels, 1.0 if seconds >= ASKED else 0.0)
    return observing.picker(min(seconds, STOPPED), {"rag": 3.0}) + observing.exposition(*waits, queue)


def seen(at: float) -> ModelObservation:
    source = observing.filled(WINDOWS, {observing.target("epp-0"): page}, 1000.0 + at)
    fleet = observing.Fleet(POLICY.key, {"prefill": (), "decode": ()})
    observation = asyncio.run(ClusterObserver((POLICY,), source, fleet).observe(Instant(1000.0 + at)))
    return observation.models[POLICY.key]


def test_nothing_comes_and_that_is_known() -> None:
    found = seen(350.0)
    for load in found.loads.values():
        for rate in (load.requests_per_second, load.uncached_prompt_tokens_per_second, load.output_tokens_per_second):
            assert is_present(rate)
            assert rate == 0.0
    assert {known(each, Workload("", -1)).requested for each in found.fleet.values()} == {0}
    assert Quiet().updated(Instant(1350.0), found).updated(Instant(1365.0), found).lasted(Instant(1365.0)) == 15.0


def test_a_request_that_the_picker_holds_is_seen_and_ends_the_quiet_time() -> None:
    found = seen(400.0)
    assert known(found.loads["rag"].queued_requests, 0.0) == 1.0
    assert Quiet().updated(Instant(1400.0), found).since is None
