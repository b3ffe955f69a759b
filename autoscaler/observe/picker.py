"""What the endpoint pickers themselves list as members, read directly.

An annotation that was written is not yet one that was seen: after an outage of the API server a picker's watch comes
back up to 45 s late, and Prometheus adds a scrape interval.

Every replica of a picker is asked: each keeps a list of its own. One that is silent makes the whole unknown.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import aiohttp

from autoscaler.domain.membership import Membership
from autoscaler.domain.observation import UNREAD, Observation
from autoscaler.domain.policy import SchedulerKind, SLOPolicy
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import ObservationError
from autoscaler.kube import KubeReadError, KubeSession, Resource
from autoscaler.observe.pods import SeenPod
from autoscaler.observe.writers import ForeignWriters

METRICS_PORT = 9090
PATIENCE = Seconds(2.0)
MOST_BYTES = 16 * 2**20

POOLS = Resource("inference.networking.k8s.io/v1", "InferencePool", "inferencepools")
SERVICES = Resource("v1", "Service", "services")

_MEMBER = re.compile(
    r'^(?:llm_d_epp_per_endpoint_queue_size|inference_pool_per_pod_queue_size)\{[^}\n]*model_server_(?:endpoint|pod)="([^"]+)"',
    re.MULTILINE,
)
_PICKER = re.compile(r"^(?:llm_d_epp_|inference_pool_|inference_extension_|inference_objective_)", re.MULTILINE)
_RANK = re.compile(r"-rank-\d+$")


def members(page: str) -> frozenset[str]:
    """Return the names of the pods of which a picker has an endpoint (any data-parallel rank).

    Raises:
        ObservationError: the page is no picker's, so that the absence of endpoints would say nothing.
    """
    if not _PICKER.search(page):
        msg = "the page has no series of an endpoint picker"
        raise ObservationError(msg)
    return frozenset(_RANK.sub("", found).rpartition("/")[2] for found in _MEMBER.findall(page))


@dataclass(frozen=True, slots=True)
class Reached:
    """Where pickers answer when they are not found by their InferencePool, and how one logs in to them."""

    urls: tuple[str, ...] = ()  # of metrics pages, e.g. http://epp.llm:9090/metrics
    token_file: Path | None = None


class Pickers:
    """Reads the members of each policy's picker."""

    def __init__(
        self,
        policies: Sequence[SLOPolicy],
        session: KubeSession,
        pods: Callable[[str], Iterable[SeenPod]],
        reached: Reached | None = None,
    ) -> None:
        """Take whose pickers to read.

        Args:
            policies: those without a scheduler are left out.
            session: for the InferencePool and the Service that it names.
            pods: returns the pods of a namespace, among which the pickers of an InferencePool are.
            reached: metrics pages that serve every policy instead.
        """
        self.follow(policies)
        self._session = session
        self._pods = pods
        self._reached = reached or Reached()

    def follow(self, policies: Sequence[SLOPolicy]) -> None:
        """Read the pickers of these policies from now on; those without a scheduler have none."""
        self._policies = [policy for policy in policies if policy.scheduler.kind is not SchedulerKind.NONE]

    async def memberships(self, now: Instant) -> Mapping[str, Signal[Membership]]:
        """Return what the pickers of each policy list, by ``SLOPolicy.key``."""
        if not self._policies:
            return {}
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers()) as http:
            found = await asyncio.gather(*(self._of(policy, http, now) for policy in self._policies))
        return {policy.key: signal for policy, signal in zip(self._policies, found, strict=True)}

    async def _of(self, policy: SLOPolicy, http: aiohttp.ClientSession, now: Instant) -> Signal[Membership]:
        try:
            urls = self._reached.urls or await self._found(policy)
            pages = await asyncio.gather(*(_page(http, url) for url in urls))
        except (KubeReadError, ObservationError) as error:
            return Missing(GapReason.UNREACHABLE, now, str(error))
        if not urls:
            return Missing(GapReason.ABSENT, now, f"{policy.key}: no ready picker; name its metrics page by --picker")
        return Membership(MappingProxyType(dict(zip(urls, pages, strict=True))))

    async def _found(self, policy: SLOPolicy) -> tuple[str, ...]:
        """Return the metrics pages of the pods behind the Service that the InferencePool names."""
        if policy.scheduler.kind is not SchedulerKind.INFERENCE_POOL:
            return ()
        pool = await self._session.get(POOLS.at(policy.namespace, policy.scheduler.selects))
        picker = pool["spec"].get("endpointPickerRef") or pool["spec"].get("extensionRef") or {}
        service = await self._session.get(SERVICES.at(policy.namespace, picker.get("name", "")))
        selector: Mapping[str, str] = (service["spec"].get("selector")) or {}
        if not selector:
            msg = f"{policy.key}: service {picker.get('name')} selects no pods; name the picker's page by --picker"
            raise ObservationError(msg)
        return tuple(
            f"http://{seen.pod.ip}:{METRICS_PORT}/metrics"
            for seen in self._pods(policy.namespace)
            if seen.pod.ip and seen.pod.ready_since is not None and selector.items() <= dict(seen.labels).items()
        )

    def _headers(self) -> dict[str, str]:
        if self._reached.token_file is None:
            return {}
        return {"Authorization": f"Bearer {self._reached.token_file.read_text(encoding='utf-8').strip()}"}


async def _page(http: aiohttp.ClientSession, url: str) -> frozenset[str]:
    """Read one picker.

    Raises:
        ObservationError: it does not answer, or not as a picker does.
    """
    try:
        async with http.get(url, allow_redirects=False) as answer:  # a pod must not send the controller elsewhere
            content = await answer.content.read(MOST_BYTES + 1)
            while len(content) <= MOST_BYTES and (more := await answer.content.read(MOST_BYTES + 1 - len(content))):
                content += more
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        msg = f"picker {url}: {error!r}"
        raise ObservationError(msg) from error
    if status != HTTPStatus.OK:
        msg = f"picker {url}: HTTP {status}"
        raise ObservationError(msg)
    if len(content) > MOST_BYTES:
        msg = f"picker {url}: a page of more than {MOST_BYTES} bytes"
        raise ObservationError(msg)
    try:
        return members(content.decode(errors="replace"))
    except ObservationError as error:
        msg = f"picker {url}: {error}"
        raise ObservationError(msg) from error


class Observes(Protocol):
    """Looks at everything else."""

    async def observe(self, now: Instant) -> Observation:
        """Return what is known at ``now``."""
        ...


class WithMembership:
    """An ``Observer`` that adds what the pickers list, and who else sizes the targets.

    Pickers are read after the fleet was: a pod that is withdrawn in the one and absent from the other was dropped.
    """

    def __init__(self, inner: Observes, pickers: Pickers, writers: ForeignWriters) -> None:
        """Take the observer to add to, and whom to ask."""
        self._inner = inner
        self._pickers = pickers
        self._writers = writers

    async def observe(self, now: Instant) -> Observation:
        """Return what is known at ``now``.

        Raises:
            ObservationError: nothing at all could be observed.
        """
        observation = await self._inner.observe(now)
        told, foreign = await asyncio.gather(self._pickers.memberships(now), self._writers.look(now))
        models = {
            key: replace(model, membership=told.get(key, UNREAD), foreign=foreign.get(key, {}))
            for key, model in observation.models.items()
        }
        return replace(observation, models=MappingProxyType(models))
