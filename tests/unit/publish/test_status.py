"""Status and conditions of a policy, read off ticks."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from autoscaler.controller import blind
from autoscaler.domain.membership import Membership
from autoscaler.domain.observation import ModelObservation, Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.policy import Budget, Mode, Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.record import Result, Step, StepFailure, TickRecord
from autoscaler.domain.signal import Gap, GapReason, Missing
from autoscaler.domain.units import Instant, after
from autoscaler.publish import conditions, status
from autoscaler.publish.status_schema import ConditionReason, ConditionType, PolicyStatus
from tests import planning, ticks
from tests.planning import NOW

AUTO = replace(planning.policy(), mode=Mode.AUTO)
TIGHT = replace(AUTO, budget=Budget((("H200-SXM", 4),)))
POOL = replace(AUTO, scheduler=Scheduler(SchedulerKind.INFERENCE_POOL, "pool"))


def lost(reason: GapReason, detail: str = "") -> Missing:
    return Missing(reason, NOW, detail)


def seen(**changes: Any) -> ModelObservation:  # noqa: ANN401 - fields of an observation
    return ticks.observed(AUTO, **changes)


def without(field: str, reason: GapReason) -> ModelObservation:
    gap: dict[str, Any] = {field: lost(reason)}
    loads = {name: replace(load, **gap) for name, load in seen().loads.items()}
    return seen(loads=MappingProxyType(loads))


def fleetless(detail: str) -> ModelObservation:
    missing = lost(GapReason.UNREACHABLE, detail)
    return seen(fleet=MappingProxyType({variant.name: missing for variant in AUTO.variants}))


def listing(*pods: str) -> ModelObservation:
    return seen(membership=Membership({"epp": frozenset(pods)}))


ALL_PODS = ("prefill-0", "prefill-1", "decode-0", "decode-1")
HELD = Reason(Code.HELD_ON_GAP, {"signal": "load", "gap": "stale"})
CUT = Reason(Code.OVER_BUDGET, {"from": 5, "to": 2})
PAUSED = Reason(Code.PAUSED)
BLIND = TickRecord(
    Observation(NOW, gaps=(Gap("observation", "", lost(GapReason.UNREACHABLE, "no answer")),)),
    ticks.tick(AUTO).plan.__class__(NOW),
)


@pytest.mark.parametrize(
    ("record", "policy", "kind", "expected"),
    [
        pytest.param(ticks.tick(AUTO), AUTO, "Ready", "True AsWanted", id="all is well"),
        pytest.param(ticks.tick(AUTO), AUTO, "MetricsAvailable", "True SeriesFresh", id="fresh"),
        pytest.param(
            ticks.tick(AUTO, model=without("ttft", GapReason.STALE)),
            AUTO,
            "MetricsAvailable",
            "False SeriesStale: ttft of profile rag is stale since 1970-01-12T13:46:40Z; and 1 more",
            id="stale",
        ),
        pytest.param(
            ticks.tick(AUTO, model=without("itl", GapReason.NOT_A_NUMBER)),
            AUTO,
            "MetricsAvailable",
            "True SeriesFresh",
            id="nothing happened",
        ),
        pytest.param(
            ticks.tick(AUTO, model=without("queued_requests", GapReason.ABSENT)),
            AUTO,
            "MetricsAvailable",
            "True SeriesFresh",
            id="no flow control",
        ),
        pytest.param(
            ticks.tick(AUTO, model=without("ttft", GapReason.ABSENT)), AUTO, "Ready", "False MetricsMissing", id="blind"
        ),
        pytest.param(BLIND, AUTO, "MetricsAvailable", "False SourceUnreachable", id="nobody answers"),
        pytest.param(BLIND, AUTO, "AbleToScale", "Unknown NotObserved", id="not observed"),
        pytest.param(ticks.tick(AUTO), AUTO, "AbleToScale", "True Writable", id="auto"),
        pytest.param(ticks.tick(AUTO), planning.policy(), "AbleToScale", "True RecommendOnly", id="recommend"),
        pytest.param(
            ticks.tick(AUTO, model=fleetless('forbidden: grant verb "list" on "pods"')),
            AUTO,
            "AbleToScale",
            'False WorkloadUnknown: replicas of prefill: forbidden: grant verb "list" on "pods"',
            id="a verb is missing",
        ),
        pytest.param(ticks.tick(AUTO, model=seen(paused=True)), AUTO, "AbleToScale", "False Paused", id="paused"),
        pytest.param(
            ticks.tick(AUTO, model=seen(foreign={"decode": "HPA d sizes it"})),
            AUTO,
            "AbleToScale",
            "False ForeignWriter: decode: HPA d sizes it",
            id="another writer",
        ),
        *(
            pytest.param(
                ticks.tick(AUTO, wanted=3, result=result, detail="so"), AUTO, "AbleToScale", expected, id=result
            )
            for result, expected in (
                (Result.CONFLICT, "False WriteConflict: prefill: so"),
                (Result.REFUSED, "False WriteRefused: prefill: so"),
                (Result.FAILED, "False WriteFailed: prefill: so"),
                (Result.DONE, "True Writable"),
                (Result.DRY_RUN, "True Writable"),
            )
        ),
        pytest.param(ticks.tick(AUTO), AUTO, "WithinBudget", "True NoBudget", id="no budget"),
        pytest.param(ticks.tick(TIGHT), TIGHT, "WithinBudget", "True BudgetSuffices", id="budget suffices"),
        pytest.param(ticks.tick(TIGHT, reasons=(CUT,)), TIGHT, "WithinBudget", "False BudgetShort", id="budget short"),
        pytest.param(ticks.tick(AUTO, reasons=(HELD,)), AUTO, "RecommendationProvided", "False Held", id="held"),
        pytest.param(ticks.tick(AUTO, reasons=(PAUSED,)), AUTO, "RecommendationProvided", "False Paused", id="no wish"),
        pytest.param(ticks.tick(AUTO), AUTO, "RecommendationProvided", "True Decided", id="decided"),
        pytest.param(
            TickRecord(blind(Instant(1000.0)), Plan(Instant(1000.0))),
            AUTO,
            "RecommendationProvided",
            "False Held: held: observation is unreachable since 1970-01-01T00:16:40Z",
            id="held blindly",
        ),
        pytest.param(ticks.tick(AUTO), AUTO, "SchedulerInSync", "True NotManaged", id="no picker"),
        pytest.param(ticks.tick(POOL), POOL, "SchedulerInSync", "Unknown NotConfirmed", id="no picker is read"),
        pytest.param(ticks.tick(POOL, model=listing(*ALL_PODS)), POOL, "SchedulerInSync", "True InSync", id="in sync"),
        pytest.param(
            ticks.tick(POOL, model=listing(*ALL_PODS[1:])),
            POOL,
            "SchedulerInSync",
            "False OutOfSync: prefill-0 should be listed and is not",
            id="out of sync",
        ),
        pytest.param(
            replace(ticks.tick(AUTO), failures=(StepFailure(Step.DECIDE, "ValueError", "why"),)),
            AUTO,
            "Ready",
            "False StepFailed: decide: why",
            id="a step failed",
        ),
        pytest.param(
            replace(ticks.tick(AUTO), failures=(StepFailure(Step.PUBLISH, "KubeWriteError", "why"),)),
            AUTO,
            "Ready",
            "True AsWanted",
            id="publishing failed before",
        ),
    ],
)
def test_a_condition_tells_what_is(record: TickRecord, policy: SLOPolicy, kind: str, expected: str) -> None:
    found = conditions.of_tick(record, policy)[ConditionType(kind)]
    told = f"{found.status} {found.reason}: {found.message}"
    assert told.startswith(expected)
    if ":" in expected:
        assert told == expected


def test_all_reasons_are_documented() -> None:
    page = (planning.__file__.rpartition("/tests/")[0]) + "/docs/reference/conditions.md"
    with open(page, encoding="utf-8") as file:  # noqa: PTH123 - a path in text
        text = file.read()
    assert not [reason for reason in ConditionReason if f"`{reason.value}`" not in text]
    assert not [kind for kind in ConditionType if f"## {kind.value}" not in text]


def test_a_transition_is_dated_and_what_goes_on_is_not() -> None:
    later, latest = after(NOW, planning.SOON), after(NOW, planning.WINDOW)
    first = status.of_tick(ticks.tick(AUTO), AUTO, 1, PolicyStatus())
    bad = ticks.tick(AUTO, model=without("ttft", GapReason.STALE), at=later)
    second = status.of_tick(bad, AUTO, 1, first)
    third = status.of_tick(replace(bad, observation=replace(bad.observation, at=latest)), AUTO, 1, second)
    dates = [{each.type: each.last_transition_time for each in said.conditions} for said in (first, second, third)]
    assert dates[0][ConditionType.READY] == conditions.moment(NOW)
    assert dates[1][ConditionType.READY] == dates[2][ConditionType.READY] == conditions.moment(later)
    assert dates[2][ConditionType.WITHIN_BUDGET] == conditions.moment(NOW)


def test_what_is_not_known_is_absent_and_never_zero() -> None:
    said = status.of_tick(ticks.tick(AUTO, model=fleetless("")), AUTO, 1, PolicyStatus())
    assert [(variant.requested, variant.ready) for variant in said.variants] == [(None, None)] * 2
    assert (said.summary.prefill, said.summary.cost_per_hour) == ("?/2", None)
    assert "requested" not in status.written(said)["variants"][0]


def test_the_columns_count_and_price_what_is_there() -> None:
    model = ticks.observed(AUTO, ready=1, requested=2)
    said = status.of_tick(ticks.tick(AUTO, model=model, wanted=3), AUTO, 1, PolicyStatus())
    assert (said.summary.prefill, said.summary.decode, said.summary.unified) == ("1/3", "1/3", None)
    assert (said.summary.attainment, said.summary.cost_per_hour) == ("97.0%", "15.20")


def test_a_decision_is_told_once_however_often_a_dry_run_repeats_it() -> None:
    said = PolicyStatus()
    for count in (3, 3, 3, 4, 3):
        said = status.of_tick(ticks.tick(AUTO, wanted=count, result=Result.DRY_RUN), AUTO, 1, said)
    assert [decision.wanted for decision in said.decisions] == [3, 4, 3]
    assert said.decisions[0].message == "with fewer, rag would miss its TTFT limit of 3 s"


def test_decisions_are_bounded() -> None:
    said = PolicyStatus()
    for count in range(3, 40):
        said = status.of_tick(ticks.tick(AUTO, wanted=count, result=Result.DONE), AUTO, 1, said)
    assert [decision.wanted for decision in said.decisions] == list(range(39, 29, -1))


def test_a_status_survives_the_resource() -> None:
    said = status.of_tick(ticks.tick(AUTO, wanted=3, result=Result.DONE), AUTO, 7, PolicyStatus())
    assert status.read(status.written(said)) == said
    assert status.read({"of": "another version"}) == PolicyStatus()


def test_a_refused_policy_says_why_and_keeps_its_past() -> None:
    before = status.of_tick(ticks.tick(AUTO, wanted=3, result=Result.DONE), AUTO, 1, PolicyStatus())
    said = status.of_refused(["spec.model: is missing; add it"], Instant(NOW + 9), 2, before)
    ready = next(each for each in said.conditions if each.type is ConditionType.READY)
    assert (ready.reason, ready.message) == (ConditionReason.POLICY_INVALID, "spec.model: is missing; add it")
    assert said.decisions == before.decisions
    assert said.variants == ()
