"""A local copy of all objects of one kind in one namespace (or in all), kept fresh by list and watch.

One watch serves every policy, whatever their number. The copy never lies about its age: ``age`` is the time since the
API server last said anything about it (objects, a bookmark, or that a watch goes on), and readers decide by it.

    no copy yet, 410 Gone, or time to resync -> list, page by page
    a copy                                   -> watch from its resourceVersion; the server ends it, again
    no answer, cut, 429, 5xx                 -> back off, and resume from the same resourceVersion
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from autoscaler.domain.units import Seconds
from autoscaler.errors import ObservationError
from autoscaler.kube import NO_ANSWER, Json, KubeError, KubeSession, Place

T = TypeVar("T")

# The copy is still good after these: the server is away or busy, it did not deny the question.
RESUMABLE = frozenset(
    {
        NO_ANSWER,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh copies are kept, and how old they may be used."""

    period: Seconds = Seconds(25.0)  # a watch is renewed after this; quiet namespaces prove their health by it
    stale_after: Seconds = Seconds(60.0)  # two periods and some: one lost renewal is no alarm
    resync: Seconds = Seconds(600.0)  # list anew, in case that an event was lost
    page: int = 500  # objects per page of a list
    recovery: Seconds = Seconds(
        60.0
    )  # after an outage others see changes later than we: a watch tries again every 45 s


@dataclass(frozen=True, slots=True)
class Subject:
    """What is followed; an empty namespace: all of them."""

    api_version: str
    kind: str
    namespace: str

    def __str__(self) -> str:
        where = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        return f"{self.kind} ({self.api_version}) in {where}"

    def name_of(self, found: Json) -> str:
        """Return what tells an object from the others: its name, or ``namespace/name`` among all namespaces."""
        metadata = found["metadata"]
        return str(metadata["name"] if self.namespace else f"{metadata['namespace']}/{metadata['name']}")


class Copy(Generic[T]):
    """The copy. ``parse`` reduces an object to what is needed of it, so that 10,000 pods stay small."""

    def __init__(
        self, session: KubeSession, subject: Subject, parse: Callable[[Json], T], freshness: Freshness
    ) -> None:
        """Prepare a copy; nothing is asked before ``start``."""
        self.subject = subject
        self.synced = asyncio.Event()  # set by the first complete list, for good
        self.problem: KubeError | None = None  # why the last attempt failed; None: it did not
        self.lists = 0  # complete lists so far
        self.unreadable: dict[str, str] = {}  # objects that are not as expected, by name: one bad object stops nothing
        self._session = session
        self._parse = parse
        self._freshness = freshness
        self._objects: dict[str, T] = {}
        self._version = ""  # resourceVersion to watch from; empty: list first
        self._contact = self._listed = self._disturbed = 0.0  # on the clock of the event loop
        self._task: asyncio.Task[None] | None = None

    @property
    def objects(self) -> Mapping[str, T]:
        """Return the objects by name: a live view."""
        return MappingProxyType(self._objects)

    @property
    def age(self) -> Seconds:
        """Return the time since the last contact; before the first: since the start."""
        return Seconds(_clock() - self._contact)

    @property
    def stale(self) -> bool:
        """Tell whether the copy is too old to act on."""
        return self.age > self._freshness.stale_after

    @property
    def disturbed(self) -> bool:
        """Tell whether an outage is so near that others who watch may still see what was before it.

        It was noticed here, or may have been before the start.
        """
        return _clock() - self._disturbed < self._freshness.recovery

    @property
    def why(self) -> str:
        """Return what went wrong last, in words."""
        return str(self.problem) if self.problem else f"nothing heard for {self.age:.0f} s"

    def start(self) -> None:
        """Begin to follow."""
        self._contact = self._disturbed = _clock()
        self._task = asyncio.create_task(self._follow(), name=f"copy of {self.subject}")

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def check(self) -> None:
        """Make sure that the copy is being followed.

        Raises:
            ObservationError: it has not been started.
            Exception: whatever broke the loop: a mistake in this program, not in the cluster.
        """
        if self._task is None:
            msg = f"{self.subject} is not followed yet: call start() first"
            raise ObservationError(msg)
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                place = await self._place()
                if not self._version or _clock() - self._listed > self._freshness.resync:
                    await self._list(place)
                await self._watch(place)
                failures, self.problem = 0, None
            except KubeError as error:
                self.problem, self._disturbed = error, _clock()
                if error.status not in RESUMABLE:
                    self._version = ""
                await asyncio.sleep(self._session.backoff.delay(failures))
                failures += 1

    async def _place(self) -> Place:
        resource = await self._session.resource(self.subject.api_version, self.subject.kind)
        return resource.at(self.subject.namespace)

    async def _list(self, place: Place) -> None:
        """Replace the copy at once, when the last page is there: readers never see half a list."""
        found: dict[str, T] = {}
        self.unreadable.clear()
        resume = ""
        while True:
            page = await self._session.page(place, limit=self._freshness.page, resume=resume)
            for item in page["items"]:
                self._keep(found, item)
            resume = page["metadata"].get("continue", "")
            if not resume:
                break
        self._objects, self._version = found, page["metadata"]["resourceVersion"]
        self._listed, self.problem = _clock(), None
        self._heard()
        self.lists += 1
        self.synced.set()

    async def _watch(self, place: Place) -> None:
        begun = _clock()
        async with self._session.watch(place, self._version, self._freshness.period) as events:
            self._heard()
            self.problem = None
            await self._take(events)
            self._heard()
        if _clock() - begun < self._freshness.period / 2:
            self._disturbed = _clock()  # the server is about to leave
        if _clock() - begun < min(1.0, self._freshness.period / 2):
            # a server that hangs up at once, again and again, would else be asked without pause
            await asyncio.sleep(self._session.backoff.delay(1))

    async def _take(self, events: AsyncIterator[Json]) -> None:
        async for event in events:
            self._heard()
            found: Any = event["object"]
            match event["type"]:
                case "ADDED" | "MODIFIED":
                    self._keep(self._objects, found)
                case "DELETED":
                    self._objects.pop(self.subject.name_of(found), None)
                    self.unreadable.pop(self.subject.name_of(found), None)
                case _:  # BOOKMARK: only a newer resourceVersion
                    pass
            self._version = found["metadata"]["resourceVersion"]

    def _keep(self, objects: dict[str, T], found: Json) -> None:
        name = self.subject.name_of(found)
        try:
            objects[name] = self._parse(found)
            self.unreadable.pop(name, None)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            objects.pop(name, None)
            self.unreadable[name] = repr(error)

    def _heard(self) -> None:
        self._contact = _clock()


def _clock() -> float:
    """Return the time of the event loop: an age must not jump with the wall clock."""
    return asyncio.get_running_loop().time()
