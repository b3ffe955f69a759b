"""Readings that are asked only of models that need them: what is observed is the same, and little is asked."""

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence

import pytest

from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing, is_present
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.observe import catalogue
from autoscaler.observe.catalogue import MODEL, Windows
from autoscaler.observe.fleet import FleetSource
from autoscaler.observe.observer import ClusterObserver, MetricsSource
from autoscaler.observe.recording import load_recording
from autoscaler.observe.samples import Row, Snapshot
from autoscaler.observe.scrape import MemorySource, Target
from tests import observing
from tests.observing import Page, engine, target

WINDOWS = Windows(fast=Seconds(60.0), long=Seconds(60.0))
UNTIL = 1120.0
SELDOM = frozenset(reading.name for reading in catalogue.READINGS if reading.seldom)
WAITS = {"engine_itl_bucket", "engine_ttft_bucket"}
LENGTHS = {"engine_prompt_sum", "engine_prompt_bucket", "engine_output_sum", "engine_output_bucket"}
OWN = observing.policy(metrics=observing.metrics("vllm"))


class Sparing:
    """Leaves seldom readings out until they are asked for, as a Prometheus does; remembers what was."""

    def __init__(self, whole: MemorySource) -> None:
        self.windows = whole.windows
        self.asked: set[str] = set()
        self._whole = whole

    async def read(self, now: Instant) -> Snapshot:
        whole = await self._whole.read(now)
        return Snapshot(now, {name: rows for name, rows in whole.readings.items() if name not in SELDOM})

    async def more(self, snapshot: Snapshot, readings: Collection[str], models: Collection[str]) -> Snapshot:
        assert set(readings) <= SELDOM - self.asked, "asked twice, or not seldom"
        assert models
        self.asked |= set(readings)
        whole = await self._whole.read(snapshot.at)
        return snapshot.extended({name: self.of(whole.rows(name), models) for name in readings})

    def of(self, rows: Sequence[Row], models: Collection[str]) -> tuple[Row, ...] | Missing:
        return tuple(row for row in rows if row.labels[MODEL] in models)


class Failing(Sparing):
    """Does not answer what is asked seldom."""

    async def more(self, snapshot: Snapshot, readings: Collection[str], models: Collection[str]) -> Snapshot:
        await super().more(snapshot, readings, models)
        message = "nobody answers"
        raise ObservationError(message)


def seen(
    source: MetricsSource, at: float, policy: SLOPolicy = OWN, fleet: FleetSource | None = None
) -> ModelObservation:
    observer = ClusterObserver((policy,), source, fleet or observing.one_each())
    return asyncio.run(observer.observe(Instant(at))).models[policy.key]


def pages(prefill: Target, decode: Target, **others: Page) -> Mapping[Target, Page]:
    """Return a prefill pod and a decode pod of steady load, beside others by name."""
    return {
        prefill: lambda s: engine(s, Role.PREFILL, 2.0),
        decode: lambda s: engine(s, Role.DECODE, 2.0),
        **{target(name, "decode"): page for name, page in others.items()},
    }


def labelled(**others: Page) -> MemorySource:
    return observing.filled(WINDOWS, pages(target("p0", "prefill"), target("d0", "decode"), **others), UNTIL)


@pytest.mark.parametrize("source", ["auto", "vllm"])
@pytest.mark.parametrize("fast", [30.0, 120.0])
def test_what_is_left_out_changes_nothing_on_the_recording(source: str, fast: float) -> None:
    recording = load_recording(observing.RECORDING)
    whole = recording.source(Windows(fast=Seconds(fast)))
    policy = observing.policy(*observing.BY_FAIRNESS, metrics=observing.metrics(source))
    for at in itertools.takewhile(lambda at: at < recording.end + 40.0, itertools.count(recording.start - 5.0, 25.0)):
        left, right = seen(whole, at, policy), seen(Sparing(whole), at, policy)
        assert observing.differences(left, right, relative=1e-12) == []


def test_with_a_picker_nothing_seldom_is_asked_under_load() -> None:
    recording = load_recording(observing.RECORDING)
    source = Sparing(recording.source(Windows()))
    model = seen(source, 1795372160.0, observing.policy(*observing.BY_FAIRNESS))
    assert "itl" in model.loads["reasoning"].inferred, "the engines' sums were needed"
    assert source.asked == set()


def test_without_a_picker_lengths_are_asked_and_waits_come_from_the_sums() -> None:
    source = Sparing(labelled())
    load = seen(source, UNTIL).loads["default"]
    assert is_present(load.ttft)
    assert is_present(load.itl)
    assert source.asked == LENGTHS


def test_a_stray_pod_of_the_model_does_not_count() -> None:
    """It serves the model too, slowly, and no variant owns it: sums over the model hold its share."""
    crowded = labelled(stray=lambda s: engine(s, Role.DECODE, 2.0).replace('le="0.025"', 'le="2.5"'))
    source = Sparing(crowded)
    assert observing.differences(seen(labelled(), UNTIL), seen(source, UNTIL)) == []
    assert source.asked == LENGTHS | {"engine_itl_bucket"}


def test_without_role_labels_prefill_and_decode_are_told_apart_all_the_same() -> None:
    plain = observing.filled(WINDOWS, pages(target("p0"), target("d0")), UNTIL)
    source = Sparing(plain)
    assert observing.differences(seen(labelled(), UNTIL), seen(source, UNTIL)) == []
    assert source.asked == LENGTHS | {"engine_ttft_bucket"}, "decode has no part in ITL that prefill shares"


def test_a_silent_pod_asks_for_nothing() -> None:
    fleet = observing.Fleet(
        OWN.key,
        {
            "prefill": observing.pods("prefill", "p0"),
            "decode": observing.pods("decode", "d0", "d1", since=UNTIL - 10.0),
        },
    )
    source = Sparing(labelled())
    assert isinstance(seen(source, UNTIL, fleet=fleet).engines["d0"].queue_mean_s, float)
    assert not source.asked & {"prefix_hits", *WAITS}


def test_no_answer_to_what_is_seldom_leaves_the_rest() -> None:
    source = Failing(labelled())
    model = seen(source, UNTIL)
    load = model.loads["default"]
    assert is_present(load.requests_per_second)
    assert isinstance(load.prompt_tokens, Missing)
    assert load.prompt_tokens.reason is GapReason.UNREACHABLE
    assert is_present(model.engines["d0"].itl_mean_s)
