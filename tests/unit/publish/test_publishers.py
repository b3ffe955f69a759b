"""What the world is told of a tick: metrics without old values, log events, and several publishers as one."""

import asyncio
import json
from collections.abc import Sequence
from types import MappingProxyType

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan, Scale, VariantRef
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import ActionResult, Outcome, Result, Step, StepFailure, TickRecord
from autoscaler.domain.signal import Gap, GapReason, Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import AutoscalerError
from autoscaler.publish import document
from autoscaler.publish.events import EventLog
from autoscaler.publish.every import Every
from autoscaler.publish.metrics import OwnMetrics

KEY = "llm/qwen3-32b"
AT = Instant(1795372200.0)
BLIND = TickRecord(
    Observation(AT, gaps=(Gap("observation", "", Missing(GapReason.UNREACHABLE, AT, "no answer")),)),
    Plan(AT),
    step_seconds=MappingProxyType({Step.OBSERVE: Seconds(10.0)}),
    failures=(StepFailure(Step.OBSERVE, "TimeoutError", "took too long"),),
)


def published(policy: SLOPolicy, records: Sequence[TickRecord]) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the series after some ticks, by name and label values in the order of the labels' names."""
    registry = CollectorRegistry()
    metrics = OwnMetrics(registry, [policy])
    for record in records:
        asyncio.run(metrics.publish(record))
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_a_tick_is_told_whole(policy: SLOPolicy, records: list[TickRecord]) -> None:
    last = records[-1]
    series = published(policy, [last])
    for name, plan in last.plan.models[KEY].variants.items():
        role = policy.variant(name).role.value
        assert series["autoscaler_wanted_replicas", (KEY, role, name)] == plan.target
        assert series["autoscaler_uncapped_replicas", (KEY, role, name)] == plan.uncapped
        assert series["autoscaler_requested_replicas", (KEY, role, name)] == 1
        assert series["autoscaler_ready_replicas", (KEY, role, name)] == 1
    for name, outlook in last.plan.models[KEY].outlook.items():
        assert series["autoscaler_demand_requests_per_second", (KEY, name)] == outlook.requests_per_second
    assert 0.0 <= series["autoscaler_ttft_attainment_ratio", (KEY, "rag")] <= 1.0
    assert series["autoscaler_attainment_target_ratio", (KEY, "rag")] == policy.profile("rag").slo.attainment
    assert series["autoscaler_ticks_total", ("true",)] == 1
    assert series["autoscaler_last_success_timestamp_seconds", ()] == last.observation.at
    assert {labels[0] for name, labels in series if name == "autoscaler_step_seconds_count"} >= {"observe", "decide"}


def test_a_blind_tick_leaves_no_old_value_behind(policy: SLOPolicy, records: list[TickRecord]) -> None:
    series = published(policy, [records[-1], BLIND])
    left = {name for name, labels in series if KEY in labels}
    assert left == {"autoscaler_attainment_target_ratio"}, "what the policy says, whatever is seen"
    assert series["autoscaler_missing_signals", ("unreachable",)] == 1
    assert series["autoscaler_step_errors_total", ("TimeoutError", "observe")] == 1
    assert (series["autoscaler_ticks_total", ("true",)], series["autoscaler_ticks_total", ("false",)]) == (1, 1)
    assert series["autoscaler_last_success_timestamp_seconds", ()] == records[-1].observation.at


def test_what_was_not_known_for_a_tick_is_told_again(policy: SLOPolicy, records: list[TickRecord]) -> None:
    before, again = published(policy, [records[-1]]), published(policy, [records[-1], BLIND, records[-1]])
    of_policy = {key: value for key, value in before.items() if KEY in key[1]}
    assert {key: value for key, value in again.items() if KEY in key[1]} == of_policy
    assert len(of_policy) > 10


def test_gaps_that_are_over_are_gone(policy: SLOPolicy, records: list[TickRecord]) -> None:
    series = published(policy, [BLIND, records[-1]])
    assert not [name for name, _ in series if name == "autoscaler_missing_signals"]


def test_a_policy_that_is_gone_takes_its_series_along(policy: SLOPolicy, records: list[TickRecord]) -> None:
    registry = CollectorRegistry()
    metrics = OwnMetrics(registry, [policy])
    asyncio.run(metrics.publish(records[-1]))
    metrics.follow([])
    asyncio.run(metrics.publish(TickRecord(Observation(AT), Plan(AT))))
    assert KEY not in generate_latest(registry).decode()


