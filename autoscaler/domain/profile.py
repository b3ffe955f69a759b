"""Request profiles: classes of requests with one SLO, told apart by what the metrics say of them."""

from dataclasses import dataclass, field

from autoscaler.domain.slo import SLO

DEFAULT_PROFILE = "default"
"""The profile of whatever no other profile matches."""


@dataclass(frozen=True, slots=True)
class Match:
    """How the metrics tell a profile: by model alias, else fairness id, else priority; nothing: the default profile."""

    model_name: str | None = None
    fairness_id: str | None = None
    priority: int | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether this matches nothing in particular (the default profile)."""
        return self.model_name is None and self.fairness_id is None and self.priority is None


@dataclass(frozen=True, slots=True)
class RequestProfile:
    """A class of requests with one SLO. A larger ``importance`` is served first when capacity is short."""

    name: str
    slo: SLO
    match: Match = field(default_factory=Match)
    importance: int = 0
