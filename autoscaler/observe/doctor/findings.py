"""What checks return, and what they look at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from autoscaler.domain.observation import Observation
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.fleet import FleetView

Json: TypeAlias = Mapping[str, Any]
Look = TypeVar("Look")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps the autoscaler from doing its work, and the way out."""

    subject: str  # whom it concerns: variant, profile, pod, object
    found: str
    fix: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One check of one policy: what it looked at, and what it found."""

    check: str
    policy: str  # SLOPolicy.key
    looked_at: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""  # why it could not look; empty: it did


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check looked at, in words, and what it found there."""

    looked_at: str
    findings: Sequence[Finding] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Check(Generic[Look]):
    """A named question about one policy."""

    name: str
    look: Callable[[SLOPolicy, Look], Seen]

    def of(self, policy: SLOPolicy, look: Look) -> Checked:
        """Ask it."""
        seen = self.look(policy, look)
        return Checked(self.name, policy.key, seen.looked_at, tuple(seen.findings), seen.skipped)


@dataclass(frozen=True, slots=True)
class Series:
    """A series that is there now."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MetricsLook:
    """What a metrics source shows at one moment."""

    at: Instant
    series: tuple[Series, ...]  # of every namespace, so that what carries a wrong one is seen
    observation: Observation
    failures: Mapping[str, Missing]  # readings whose queries failed
    fleet: Mapping[str, FleetView]  # by SLOPolicy.key
    windows: Windows
    interval: Seconds | None  # between scrapes; None: not known
    token_ratios: Mapping[str, float]  # observations of output lengths per response, by SLOPolicy.key
    local_prefill: Mapping[str, float]  # share of their prompt tokens that decode pods compute, by SLOPolicy.key


@dataclass(frozen=True, slots=True)
class ClusterLook:
    """What stands in the namespaces of some policies, as the API server tells it."""

    at: Instant
    targets: Mapping[str, Json | str]  # by str(ScaleTarget): the object, or why there is none
    scalable: Mapping[str, bool]  # by str(ScaleTarget)
    objects: Mapping[tuple[str, str], tuple[Json, ...]]  # by namespace and kind
    denied: Mapping[str, tuple[str, ...]]  # by namespace: rights that are needed and not granted
    unread: Mapping[tuple[str, str], str]  # by namespace and kind: why it could not be listed

    def of_kind(self, namespace: str, kind: str) -> tuple[Json, ...]:
        """Return the objects of a kind; none where it is not served, or could not be read."""
        return self.objects.get((namespace, kind), ())


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return names as a text of bounded length."""
    known = sorted(set(names))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
