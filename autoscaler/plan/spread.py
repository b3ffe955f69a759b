"""Roles that are spread over their variants: what that changes and costs, and where it does not hold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoscaler.domain.reason import Code, Reason
from autoscaler.domain.units import Seconds
from autoscaler.plan import allocation
from autoscaler.plan.allocation import Option
from autoscaler.plan.guardrails import Proposals


def explained(options: Sequence[Option], counts: Sequence[int], proposals: Proposals) -> Proposals:
    """Return the proposals of a role with what spread changes in its mix; ``uncapped`` is what load alone asks for."""
    if not any(option.spread for option in options):
        return proposals
    unspread = allocation.cheapest([replace(option, spread=0.0) for option in options])
    rows = [*zip(options, unspread, counts, strict=True)]
    cost = sum((to - plain) * option.variant.cost_per_replica_hour for option, plain, to in rows)
    left = min(1.0, *allocation.kept(options, counts, _settled(options)))
    amended = dict(proposals)
    for option, plain, to in rows:
        if to != plain:
            reason = Reason(Code.SPREAD, {"from": plain, "to": to, "left": left, "more_per_hour": cost})
            amended[option.variant.name] = replace(amended[option.variant.name], uncapped=plain).because(reason)
    return amended


def watched(pools: Sequence[Sequence[Option]], proposals: Proposals) -> Proposals:
    """Return the proposals with a word where more is left to one variant than the policy says.

    Maxima, budgets, damping and replicas that do not come stand above spread.
    """
    watched = dict(proposals)
    for options in pools:
        targets = {option.variant.name: proposals[option.variant.name].target for option in options}
        for name, reason in _concentrated(options, targets).items():
            watched[name] = watched[name].because(reason)
    return watched


def _concentrated(options: Sequence[Option], targets: Mapping[str, int]) -> dict[str, Reason]:
    """Return what to say of each variant without which the others do less than they should."""
    if len(options) < 2 or not allocation.due_of_others(options, _settled(options)):
        return {}
    counts = [targets[option.variant.name] for option in options]
    rows = zip(options, counts, allocation.kept(options, counts, _settled(options)), strict=True)
    return {
        option.variant.name: Reason(Code.CONCENTRATED, {"left": left, "due": option.spread})
        for option, count, left in rows
        if count and option.spread - left > 1.0 - allocation.ENOUGH
    }


def _settled(options: Sequence[Option]) -> Seconds:
    """Return the horizon by which all that can be counted on has come."""
    return max(option.lead for option in options)
