"""The fleet from a file, where there is no cluster to ask: counts per variant, or its pods by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.observe.fleet import FleetView
from autoscaler.policy.reading import one_document

MOST_VALUES = 500_000
"""Keys and values of a file: some 10,000 pods have names and times."""


class _PodEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    state: PodState = PodState.READY
    created: float = Field(default=0.0, ge=0)  # Unix seconds; with both times given, start-up times are learned
    ready: float | None = Field(default=None, ge=0)


class _VariantEntry(BaseModel):
    """What a file says of one variant. ``pods``: named, as the metrics name them; without them ``ready`` counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requested: int | None = Field(default=None, ge=0)
    ready: int | None = Field(default=None, ge=0)
    pods: tuple[_PodEntry, ...] | None = None


class _FleetFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    fleets: dict[str, dict[str, _VariantEntry]]


class FileFleet:
    """A fleet that stands still: as a file described it.

    fleets:
      llm/qwen3-32b:                 # namespace/name of a policy
        prefill-h200: {requested: 2, ready: 2}
        decode-h200: {pods: [{name: decode-0}, {name: decode-1, state: starting}]}  # created, ready: Unix times
    """

    def __init__(self, path: Path, policies: Sequence[SLOPolicy]) -> None:
        """Read and check the file.

        Raises:
            InputError: it cannot be read, or names policies or variants that do not exist, or leaves variants out.
        """
        entries = _parsed(path).fleets
        problems = [*_unknown(entries, policies)]
        if problems:
            raise InputError("\n".join(f"{path}: {problem}" for problem in problems))
        self._views = {policy.key: _view(policy, entries[policy.key]) for policy in policies}

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:  # noqa: ARG002 - a file does not change with time
        """Return the view of every policy."""
        return MappingProxyType(self._views)


class NoFleet:
    """Knows of no replica: for looks at metrics alone."""

    def __init__(self, policies: Sequence[SLOPolicy]) -> None:
        """Take the policies whose fleets are unknown."""
        self._policies = tuple(policies)

    async def fleets(self, now: Instant) -> Mapping[str, FleetView]:
        """Return views in which every workload is Missing."""
        missing = Missing(GapReason.ABSENT, now, "no cluster and no --fleet file was given")
        views = {
            policy.key: FleetView({variant.name: missing for variant in policy.variants}) for policy in self._policies
        }
        return MappingProxyType(views)


def _parsed(path: Path) -> _FleetFile:
    try:
        content = one_document(path.read_bytes(), f"--fleet {path}", MOST_VALUES)
    except OSError as error:
        msg = f"--fleet {path}: {error.strerror}"
        raise InputError(msg) from error
    try:
        return _FleetFile.model_validate(content)
    except ValidationError as error:
        details = (f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors())
        raise InputError("\n".join(f"--fleet {path}: {detail}" for detail in details)) from error


def _unknown(entries: Mapping[str, Mapping[str, _VariantEntry]], policies: Sequence[SLOPolicy]) -> list[str]:
    """Return everything in which file and policies do not fit together."""
    known = {policy.key: {variant.name for variant in policy.variants} for policy in policies}
    problems = [f"fleets.{key}: no such policy; known are {', '.join(sorted(known))}" for key in entries.keys() - known]
    for key, variants in known.items():
        if key not in entries:
            problems.append(f"fleets.{key}: missing; say what runs of each of its variants")
            continue
        stray, absent = entries[key].keys() - variants, variants - entries[key].keys()
        problems += [f"fleets.{key}.{name}: no such variant; known are {', '.join(sorted(variants))}" for name in stray]
        problems += [f"fleets.{key}.{name}: missing; write for example {{ready: 1}}" for name in absent]
        problems += [f"fleets.{key}.{name}: {why}" for name, entry in entries[key].items() if (why := _unclear(entry))]
    return sorted(problems)


def _unclear(entry: _VariantEntry) -> str:
    if entry.pods is None and entry.ready is None:
        return "give ready or pods"
    if entry.pods is not None and entry.ready is not None:
        return "give ready or pods, not both"
    return ""


def _view(policy: SLOPolicy, entries: Mapping[str, _VariantEntry]) -> FleetView:
    workloads: dict[str, Signal[Workload]] = {name: _workload(name, entry) for name, entry in entries.items()}
    named = all(entry.pods is not None for entry in entries.values())
    ordered = {variant.name: workloads[variant.name] for variant in policy.variants}
    return FleetView(MappingProxyType(ordered), names_pods=named)


def _pod(variant: str, entry: _PodEntry) -> Pod:
    ready = None if entry.ready is None else Instant(entry.ready)
    return Pod(entry.name, variant, entry.state, Instant(entry.created), ready_since=ready)


def _workload(variant: str, entry: _VariantEntry) -> Workload:
    if entry.pods is not None:
        pods = tuple(_pod(variant, pod) for pod in entry.pods)
    else:
        ready = entry.ready or 0
        pods = tuple(Pod(f"{variant}-{n}", variant, PodState.READY, Instant(0.0)) for n in range(ready))
    return Workload(variant, len(pods) if entry.requested is None else entry.requested, pods)
