"""Counts for an HPA: each step of a drain, held where nothing is decided, absent where nothing is known."""

import asyncio
from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from autoscaler.act.metric import MetricActuator
from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.plan import Action, Plan, Readmit, Scale, VariantRef
from autoscaler.domain.policy import Mode
from autoscaler.domain.record import Result, TickRecord
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.publish.counts import Counts
from tests import planning

REF = VariantRef("llm/model", "decode")


def shown(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if line.startswith("wva_desired_replicas{"))
    return {labels.partition('variant_name="')[2].partition('"')[0]: float(value) for labels, value in rows}


def record(*actions: Action, known: bool = True) -> TickRecord:
    gone = Missing(GapReason.STALE, planning.NOW)
    fleet = {"prefill": planning.workload("prefill", 2), "decode": planning.workload("decode", 4) if known else gone}
    models = {"llm/model": ModelObservation("llm/model", {}, fleet, {}, 0.0)}
    outcome = asyncio.run(MetricActuator().apply(actions))
    return TickRecord(Observation(planning.NOW, models), Plan(planning.NOW), outcome)


def test_counts_follow_decisions_hold_without_one_and_vanish_without_knowledge() -> None:
    registry = CollectorRegistry()
    counts = Counts(registry)
    counts.follow([replace(planning.policy(), mode=Mode.AUTO)])
    asyncio.run(counts.publish(record(Scale(REF, 3, 4))))
    assert shown(registry) == {"prefill": 2.0, "decode": 3.0}
    asyncio.run(counts.publish(record()))
    assert shown(registry) == {"prefill": 2.0, "decode": 4.0}
    asyncio.run(counts.publish(record(known=False)))
    assert shown(registry) == {"prefill": 2.0}


def test_in_mode_recommend_nothing_is_handed_to_an_autoscaler() -> None:
    registry = CollectorRegistry()
    counts = Counts(registry)
    counts.follow([planning.policy()])
    asyncio.run(counts.publish(record(Scale(REF, 3, 4))))
    assert shown(registry) == {}


def test_the_metric_actuator_only_scales() -> None:
    results = record(Scale(REF, 3, 4), Readmit(REF, "a")).outcome.results
    assert [result.result for result in results] == [Result.DONE, Result.REFUSED]
