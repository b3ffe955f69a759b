"""A dry run reports every action and does none."""

import asyncio

from autoscaler.act.dry_run import DryRunActuator
from autoscaler.domain.plan import Announce, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.record import Result

REF = VariantRef("llm/m", "decode")


def test_every_action_is_reported_in_order_and_not_done() -> None:
    actions = (Withdraw(REF, "a"), Readmit(REF, "b"), Scale(REF, 3, 4), Announce(REF, "c"))
    outcome = asyncio.run(DryRunActuator().apply(actions))
    assert [result.action for result in outcome.results] == list(actions)
    assert {result.result for result in outcome.results} == {Result.DRY_RUN}
