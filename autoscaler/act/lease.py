"""Leader election on a Lease of coordination.k8s.io: of several controllers, one acts.

The clocks of the candidates are never compared: whoever sees a Lease unchanged for its whole duration, by its own
event loop, may take it. Every write carries the resourceVersion that was read: of two takers one is refused.
A leader that cannot renew stops calling itself one ``margin`` before anybody else may begin.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from autoscaler.domain.units import Instant, Seconds
from autoscaler.kube import Json, KubeError, KubeSession, Resource

LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases")


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a Lease binds. The same for all candidates."""

    duration: Seconds = Seconds(15.0)  # unchanged for so long, a Lease may be taken
    margin: Seconds = Seconds(5.0)  # so long before, its holder stops acting
    retry: Seconds = Seconds(2.0)  # between two looks


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease as it was last seen to change."""

    holder: str
    version: str
    at: float  # on the clock of the event loop
    duration: Seconds
    transitions: int


class LeaseElector:
    """A candidate. ``start``, ask ``is_leader`` before every write, ``stop`` to hand over at once.

    A process that is suspended and wakes up asks its own clock first, and finds its time run out: ``is_leader`` is
    computed from when the last renewal was *sent*, never remembered.
    """

    def __init__(
        self,
        session: KubeSession,
        *,
        namespace: str,
        name: str,
        identity: str,
        now: Callable[[], Instant],
        terms: Terms | None = None,
    ) -> None:
        """Take the name of the Lease, one for this candidate that no other has, and a clock for what people read."""
        self.identity = identity
        self._now = now
        self.problem = ""  # why the last look failed; empty: it did not
        self._session = session
        self._leases = LEASES.at(namespace)
        self._lease = LEASES.at(namespace, name)
        self._terms = terms or Terms()
        self._seen: Seen | None = None
        self._renewed: float | None = None  # when the last successful claim was sent
        self._leading = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_leader(self) -> bool:
        """Tell whether this candidate may write now."""
        if self._renewed is None:
            return False
        return asyncio.get_running_loop().time() - self._renewed < self._terms.duration - self._terms.margin

    @property
    def leader(self) -> str:
        """Return the holder last seen; empty: none."""
        return self._seen.holder if self._seen else ""

    async def start(self) -> None:
        """Begin to run for the office; returns at once."""
        self._task = asyncio.create_task(self._campaign(), name=f"election of {self.identity}")

    async def wait_leading(self) -> None:
        """Wait until this candidate leads."""
        while not self.is_leader:
            self._leading.clear()
            await self._leading.wait()

    async def stop(self) -> None:
        """Stop, and release the Lease if held, so that the next one need not wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        held, self._renewed = self.is_leader, None
        if held and self._seen is not None:
            try:
                await self._write(self._seen, holder="", duration=Seconds(1.0))
            except KubeError as error:
                self.problem = str(error)  # then it runs out by itself

    async def _campaign(self) -> None:
        while True:
            try:
                await self._look()
                self.problem = ""
            except KubeError as error:
                self.problem = str(error)
                if error.status == HTTPStatus.CONFLICT:
                    self._renewed = None  # somebody else has written: look anew before any claim
            await asyncio.sleep(self._terms.retry * (0.75 + 0.5 * self._session.backoff.jitter()))

    async def _look(self) -> None:
        """Renew what is held; take what is free; else wait."""
        now = asyncio.get_running_loop().time()
        try:
            seen = self._noted(await self._session.get(self._lease), now)
        except KubeError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            await self._create(now)
            return
        if seen.holder == self.identity or not seen.holder or now - seen.at > seen.duration:
            await self._write(seen, holder=self.identity, duration=self._terms.duration)
            self._lead(now)
        else:
            self._renewed = None

    def _noted(self, lease: Json, now: float) -> Seen:
        """Remember a Lease; the clock of an unchanged one goes on."""
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec") or {}
        if self._seen is None or self._seen.version != version:
            self._seen = Seen(
                holder=spec.get("holderIdentity") or "",
                version=version,
                at=now,
                duration=Seconds(float(spec.get("leaseDurationSeconds") or self._terms.duration)),
                transitions=int(spec.get("leaseTransitions") or 0),
            )
        return self._seen

    async def _create(self, now: float) -> None:
        body = {"metadata": {"name": self._lease.name}, "spec": self._spec(self.identity, self._terms.duration, 0)}
        self._noted(await self._session.create(self._leases, body), now)
        self._lead(now)

    async def _write(self, seen: Seen, *, holder: str, duration: Seconds) -> None:
        transitions = seen.transitions + (holder not in {"", seen.holder})
        body = {
            "metadata": {"name": self._lease.name, "resourceVersion": seen.version},
            "spec": self._spec(holder, duration, transitions),
        }
        self._noted(await self._session.patch(self._lease, body), asyncio.get_running_loop().time())

    def _spec(self, holder: str, duration: Seconds, transitions: int) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(duration)),
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _lead(self, sent: float) -> None:
        self._renewed = sent
        self._leading.set()
