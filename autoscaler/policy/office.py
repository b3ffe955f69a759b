"""Which version of a policy acts while its newest cannot be used: the last that could, and never more than was meant.

A slip of an editor stops no pool. Pure: who remembers former versions, and who knows engines, is for the caller.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autoscaler.domain.policy import Mode, SLOPolicy, Written
from autoscaler.errors import InputError, PolicyError
from autoscaler.policy.load import parse_policy
from autoscaler.policy.schema import API_VERSION, KIND

STANDS_IN = "meanwhile its last version that could be used is decided for"
STANDS_IN_CAREFULLY = f"{STANDS_IN}, in mode Recommend, as the newest does not say Auto"


@dataclass(frozen=True, slots=True)
class Former:
    """What is remembered of a policy: the version decided for until now, and how its resource said it.

    Where only ``written`` is there, a status says that another process decided for it.
    """

    policy: SLOPolicy | None = None
    written: Written | None = None


@dataclass(frozen=True, slots=True)
class StandIn:
    """The version that stands in for one that cannot be used, if there is one; ``told``: what is to be said of it."""

    policy: SLOPolicy | None = None
    written: Written | None = None
    told: tuple[str, ...] = ()


def stand_in(
    key: str, former: Former, others: Sequence[SLOPolicy], check: Callable[[SLOPolicy], object], *, auto: bool
) -> StandIn:
    """Return the former version of a policy whose newest cannot be used.

    Not where another policy has been given its workloads meanwhile; and it acts only where the newest version says so,
    as far as it can be read: ``mode: Recommend`` beside a slip is obeyed.

    Args:
        key: of the policy.
        former: what is remembered of it.
        others: the policies that are decided for.
        check: raises InputError where nothing is known of a policy's engines.
        auto: whether the newest version says mode Auto.
    """
    policy = former.policy
    if former.written is not None:  # also in place of what is remembered: that may have been kept from acting
        try:
            policy = of_written(key, former.written)
            check(policy)
        except InputError as error:
            return StandIn(told=(str(error),))
    taken = {variant.target for other in others for variant in other.variants}
    if policy is None or taken & {variant.target for variant in policy.variants}:
        return StandIn()
    if policy.mode is Mode.AUTO and not auto:
        return StandIn(replace(policy, mode=Mode.RECOMMEND), former.written, (STANDS_IN_CAREFULLY,))
    return StandIn(policy, former.written, (STANDS_IN,))


def of_written(key: str, version: Written) -> SLOPolicy:
    """Return the policy that a version kept in a status means.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    namespace, _, name = key.partition("/")
    try:
        spec = json.loads(version.spec)
    except (ValueError, RecursionError) as error:
        raise PolicyError(["is not JSON; repair the spec itself"], "status.inOffice.spec") from error
    metadata = {"name": name, "namespace": namespace}
    loaded = parse_policy(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}, "status.inOffice"
    )
    (policy,) = loaded.policies
    return policy
