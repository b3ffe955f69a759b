"""Both back ends read the same declarations, so they must see the same: on every moment of a real recording."""

import asyncio
import math
from pathlib import Path

import pytest

from autoscaler.domain.observation import Observation
from autoscaler.domain.signal import is_present
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.connection import Connection
from autoscaler.observe.observer import ClusterObserver, MetricsSource, PrometheusHistory
from autoscaler.observe.prometheus import PrometheusSource
from autoscaler.observe.recording import Recording, load_recording
from tests import observing
from tests.conftest import PrometheusFactory

POLICIES = (observing.policy(*observing.BY_FAIRNESS),)
WINDOWS = Windows(fast=Seconds(30.0), long=Seconds(300.0))


OUTAGE = (100.0, 145.0)
"""Seconds of the recording, under load, without a scrape in the second run: longer than the window."""


@pytest.fixture(scope="module", params=["whole", "with an outage"])
def recording(request: pytest.FixtureRequest) -> Recording:
    whole = load_recording(observing.RECORDING)
    if request.param == "whole":
        return whole
    first, last = (whole.start + moment for moment in OUTAGE)
    return Recording.of(scrape for scrape in whole.scrapes if not first < scrape.at < last)


def moments(recording: Recording) -> list[Instant]:
    """Every 5 s from before the recording until its last sample is stale, off its grid."""
    first, last = recording.start - 10.0, recording.end + 70.0
    return [Instant(round(first + 5.0 * n + 0.377, 3)) for n in range(math.ceil((last - first) / 5.0))]


async def observed(source: MetricsSource, at: list[Instant]) -> list[Observation]:
    observer = ClusterObserver(POLICIES, source, observing.one_each())
    return [await observer.observe(moment) for moment in at]


@pytest.mark.slow
def test_both_back_ends_see_the_same_on_the_whole_recording(
    recording: Recording, prometheus_server: PrometheusFactory, tmp_path: Path
) -> None:
    server = prometheus_server()
    recording.write_openmetrics(tmp_path / "recording.om")
    server.backfill(tmp_path / "recording.om")
    asked = PrometheusSource(Connection(server.url), ("llm",), WINDOWS)

    from_prometheus = asyncio.run(observed(asked, moments(recording)))
    from_memory = asyncio.run(observed(recording.source(WINDOWS), moments(recording)))

    found = [
        d for a, b in zip(from_memory, from_prometheus, strict=True) for d in observing.differences(a, b, f"{a.at}")
    ]
    assert not found, "\n".join(found[:20])
    check_blind_around_an_outage(recording, from_memory)


def check_blind_around_an_outage(recording: Recording, seen: list[Observation]) -> None:
    """Check that a rate is known in no window of which an outage took more than a few scrapes."""
    begin, end = (recording.start + moment for moment in OUTAGE)
    gapped = not any(begin < scrape.at < end for scrape in recording.scrapes)
    around = [each for each in seen if begin + 5.0 < each.at < end + WINDOWS.fast - 5.0]
    known = [is_present(each.models[POLICIES[0].key].loads["rag"].requests_per_second) for each in around]
    assert known == [not gapped] * len(known)
    assert len(known) > 10


@pytest.mark.slow
def test_the_past_of_prometheus_is_what_it_would_have_answered_then(
    recording: Recording, prometheus_server: PrometheusFactory, tmp_path: Path
) -> None:
    server = prometheus_server()
    recording.write_openmetrics(tmp_path / "recording.om")
    server.backfill(tmp_path / "recording.om")
    asked = PrometheusSource(Connection(server.url), ("llm",), WINDOWS)
    start, end, step = Instant(recording.start + 20.123), Instant(recording.end), Seconds(20.0)

    async def past(history: PrometheusHistory) -> list[Observation]:
        return [observation async for observation in history.past(start, end, step)]

    ranges = asyncio.run(past(PrometheusHistory(POLICIES, asked)))
    instants = asyncio.run(past(PrometheusHistory(POLICIES, recording.source(WINDOWS))))

    found = [d for a, b in zip(instants, ranges, strict=True) for d in observing.differences(a, b, f"{a.at}")]
    assert not found, "\n".join(found[:20])
    assert len(ranges) == 18
