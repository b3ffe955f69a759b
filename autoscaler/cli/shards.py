"""Several controllers share the namespaces of one cluster: each decides for its own, under a Lease of its own.

Whose a namespace is follows from its name alone, so nobody has to agree on anything. Policies of a namespace stay
together: they share series (a query reads whole namespaces), workloads, and budgets.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from autoscaler.domain.policy import SLOPolicy
from autoscaler.errors import InputError
from autoscaler.observe.policies import Policies

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several controllers, counted from 1."""

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, namespace: str) -> bool:
        """Tell whether the policies of a namespace are this controller's: of exactly one it is."""
        return int.from_bytes(hashlib.sha256(namespace.encode()).digest()[:8]) % self.of == self.number - 1

    def own(self, policies: Sequence[SLOPolicy]) -> tuple[SLOPolicy, ...]:
        """Return the policies that are this controller's."""
        return tuple(policy for policy in policies if self.has(policy.namespace))

    def part(self, policies: Policies) -> Policies:
        """Return what is this controller's of all policies, told apart after all have been judged together."""
        return Policies(
            self.own(policies.usable),
            self._mine(policies.refused),
            self._mine(policies.written),
            frozenset(filter(self._has_key, policies.auto)),
            self._mine(policies.in_office),
        )

    def _mine(self, by_key: Mapping[str, T]) -> Mapping[str, T]:
        return MappingProxyType({key: value for key, value in by_key.items() if self._has_key(key)})

    def _has_key(self, key: str) -> bool:
        return self.has(key.partition("/")[0])

    def torn(self, policies: Sequence[SLOPolicy]) -> tuple[str, ...]:
        """Return the names of shared budgets that other controllers use too: each takes all of such a budget."""
        mine = {policy.budget.shared_as for policy in self.own(policies)}
        others = {policy.budget.shared_as for policy in policies if not self.has(policy.namespace)}
        return tuple(sorted((mine & others) - {""}))

    def lease(self, lease: tuple[str, str] | None) -> tuple[str, str] | None:
        """Return the Lease of this shard's leader, from that of an undivided controller."""
        if lease is None or self.of == 1:
            return lease
        namespace, name = lease
        return namespace, f"{name}-{self.number}-of-{self.of}"


def parsed(text: str) -> Shard:
    """Return the shard that ``--shard I/N`` names.

    Raises:
        InputError: it names none.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", text)
    if found is None or int(found[1]) > int(found[2]):
        msg = f"--shard: {text!r} is no shard; write 1/4 for the first of four"
        raise InputError(msg)
    return Shard(int(found[1]), int(found[2]))
