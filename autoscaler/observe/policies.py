"""SLOPolicy resources as the API server tells them: which can be used now, and what is wrong with each of the others.

One bad policy never stops another. Where two claim one workload, the older one keeps it.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from autoscaler.domain.policy import Mode, SLOPolicy, Written
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError, PolicyError
from autoscaler.kube import Json, KubeSession
from autoscaler.observe.targets import PAUSED, PAUSED_SCALE_DOWN
from autoscaler.observe.watch import Copy, Freshness, Subject
from autoscaler.policy import Origin, Severity, conflicts, parse_policy
from autoscaler.policy.schema import API_VERSION, KIND


@dataclass(frozen=True, slots=True)
class Resource:
    """One SLOPolicy object: who it is, what it says, and what was said of it before."""

    name: str
    namespace: str
    uid: str
    generation: int
    created: Instant
    policy: SLOPolicy | None  # None: it cannot be used
    problems: tuple[str, ...]  # why not; each ``path: what is wrong; way out``
    spec: str  # as JSON
    auto: bool  # whether it says mode Auto, usable or not, and nothing that is meant to pause it
    doubts: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def key(self) -> str:
        """Identify it as ``SLOPolicy.key`` does."""
        return f"{self.namespace}/{self.name}"

    @property
    def written(self) -> Written:
        """Return this version as its status repeats it while it is decided for."""
        return Written(self.generation, self.spec)

    @property
    def in_office(self) -> Written | None:
        """Return the version that was last decided for, as its status tells; None: it tells none."""
        match self.status.get("inOffice"):
            case {"generation": int(generation), "spec": str(spec)}:
                return Written(generation, spec)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Policies:
    """What the resources amount to: policies to decide for, oldest first, and by key what is wrong with the others.

    Besides, by key: how the usable ones are written; whose newest version, usable or not, says mode Auto; and what the
    statuses say is decided for. That follows from what is, so it makes nothing another value.
    """

    usable: tuple[SLOPolicy, ...] = ()
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    written: Mapping[str, Written] = field(default_factory=lambda: MappingProxyType({}))
    auto: frozenset[str] = frozenset()
    in_office: Mapping[str, Written] = field(default_factory=lambda: MappingProxyType({}), compare=False)


class PolicyWatch:
    """Follows the SLOPolicy resources of one namespace (``""``: of all). ``start``, ``wait_synced``, ``close``."""

    def __init__(self, session: KubeSession, namespace: str = "", freshness: Freshness | None = None) -> None:
        """Take where to look; the session stays the caller's to close."""
        self._copy = Copy(session, Subject(API_VERSION, KIND, namespace), seen, freshness or Freshness())
        self._judged: tuple[tuple[object, ...], Policies] = ((), Policies())

    @property
    def resources(self) -> Mapping[str, Resource]:
        """Return every resource by key, as last heard of."""
        return MappingProxyType({found.key: found for found in self._copy.objects.values()})

    @property
    def problem(self) -> str:
        """Return why the resources cannot be read; empty: they can."""
        return str(self._copy.problem) if self._copy.problem else ""

    def current(self) -> Policies:
        """Return what the resources amount to now.

        While the API server is away the last answer holds: a policy is dropped because it was deleted, never because
        nobody could be asked.

        Raises:
            ObservationError: ``start`` has not been called.
        """
        self._copy.check()
        said = tuple(
            (found.key, found.created, found.policy, found.problems, found.generation, found.auto)
            for found in self._copy.objects.values()
        )
        if said != self._judged[0]:  # a status that was written changes nothing here
            self._judged = (said, usable(self._copy.objects.values()))
        return self._judged[1]

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        self._copy.start()

    async def wait_synced(self, timeout: Seconds) -> None:  # noqa: ASYNC109  # the deadline belongs into the message
        """Wait until every resource is known.

        Raises:
            ObservationError: not in time; the message says why.
        """
        try:
            await asyncio.wait_for(self._copy.synced.wait(), timeout)
        except TimeoutError as error:
            msg = f"{self._copy.subject} not read within {timeout:g} s: {self._copy.why}"
            raise ObservationError(msg) from error

    async def close(self) -> None:
        """Stop following."""
        await self._copy.close()


def seen(found: Json) -> Resource:
    """Read one object; a policy in it that cannot be used is a finding, not an error."""
    metadata, spec = found["metadata"], found.get("spec")
    policy: SLOPolicy | None = None
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    try:
        loaded = parse_policy({"apiVersion": API_VERSION, "kind": KIND, **found})
    except PolicyError as error:
        problems = error.problems
    else:
        (policy,) = loaded.policies
        doubts = tuple(str(doubt) for doubt in loaded.warnings)
    return Resource(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        created=Instant(datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()),
        policy=policy,
        problems=problems,
        spec=json.dumps(spec, sort_keys=True, separators=(",", ":")),
        auto=_says_auto(metadata, spec),
        doubts=doubts,
        status=found.get("status") or {},
    )


def _says_auto(metadata: Json, spec: object) -> bool:
    paused = {PAUSED, PAUSED_SCALE_DOWN} & set(metadata.get("annotations") or ())
    return isinstance(spec, dict) and spec.get("mode") == Mode.AUTO.value and not paused


def usable(resources: Iterable[Resource]) -> Policies:
    """Sort resources into those that can be used together and the others."""
    resources = tuple(resources)
    refused = {found.key: found.problems for found in resources if found.policy is None}
    accepted = [found for found in sorted(resources, key=_age) if found.policy is not None]
    while clash := _first_clash(accepted):
        key, problems = clash
        refused[key] = problems
        accepted = [found for found in accepted if found.key != key]
    return Policies(
        tuple(found.policy for found in accepted if found.policy is not None),
        MappingProxyType(refused),
        MappingProxyType({found.key: found.written for found in accepted}),
        frozenset(found.key for found in resources if found.auto),
        MappingProxyType({found.key: found.in_office for found in resources if found.in_office is not None}),
    )


def _age(found: Resource) -> tuple[float, str]:
    return (found.created, found.key)


def _first_clash(accepted: Sequence[Resource]) -> tuple[str, tuple[str, ...]] | None:
    """Return the first policy that takes what an older one has, with all that is wrong; None: all get on."""
    located = [(found.policy, Origin(found.key)) for found in accepted if found.policy is not None]
    wrong = [problem for problem in conflicts(located) if problem.severity is Severity.ERROR]
    if not wrong:
        return None
    key = wrong[0].file
    return key, tuple(f"{problem.field}: {problem.message}" for problem in wrong if problem.file == key)
