"""The endpoint picker by its rules: who is a member, what its metrics page says, whom it picks."""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]

NEW_KEY = "llm-d.ai/active-ports"
LEGACY_KEY = "inference.networking.k8s.io/active-ports"
ROLE = "llm-d.ai/role"

PREFILLS = frozenset({"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"})
DECODES = frozenset({"decode", "prefill-decode", "both", "encode-prefill-decode"})
SCRAPED_AFTER_S = 0.05  # a new endpoint shows 0 until its first scrape
COUNTED_EVERY_S = 5.0  # the count of ready endpoints: too rarely to verify anything by it


class Generation(Enum):
    """Which keys a picker honours (R4)."""

    NONE = ()
    LEGACY = (LEGACY_KEY,)
    BOTH = (NEW_KEY, LEGACY_KEY)


class NoEndpointsError(Exception):
    """The picker answers 503."""


@dataclass(frozen=True)
class Pool:
    """The spec of an InferencePool, or the flags of a picker in selector mode."""

    match_labels: Mapping[str, str]
    target_ports: Sequence[int] = (8000,)


def active_ports(annotations: Mapping[str, str], ports: Sequence[int], generation: Generation) -> list[int]:
    """Return the ports that serve: all without a key; the first key that is present decides, whatever it says (R4)."""
    key = next((key for key in generation.value if key in annotations), None)
    if key is None:
        return list(ports)
    items = (re.match(r"\s*(\d+)", item) for item in annotations[key].split(","))
    named = {int(found.group(1)) for found in items if found}
    return [port for port in ports if port in named]


def endpoints(pod: Json, pool: Pool, generation: Generation = Generation.BOTH) -> list[str]:
    """Return the endpoint ids of a pod: one per active port of a Ready pod that the pool selects (R1, R5)."""
    metadata = pod["metadata"]
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    selected = pool.match_labels.items() <= (metadata.get("labels") or {}).items()
    if not (selected and ready) or metadata.get("deletionTimestamp"):
        return []
    active = active_ports(metadata.get("annotations") or {}, pool.target_ports, generation)
    return [f"{metadata['name']}-rank-{n}" for n, port in enumerate(pool.target_ports) if port in active]


@dataclass
class Picker:
    """One replica. Fed by a watch: ``see`` and ``forget``; which pods it has is its own state (R8)."""

    pool: Pool
    name: str = "pool"
    generation: Generation = Generation.BOTH
    members: dict[str, tuple[list[str], str, float]] = field(default_factory=dict)  # pod: endpoints, role, since
    queues: dict[str, float] = field(default_factory=dict)  # by pod: as its engine reports
    counted: tuple[float, int] = (float("-inf"), 0)  # when the endpoints were last counted, and how many there were

    def see(self, pod: Json, now: float = 0.0) -> None:
        """Take in a pod as the watch tells it: an immediate reconcile (R2)."""
        name, found = pod["metadata"]["name"], endpoints(pod, self.pool, self.generation)
        if not found:
            self.members.pop(name, None)
            return
        since = self.members[name][2] if name in self.members else now
        self.members[name] = (found, (pod["metadata"].get("labels") or {}).get(ROLE, ""), since)

    def relist(self, pods: Iterable[Json], now: float = 0.0) -> None:
        """Take in all pods there are."""
        listed = list(pods)
        for gone in self.members.keys() - {pod["metadata"]["name"] for pod in listed}:
            self.forget(gone)
        for pod in listed:
            self.see(pod, now)

    def forget(self, pod: str) -> None:
        """Take in that a pod is gone."""
        self.members.pop(pod, None)

    def page(self, now: float = 0.0) -> str:
        """Return the metrics: one series per endpoint, by the new and the legacy name; none where there is none."""
        rows = [
            (endpoint, self.queues.get(pod, 0.0) if now - since >= SCRAPED_AFTER_S else 0.0)
            for pod, (found, _, since) in sorted(self.members.items())
            for endpoint in found
        ]
        if now - self.counted[0] >= COUNTED_EVERY_S:
            self.counted = (now, len(rows))
        lines = [
            "# TYPE llm_d_epp_ready_endpoints gauge",
            f'llm_d_epp_ready_endpoints{{name="{self.name}"}} {self.counted[1]}',
        ]
        for series, label in (
            ("inference_pool_per_pod_queue_size", "model_server_pod"),
            ("llm_d_epp_per_endpoint_queue_size", "model_server_endpoint"),
        ):
            lines += [f"# TYPE {series} gauge"] if rows else []
            lines += [f'{series}{{{label}="{endpoint}",name="{self.name}"}} {value:g}' for endpoint, value in rows]
        return "\n".join(lines) + "\n"

    def pick(self, chance: random.Random) -> tuple[str | None, str]:
        """Return a prefill pod (None: decode computes the prompt itself) and a decode pod.

        Raises:
            NoEndpointsError: no pod decodes; a pod without a role label does.
        """
        prefill = sorted(pod for pod, (_, role, _) in self.members.items() if role in PREFILLS)
        decode = sorted(pod for pod, (_, role, _) in self.members.items() if role in DECODES or not role)
        if not decode:
            raise NoEndpointsError
        return (chance.choice(prefill) if prefill else None), chance.choice(decode)
