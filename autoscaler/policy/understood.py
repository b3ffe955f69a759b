"""What could be understood of a document, part by part, so that one broken part hides no problem of another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from autoscaler.domain.pool import Role
from autoscaler.policy import schema
from autoscaler.policy.problems import Path

PartT = TypeVar("PartT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Placed(Generic[PartT]):
    """A part that is well formed, and where it stands."""

    path: Path
    value: PartT
    given: frozenset[str]  # its fields that the document states, by alias


@dataclass(frozen=True, slots=True)
class PlacedVariant:
    """A variant that is well formed, with its role and place."""

    path: Path
    role: Role
    value: schema.Variant


@dataclass(frozen=True, slots=True)
class Understood:
    """The well-formed parts of a document; ``whole_*`` tells whether there are no others."""

    namespace: str
    profiles: tuple[Placed[schema.Profile], ...]
    whole_profiles: bool
    pools: frozenset[str]  # names of the pools that the document mentions
    tolerated_losses: Mapping[str, int]  # by pool
    variants: tuple[PlacedVariant, ...]
    whole_variants: bool
    budget: schema.Budget | None
    ratio: schema.Ratio | None
    spread: schema.Spread | None
    scheduler: schema.Scheduler | None
    scale_to_zero: schema.ScaleToZero | None
    schedules: tuple[Placed[schema.Schedule], ...]
    calendar: schema.Calendar | None


def understand(raw: Mapping[str, Any]) -> Understood:
    """Return the well-formed parts of a document, fields that mean nothing already taken out."""
    spec = _mapping(raw.get("spec"))
    pools = _mapping(spec.get("pools"))
    profiles, whole_profiles = _list(schema.Profile, spec.get("profiles"), ("spec", "profiles"))
    variants, whole_variants = _variants(pools)
    metadata = _part(schema.Metadata, raw.get("metadata", {}))
    return Understood(
        namespace=metadata.namespace if metadata else "default",
        profiles=profiles,
        whole_profiles=whole_profiles,
        pools=frozenset(pools),
        tolerated_losses=_tolerated(pools),
        variants=variants,
        whole_variants=whole_variants,
        budget=_part(schema.Budget, spec.get("budget", {})),
        ratio=_part(schema.Ratio, spec.get("ratio", {})),
        spread=_part(schema.Spread, spec.get("spread", {})),
        scheduler=_part(schema.Scheduler, spec.get("scheduler", {"none": True})),
        scale_to_zero=_part(schema.ScaleToZero, spec.get("scaleToZero", {})),
        schedules=_list(schema.Schedule, spec.get("schedules"), ("spec", "schedules"))[0],
        calendar=_part(schema.Calendar, spec.get("calendar")),
    )


def without(raw: Any, paths: frozenset[Path]) -> Any:  # noqa: ANN401 - any document
    """Return a copy of a document without the values at the given paths."""

    def keep(value: Any, path: Path) -> Any:  # noqa: ANN401 - any document
        if isinstance(value, dict):
            return {key: keep(inner, (*path, key)) for key, inner in value.items() if (*path, key) not in paths}
        if isinstance(value, list):
            return [keep(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    return keep(raw, ())


def _variants(pools: Mapping[str, Any]) -> tuple[tuple[PlacedVariant, ...], bool]:
    found: list[PlacedVariant] = []
    whole = True
    for role in Role:
        if role not in pools:
            continue
        place = ("spec", "pools", role.value, "variants")
        placed, complete = _list(schema.Variant, _mapping(pools[role]).get("variants"), place)
        found += [PlacedVariant(variant.path, role, variant.value) for variant in placed]
        whole &= complete
    return tuple(found), whole


def _tolerated(pools: Mapping[str, Any]) -> Mapping[str, int]:
    stated = {name: _mapping(pool).get("toleratedLosses") for name, pool in pools.items()}
    return {name: count for name, count in stated.items() if isinstance(count, int)}


def _list(kind: type[PartT], raw: object, path: Path) -> tuple[tuple[Placed[PartT], ...], bool]:
    items = raw if isinstance(raw, list) else []
    placed = tuple(_placed(kind, items, path))
    return placed, isinstance(raw, list) and len(placed) == len(items)


def _placed(kind: type[PartT], items: list[Any], path: Path) -> Iterator[Placed[PartT]]:
    for index, item in enumerate(items):
        part = _part(kind, item)
        if part is not None:
            yield Placed((*path, index), part, frozenset(item))


def _part(kind: type[PartT], raw: object) -> PartT | None:
    try:
        return kind.model_validate(raw)
    except ValidationError:
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
