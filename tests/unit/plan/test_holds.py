"""What forbids a change, and what forbids only a removal: by table."""

from dataclasses import replace

import pytest

from autoscaler.domain.fleet import Workload
from autoscaler.domain.plan import VariantPlan
from autoscaler.domain.policy import Mode
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.plan import holds
from autoscaler.plan.situation import Situation
from tests import planning

GONE = Missing(GapReason.STALE, Instant(planning.NOW - 90))
RAG = planning.demand("rag", 2.0, prompt=3000, output=64)
CHAT = planning.demand("default", 4.0, prompt=800, output=200)


def situation(**known: object) -> Situation:
    demands = {"rag": known.pop("rag", RAG), "default": known.pop("chat", CHAT)}
    fleet: dict[str, Signal[Workload]] = {
        "prefill": planning.workload("prefill", 4),
        "decode": planning.workload("decode", 4),
    }
    return planning.situation(planning.policy(), demands, fleet, **known)  # type: ignore[arg-type]


ENGINES = {f"{role}-{n}": planning.engine(f"{role}-{n}") for role in ("prefill", "decode") for n in range(4)}


@pytest.mark.parametrize(
    ("known", "up", "down"),
    [
        pytest.param({}, None, None, id="all is known"),
        pytest.param({"paused": True}, Code.PAUSED, Code.PAUSED, id="paused"),
        pytest.param({"paused_scale_down": True}, None, Code.HELD_SCALE_DOWN, id="removals paused"),
        pytest.param({"rag": GONE}, None, Code.HELD_ON_GAP, id="one profile is not seen"),
        pytest.param({"rag": GONE, "chat": GONE}, Code.HELD_ON_GAP, Code.HELD_ON_GAP, id="no profile is seen"),
        pytest.param(
            {"engines": {k: v for k, v in ENGINES.items() if k != "prefill-3"}},
            None,
            Code.HELD_ON_GAP,
            id="an engine is silent",
        ),
        pytest.param(
            {"engines": ENGINES | {"prefill-3": planning.engine("prefill-3", running=GONE)}},
            None,
            Code.HELD_ON_GAP,
            id="an engine does not say what it runs",
        ),
        pytest.param({"engines": {k: v for k, v in ENGINES.items() if k != "decode-3"}}, None, None, id="other pool"),
    ],
)
def test_holds(known: dict[str, object], up: Code | None, down: Code | None) -> None:
    for target, code in ((6, up), (2, down)):
        result = holds.held(situation(**known), "prefill", VariantPlan.of(target))
        assert result.target == (target if code is None else 4)
        assert [reason.code for reason in result.reasons] == ([] if code is None else [code])
        assert holds.is_held(result) == (code is not None)


def test_a_count_that_is_not_known_is_not_changed() -> None:
    seen = situation()
    blind = replace(seen, observed=replace(seen.observed, fleet={"prefill": GONE, "decode": planning.workload("d", 1)}))
    assert [r.code for r in holds.held(blind, "prefill", VariantPlan.of(9)).reasons] == [Code.HELD_ON_GAP]


@pytest.mark.parametrize(("mode", "target"), [(Mode.AUTO, 4), (Mode.RECOMMEND, 6)])
def test_another_writer_is_respected_where_we_would_write_too(mode: Mode, target: int) -> None:
    seen = situation()
    observed = replace(seen.observed, foreign={"prefill": "HorizontalPodAutoscaler/x"})
    shared = replace(seen, policy=replace(seen.policy, mode=mode), observed=observed)
    assert holds.held(shared, "prefill", VariantPlan.of(6)).target == target
