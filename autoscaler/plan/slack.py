"""Replicas leave only where those that stay have something to spare: who leaves at the edge is wanted back at once.

A need moves by parts of replicas, counts by whole ones. Where a need has just come to lie below a whole number, the
next breath of the load takes it above again; by then a replica has left, and the next one takes a whole start.
"""

from autoscaler.domain.reason import Code, Reason
from autoscaler.plan.budgets import Draft
from autoscaler.plan.guardrails import Proposals


def kept(draft: Draft) -> Proposals:
    """Return the proposals of a draft, with one replica more where what load asks for has next to nothing to spare.

    A role that a mix of variants serves is left as it is: what leaving costs is weighed there.
    """
    proposals = dict(draft.proposals)
    for options in draft.pools:
        serving = [option for option in options if proposals[option.variant.name].target]
        for option in serving if len(serving) == 1 else ():
            name, wanted = option.variant.name, option.alone + option.losses
            if not option.spare and proposals[name].target == wanted < option.requested:
                reason = Reason(Code.WITHIN_TOLERANCE, {"from": wanted, "to": wanted + 1})
                proposals[name] = proposals[name].amended(wanted + 1, reason)
    return proposals
