"""Policies, fleets and comparisons for tests of what is observed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.policy import Metrics, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.profile import Match, RequestProfile
from autoscaler.domain.signal import Missing
from autoscaler.domain.slo import SLO
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.fleet import FleetView

DATA = Path(__file__).parent / "data"
RECORDING = Path(__file__).parents[1] / "examples" / "h200_pd"

DEFAULT = RequestProfile("default", SLO(Seconds(3.0), Seconds(0.06), 0.95))
BY_FAIRNESS = (
    RequestProfile("rag", SLO(Seconds(2.0), Seconds(0.05)), Match(fairness_id="rag"), importance=10),
    RequestProfile("reasoning", SLO(Seconds(1.0), Seconds(0.03)), Match(fairness_id="reasoning")),
    DEFAULT,
)


def variant(name: str, role: Role) -> Variant:
    """Return a variant that may have up to eight replicas."""
    return Variant(name, role, ScaleTarget("llm", "apps/v1", "Deployment", name), "H200-SXM", 1, 3.0, 1, 8)


def policy(
    *profiles: RequestProfile,
    name: str = "h200",
    model: str = "m",
    roles: Sequence[Role] = (Role.PREFILL, Role.DECODE),
    metrics: Metrics | None = None,
) -> SLOPolicy:
    """Return a policy of namespace llm with one variant per role, named as the role."""
    return SLOPolicy(
        name=name,
        namespace="llm",
        model=model,
        profiles=profiles or (DEFAULT,),
        variants=tuple(variant(role.value, role) for role in roles),
        metrics=metrics or Metrics(),
    )


def pods(variant_name: str, *names: str, state: PodState = PodState.READY, since: float = 0.0) -> tuple[Pod, ...]:
    """Return pods of a variant."""
    return tuple(Pod(name, variant_name, state, Instant(0.0), ready_since=Instant(since)) for name in names)


class Fleet:
    """A fleet source that knows the given pods by variant, of one policy."""

    def __init__(self, key: str, by_variant: Mapping[str, Sequence[Pod]], **flags: bool) -> None:
        workloads = {name: Workload(name, len(members), tuple(members)) for name, members in by_variant.items()}
        self._views = {key: FleetView(MappingProxyType(workloads), **flags)}

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:  # noqa: ARG002 - stands still
        return self._views


def one_each(key: str = "llm/h200") -> Fleet:
    """Return the fleet of the recording: one prefill pod, one decode pod."""
    return Fleet(key, {"prefill": pods("prefill", "p0"), "decode": pods("decode", "d0")})


def differences(left: Any, right: Any, path: str = "", relative: float = 1e-6) -> list[str]:  # noqa: ANN401 - any value
    """Return where two values differ: numbers by more than ``relative``, Missing by reason or date."""
    parts, others = _parts(left), _parts(right)
    if parts is None or others is None or type(left) is not type(right):
        return [] if _same(left, right, relative) else [f"{path}: {left!r} / {right!r}"]
    if parts.keys() != others.keys():
        return [f"{path}: {sorted(parts)} / {sorted(others)}"]
    return [d for name in parts for d in differences(parts[name], others[name], f"{path}.{name}", relative)]


def _parts(value: object) -> dict[str, Any] | None:
    """Return the parts of a value that is made of parts."""
    if isinstance(value, Missing):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    return {str(n): part for n, part in enumerate(value)} if isinstance(value, tuple) else None


def _same(left: object, right: object, relative: float) -> bool:
    if isinstance(left, Missing) and isinstance(right, Missing):
        return left.reason is right.reason and math.isclose(left.since, right.since, abs_tol=2e-3)
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=relative, abs_tol=1e-9)  # a sum that is 0 but for rounding
    return left == right