def test_a_decision_has_the_documented_keys_in_their_order(policy: SLOPolicy, records: list[TickRecord]) -> None:
    decision = json.loads(json.dumps(document.decision(records[-1], policy), allow_nan=False))
    assert list(decision) == ["at", "policy", "mode", "variants", "actions", "demand", "gaps"]
    (prefill, _) = decision["variants"]
    assert list(prefill) == [
        *("name", "role", "requested", "ready", "wanted", "lower", "upper", "uncapped", "reasons"),
    ]  # fmt: skip
    assert list(prefill["reasons"][0]) == ["code", "message", "evidence"]
    assert list(decision["demand"][0]) == [
        *("profile", "requests_per_second", "uncached_prompt_tokens_per_second", "output_tokens_per_second"),
    ]  # fmt: skip


def test_a_decision_on_nothing_says_so_with_the_same_keys(policy: SLOPolicy) -> None:
    decision = document.decision(BLIND, policy)
    unknown = dict.fromkeys(("requested", "ready", "wanted", "lower", "upper", "uncapped"))
    assert decision == {
        "at": AT,
        "policy": KEY,
        "mode": "Recommend",
        "variants": [
            {"name": "prefill-h200", "role": "prefill", **unknown, "reasons": []},
            {"name": "decode-h200", "role": "decode", **unknown, "reasons": []},
        ],
        "actions": [],
        "demand": [],
        "gaps": [
            {"signal": "observation", "subject": "", "reason": "unreachable", "since": AT, "detail": "no answer"},
        ],
    }


@pytest.fixture
def _plain_log() -> None:
    structlog.reset_defaults()


@pytest.mark.usefixtures("_plain_log")
def test_one_event_a_tick_and_one_for_each_thing_to_look_at() -> None:
    ref = VariantRef(KEY, "decode-h200")
    results = tuple(
        ActionResult(Scale(ref, 3, 2), result, "why") for result in (Result.DONE, Result.CONFLICT, Result.REFUSED)
    )
    record = TickRecord(BLIND.observation, BLIND.plan, Outcome(results), BLIND.step_seconds, BLIND.failures)
    with capture_logs() as events:
        asyncio.run(EventLog().publish(record))
    assert [(event["event"], event["log_level"]) for event in events] == [
        ("step_failed", "error"),
        ("signal_missing", "warning"),
        ("action_not_done", "warning"),
        ("action_not_done", "warning"),
        ("tick", "info"),
    ]
    assert (events[-1]["succeeded"], events[-1]["seconds"]) == (False, {"observe": 10.0})
    assert (events[1]["reason"], events[2]["result"]) == ("unreachable", "conflict")


def test_one_publisher_that_fails_keeps_no_other_from_its_turn() -> None:
    told: list[str] = []

    async def good(_: TickRecord) -> None:
        told.append("good")

    async def full(_: TickRecord) -> None:
        message = "no space left"
        raise OSError(message)

    async def broken(_: TickRecord) -> None:
        message = "series"
        raise KeyError(message)

    with pytest.raises(AutoscalerError, match=r"^OSError: no space left; KeyError: 'series'$"):
        asyncio.run(Every([full, good, broken, good]).publish(BLIND))
    assert told == ["good", "good"]
    asyncio.run(Every([good]).publish(BLIND))


def test_metrics_tell_which_shard_speaks_and_keep_telling_it() -> None:
    registry = CollectorRegistry()
    own = OwnMetrics(registry, shard="2/3")
    asyncio.run(own.publish(BLIND))
    assert registry.get_sample_value("autoscaler_shard_info", {"shard": "2/3"}) == 1


def test_a_tick_that_misses_everything_is_told_in_twenty_lines_and_a_sum() -> None:
    gaps = tuple(Gap("ttft", f"{KEY}/{n}", Missing(GapReason.UNREACHABLE, AT, "no answer")) for n in range(500))
    with capture_logs() as lines:
        asyncio.run(EventLog().publish(TickRecord(Observation(AT, gaps=gaps), Plan(AT))))
    events = [line["event"] for line in lines]
    assert events.count("signal_missing") == 20
    (more,) = (line for line in lines if line["event"] == "signals_missing")
    assert (more["all"], more["told"]) == (500, 20)
