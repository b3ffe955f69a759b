"""Log events: one canonical line a tick, and one for each thing that an operator should look at."""

import structlog

from autoscaler.domain.plan import ModelPlan
from autoscaler.domain.record import Result, TickRecord
from autoscaler.publish import document

log = structlog.get_logger("autoscaler")

MOST_GAPS = 20
"""Told one by one in a tick: where a source fails, every signal of every model does. The decision log has them all."""

NOTABLE = {Result.CONFLICT, Result.REFUSED, Result.FAILED}


class EventLog:
    """Writes a tick to the log."""

    async def publish(self, record: TickRecord) -> None:
        """Write the tick's canonical line, and warnings for what went wrong."""
        for failure in record.failures:
            log.error("step_failed", step=failure.step.value, kind=failure.kind, detail=failure.detail)
        gaps = record.observation.gaps
        for gap in gaps[:MOST_GAPS]:
            log.warning("signal_missing", policy=gap.policy, **document.gap(gap))
        if len(gaps) > MOST_GAPS:
            log.warning("signals_missing", all=len(gaps), told=MOST_GAPS)
        for result in record.outcome.results:
            if result.result in NOTABLE:
                log.warning(
                    "action_not_done",
                    result=result.result.value,
                    detail=result.detail,
                    **document.action(result.action),
                )
        log.info(
            "tick",
            at=record.observation.at,
            succeeded=record.succeeded,
            wanted={key: _wanted(model) for key, model in record.plan.models.items()},
            actions=[f"{type(item).__name__} {item.variant}" for item in record.plan.actions],
            seconds={step.value: round(seconds, 4) for step, seconds in record.step_seconds.items()},
        )


def _wanted(model: ModelPlan) -> dict[str, str]:
    return {
        name: f"{plan.target} {'+'.join(dict.fromkeys(reason.code.value for reason in plan.reasons))}"
        for name, plan in model.variants.items()
    }
