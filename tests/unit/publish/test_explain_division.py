"""``explain`` where unified and disaggregated replicas divide the load: the share, and what one side would cost."""

from typing import Any

from autoscaler.cli.explain import page
from autoscaler.domain.observation import Observation
from autoscaler.domain.plan import Plan
from autoscaler.domain.record import Outcome, TickRecord
from autoscaler.publish import document, explanation
from autoscaler.publish.explanation import Recorded
from tests import planning
from tests.unit.plan import test_division


def test_the_way_that_was_not_chosen_is_told_with_its_price() -> None:
    chosen = test_division.policy(price=2.0, most=3)
    plan, situation = test_division.facing(120.0, chosen)
    record = TickRecord(
        Observation(planning.NOW, {chosen.key: situation.observed}),
        Plan(planning.NOW, {chosen.key: plan}),
        Outcome(()),
    )
    one: Any = explanation.explained(Recorded(document.tick(record), {}), chosen.key, "unified")
    alone, *_ = one["alternatives"]
    assert alone["instead"] == "prefill and decode alone"
    assert alone["more_per_hour"] > 0
    text = "\n".join(page(one))
    assert f"prefill and decode alone: {alone['cost_per_hour']:.2f} per hour, +" in text
    assert "divide the load" in text
