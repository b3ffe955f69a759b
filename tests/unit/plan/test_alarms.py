"""What more replicas would not mend: by table."""

from dataclasses import replace

import pytest

from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.plan import alarms
from autoscaler.plan.situation import Situation
from tests import planning

ABSENT = Missing(GapReason.ABSENT, planning.NOW)


def situation(kv: tuple[Signal[float], ...], computed: Signal[float], preemptions: Signal[float] = 0.0) -> Situation:
    fleet = {"prefill": planning.workload("prefill", 1), "decode": planning.workload("decode", len(kv))}
    engines = {"prefill-0": planning.engine("prefill-0")} | {
        f"decode-{n}": replace(
            planning.engine(f"decode-{n}"),
            kv_use_ratio=use,
            prompt_tokens_per_second=1000.0,
            computed_prompt_tokens_per_second=computed,
            preemptions_per_second=preemptions,
        )
        for n, use in enumerate(kv)
    }
    return planning.situation(planning.policy(), {}, fleet, engines=engines)


@pytest.mark.parametrize(
    ("kv", "computed", "target", "code"),
    [
        pytest.param((0.5, 0.5, 0.5), 0.0, 9, None, id="all is well"),
        pytest.param((0.5, 0.5, 0.5), 150.0, 9, None, id="last blocks are computed on decode"),
        pytest.param((0.5, 0.5, 0.5), 900.0, 3, Code.HANDOVER_BROKEN, id="most prompts are"),
        pytest.param((0.5, 0.5, 0.5), ABSENT, 9, None, id="nothing is told"),
        pytest.param((0.1, 0.95, 0.1), 0.0, 9, Code.IMBALANCED, id="one full among idle ones"),
        pytest.param((0.1, 0.95, 0.8), 0.0, 9, None, id="most are busy"),
        pytest.param((0.1, 0.95), 0.0, 9, None, id="two say nothing"),
        pytest.param((0.1, 0.95, ABSENT), 0.0, 9, None, id="nor do two known of three"),
    ],
)
def test_alarms(kv: tuple[Signal[float], ...], computed: Signal[float], target: int, code: Code | None) -> None:
    wishes = {"prefill": VariantPlan.of(2), "decode": VariantPlan.of(9)}
    raised = alarms.raised(situation(kv, computed), wishes)
    assert raised["prefill"] == wishes["prefill"]
    assert raised["decode"].target == target
    assert [reason.code for reason in raised["decode"].reasons] == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("preemptions", "target"),
    [
        pytest.param(0.2, 9, id="what was preempted is computed again"),
        pytest.param(0.0, 3, id="nobody lacks memory"),
        pytest.param(ABSENT, 9, id="nothing is told of preemptions"),
    ],
)
def test_a_lack_of_memory_is_no_broken_hand_over(preemptions: Signal[float], target: int) -> None:
    wishes = {"prefill": VariantPlan.of(2), "decode": VariantPlan.of(9)}
    raised = alarms.raised(situation((0.9, 0.9, 0.9), 900.0, preemptions), wishes)
    assert raised["decode"].target == target
