"""Pools and their variants: what may be scaled, what it costs, within which bounds."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an engine does: prefill sets TTFT, decode sets ITL, unified does both."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"

    @property
    def prefills(self) -> bool:
        """Tell whether prompts are computed here."""
        return self is not Role.DECODE

    @property
    def decodes(self) -> bool:
        """Tell whether output tokens are generated here."""
        return self is not Role.PREFILL


@dataclass(frozen=True, slots=True, order=True)
class ScaleTarget:
    """An object with a ``/scale`` subresource."""

    namespace: str
    api_version: str  # e.g. apps/v1
    kind: str  # e.g. Deployment
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}.{self.api_version.split('/', maxsplit=1)[0]}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Variant:
    """One scalable workload: a role on one accelerator type, parallelism and price."""

    name: str
    role: Role
    target: ScaleTarget
    accelerator: str
    accelerators_per_replica: int
    cost_per_replica_hour: float  # any currency; only ratios matter
    min_replicas: int
    max_replicas: int
    performance_profile: str | None = None  # None: physics prior, then learned
