"""Membership in the endpoint picker: the annotations of a pod that decide it, our notes there, and what pickers list.

By rule R4 of the picker's contract with pods, the annotation ``llm-d.ai/active-ports`` (where absent, its legacy key)
lists the ports that serve; a list without any port withdraws the pod. Everything about a drain is noted on the pod.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.domain.units import Instant

ACTIVE_PORTS = "llm-d.ai/active-ports"
ACTIVE_PORTS_LEGACY = "inference.networking.k8s.io/active-ports"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

DRAIN_STARTED = "disagg-autoscaler.io/drain-started"  # RFC 3339, like all times in annotations
DRAIN_DEADLINE = "disagg-autoscaler.io/drain-deadline"
DRAIN_UNROUTED = "disagg-autoscaler.io/drain-unrouted"  # since when every picker is known to have dropped it
DRAIN_EMPTY = "disagg-autoscaler.io/drain-empty"  # since when it is known to hold no work
SAVED = "disagg-autoscaler.io/saved"  # JSON: what an operator had written under keys that a drain takes over
WARM_UP = "disagg-autoscaler.io/warm-up"  # e.g. 30s, in a pod template that withdraws its pods: a gate that we open

TAKEN = (ACTIVE_PORTS, ACTIVE_PORTS_LEGACY, DELETION_COST)
"""Keys of others that a drain takes over for its time."""

NOTES = (DRAIN_STARTED, DRAIN_DEADLINE, DRAIN_UNROUTED, DRAIN_EMPTY, SAVED)
"""Keys of our own."""

_LEADING_PORT = re.compile(r"\s*\d")


def withdrawn(annotations: Mapping[str, str]) -> bool:
    """Tell whether annotations keep the picker from every port of a pod."""
    ports = annotations.get(ACTIVE_PORTS, annotations.get(ACTIVE_PORTS_LEGACY))
    return ports is not None and not any(_LEADING_PORT.match(port) for port in ports.split(","))


@dataclass(frozen=True, slots=True)
class Drain:
    """The notes on a pod that is withdrawn, as they should be."""

    started: Instant
    deadline: Instant
    unrouted: Instant | None = None  # None: some picker may still send requests
    empty: Instant | None = None  # None: it may still hold work


@dataclass(frozen=True, slots=True)
class Membership:
    """Of which pods each picker replica has an endpoint, as their own metrics said in this tick."""

    pickers: Mapping[str, frozenset[str]]  # by picker replica

    def drops(self, pod: str) -> bool:
        """Tell whether no picker would send the pod anything."""
        return bool(self.pickers) and not any(pod in members for members in self.pickers.values())

    def lists(self, pod: str) -> bool:
        """Tell whether every picker would."""
        return bool(self.pickers) and all(pod in members for members in self.pickers.values())
