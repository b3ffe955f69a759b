"""One session with the Kubernetes API: login, timeouts, retries, discovery, watches; JSON in, JSON out.

Generic on purpose: scale targets may be of any group and kind, so that no generated model classes are used. Whoever
calls names a ``Place``; whoever fails gets a ``KubeReadError`` or ``KubeWriteError`` that says what to do about it.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias, TypeVar
from weakref import WeakSet

import aiohttp
import yaml
from kubernetes_asyncio import client, config

from autoscaler.domain.units import Seconds
from autoscaler.errors import ActuationError, AutoscalerError, InputError, ObservationError

Json: TypeAlias = dict[str, Any]
Query: TypeAlias = tuple[tuple[str, str], ...]
T = TypeVar("T")

FIELD_MANAGER = "disagg-autoscaler"
FENCED = "not sent: another controller leads"
NO_ANSWER = 0  # in place of an HTTP status

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

# Answers after which the request was certainly not carried out: any verb may be tried again.
NOT_DONE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
# Answers after which nobody knows: only reading may be tried again.
UNCLEAR = frozenset({NO_ANSWER, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})

# What the library throws at files that are no kubeconfig, or name what is not there
UNUSABLE_LOGIN = (config.ConfigException, OSError, ValueError, TypeError, LookupError, AssertionError, yaml.YAMLError)


class KubeError(AutoscalerError):
    """A call that failed: the text for the user, and what a caller may decide on.

    Attributes:
        status: as HTTP counts them; NO_ANSWER if none came.
        again: the same call may be tried again without harm.
        retry_after: when, if the server said so.
    """

    def __init__(
        self, message: str, *, status: int = NO_ANSWER, again: bool = False, retry_after: Seconds | None = None
    ) -> None:
        """Take the attributes."""
        super().__init__(message)
        self.status = status
        self.again = again
        self.retry_after = retry_after


class KubeReadError(KubeError, ObservationError):
    """The API server could not be read."""


class KubeWriteError(KubeError, ActuationError):
    """The API server did not take a write."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind, as the API server serves it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    scalable: bool = False  # has a /scale subresource

    @property
    def group(self) -> str:
        """Return the API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def at(self, namespace: str, name: str = "", subresource: str = "") -> "Place":
        """Return the place of one object (without a name: of all) of this kind."""
        return Place(self, namespace, name, subresource)


PODS = Resource("v1", "Pod", "pods")


@dataclass(frozen=True, slots=True)
class Place:
    """What a call is about: an object, one of its subresources, or all objects of a kind in a namespace (or in all)."""

    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        """Return the path of the URL."""
        root = f"/apis/{self.resource.api_version}" if self.resource.group else f"/api/{self.resource.api_version}"
        folder = ("namespaces", self.namespace) if self.resource.namespaced and self.namespace else ()
        return "/".join(part for part in (root, *folder, self.resource.plural, self.name, self.subresource) if part)

    @property
    def rights(self) -> str:
        """Return what an RBAC rule must list to allow a call, e.g. ``deployments/scale`` in group ``apps``."""
        resource = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        inside = self.resource.namespaced and self.namespace
        scope = f'namespace "{self.namespace}"' if inside else "the whole cluster"
        return f'"{resource}" of API group "{self.resource.group}" in {scope}'

    def __str__(self) -> str:
        kind = f"{self.resource.plural}.{self.resource.group}" if self.resource.group else self.resource.plural
        subresource = f"/{self.subresource}" if self.subresource else ""
        return f"{kind}{subresource} {self.namespace}/{self.name or '*'}"


class PatchForm(StrEnum):
    """How the API server reads the body of a patch."""

    MERGE = "application/merge-patch+json"
    APPLY = "application/apply-patch+yaml"  # server-side apply; JSON is YAML


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the verb as RBAC names it, the path, and what goes with them."""

    verb: str  # get, list, watch, patch, create, update, delete
    path: str
    subject: str  # for messages: what the call is about
    rights: str = ""  # what a role must allow; empty: nothing that a role could add
    query: Query = ()
    body: Json | None = None
    accept: str = "application/json"
    content_type: str = "application/json"

    METHODS: ClassVar[Mapping[str, str]] = {"patch": "PATCH", "create": "POST", "update": "PUT", "delete": "DELETE"}

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return self.METHODS.get(self.verb, "GET")

    @property
    def reads(self) -> bool:
        """Tell whether the call changes nothing."""
        return self.method == "GET"

    def failed(
        self, problem: str, status: int = NO_ANSWER, *, unsent: bool = False, retry_after: Seconds | None = None
    ) -> KubeError:
        """Return the error that says this call failed; ``unsent``: the request certainly did not arrive."""
        kind = KubeReadError if self.reads else KubeWriteError
        again = unsent or status in NOT_DONE or (self.reads and status in UNCLEAR)
        return kind(f"{self.verb} {self.subject}: {problem}", status=status, again=again, retry_after=retry_after)

    def refused(self, status: int, answer: str, retry_after: Seconds | None = None) -> KubeError:
        """Return the error for an answer that is not a success, in words that say what to do."""
        said = _said(answer)
        match status:
            case HTTPStatus.UNAUTHORIZED:
                problem = f"the login is not accepted: {said}; renew the token or certificate"
            case HTTPStatus.FORBIDDEN if self.rights:
                problem = f'forbidden: grant verb "{self.verb}" on {self.rights} ({said})'
            case HTTPStatus.NOT_FOUND:
                problem = f"not found: {said}"
            case _:
                problem = f"HTTP {status}: {said}"
        return self.failed(problem, status, retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts. ``jitter`` yields shares in [0, 1); it comes from outside, like all chance."""

    jitter: Callable[[], float]
    first: Seconds = Seconds(0.2)
    longest: Seconds = Seconds(10.0)

    def delay(self, failures: int) -> Seconds:
        """Return the wait after so many failures before this one: doubled each time, between half and whole."""
        whole = min(self.longest, self.first * 2.0 ** min(failures, 32))
        return Seconds(whole * (0.5 + 0.5 * self.jitter()))


class Client(client.ApiClient):
    """A client whose ``close`` leaves no socket behind.

    A TLS connection whose call ended early says farewell in the background, for as long as the server takes to answer:
    where the event loop ends before, the socket stays. So what is still open at the end is hung up.
    """

    def __init__(self, configuration: client.Configuration) -> None:
        """Take a login."""
        super().__init__(configuration)
        self._sockets = WeakSet[socket.socket]()
        connector: Any = self.rest_client.pool_manager.connector  # made by the library, which takes no options for it
        connector._socket_factory = self._socket  # noqa: SLF001

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        self._sockets.add(made)
        return made

    async def close(self) -> None:
        """Close every connection, those too that wait for a farewell."""
        await super().close()
        for left in self.open_sockets():
            with suppress(OSError):  # not connected yet, or no longer
                left.shutdown(socket.SHUT_RDWR)
        for _ in range(100):  # its transport reads the end, and closes it
            if not self.open_sockets():
                break
            await asyncio.sleep(0.01)

    def open_sockets(self) -> list[socket.socket]:
        """Return those that are not closed."""
        return [each for each in self._sockets if each.fileno() >= 0]


@dataclass(frozen=True, slots=True)
class Login:
    """Where credentials come from: the file, else KUBECONFIG, else the pod's service account, else ~/.kube/config."""

    kubeconfig: str | None = None
    context: str | None = None

    async def client(self) -> Client:
        """Read the credentials anew, and make a client of them (nothing is sent).

        Raises:
            InputError: there are none, or they cannot be read.
        """
        made = client.Configuration()
        made.connection_pool_maxsize = 0  # no limit: every watch holds a connection
        named = self.kubeconfig or os.environ.get("KUBECONFIG")
        try:
            if not named and "KUBERNETES_SERVICE_HOST" in os.environ:
                config.load_incluster_config(client_configuration=made)  # type: ignore[no-untyped-call]  # re-reads its token every minute
            else:
                await config.load_kube_config(
                    config_file=named or "~/.kube/config",
                    context=self.context,
                    client_configuration=made,
                    persist_config=False,
                )
            ready = Client(made)  # reads certificates
        except UNUSABLE_LOGIN as error:
            source = named or "the default login"
            msg = f"no login to Kubernetes by {source}: {error}; set KUBECONFIG or --kubeconfig, or run in a cluster"
            raise InputError(msg) from error
        ready.user_agent = FIELD_MANAGER
        return ready


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may take, and how often it is tried.

    A write gives up within less than the margin of a Lease (``act/lease.py``), here and in the API server, so that none
    of a leader that could not renew is carried out in its successor's time.
    """

    connect: Seconds = Seconds(3.0)
    attempt: Seconds = Seconds(8.0)
    write: Seconds = Seconds(4.0)  # an attempt that writes: here from before it connects, in the server from arrival
    attempts: int = 4
    wait: Seconds = Seconds(10.0)  # a server that asks for more patience than this is an error now

    def patience(self, call: Call) -> aiohttp.ClientTimeout:
        """Return the time limits of one attempt."""
        return aiohttp.ClientTimeout(total=self.attempt if call.reads else self.write, sock_connect=self.connect)

    def query(self, call: Call) -> Query:
        """Return the query of one attempt; for a write it tells the API server when to give up.

        Source: k8s.io/apiserver, ``pkg/endpoints/filters/request_deadline.go``.
        """
        return call.query if call.reads else (*call.query, ("timeout", f"{self.write:g}s"))


class KubeSession:
    """A login and its connections. Use ``async with KubeSession.open(...)``, or call ``close``."""

    def __init__(
        self,
        login: Login,
        logged_in: Client,
        backoff: Backoff,
        limits: Limits,
        may_write: Callable[[], bool],
    ) -> None:
        """Take the client that ``login`` made; see ``open``."""
        self.backoff = backoff
        self._may_write = may_write
        self._login = login
        self._limits = limits
        self._client = logged_in
        self._retired: list[Client] = []  # may still carry answers; closed at the end
        self._logging_in = asyncio.Lock()
        self._resources: dict[tuple[str, str], Resource] = {}

    @classmethod
    async def open(
        cls,
        *,
        jitter: Callable[[], float],
        login: Login | None = None,
        limits: Limits | None = None,
        may_write: Callable[[], bool] = lambda: True,
    ) -> Self:
        """Log in (nothing is sent yet). ``may_write`` is asked just before each write is sent, repeated ones too.

        Raises:
            InputError: there are no credentials.
        """
        login = login or Login()
        return cls(login, await login.client(), Backoff(jitter), limits or Limits(), may_write)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        for closing in (*self._retired, self._client):
            await closing.close()

    async def get(self, place: Place, *, metadata_only: bool = False) -> Json:
        """Return an object, or of it only its metadata."""
        accept = METADATA_ONLY if metadata_only else "application/json"
        return await self._answered(_call("get", place, accept=accept))

    async def page(self, place: Place, *, limit: int, resume: str = "") -> Json:
        """Return one page of a list; ``metadata.continue`` of the answer resumes it (410 where it came too late)."""
        query = (("limit", str(limit)), *((("continue", resume),) if resume else ()))
        return await self._answered(_call("list", place, query=query))

    async def patch(self, place: Place, body: Json, form: PatchForm = PatchForm.MERGE, *, force: bool = False) -> Json:
        """Patch an object as field manager FIELD_MANAGER; ``force``: take over fields of others (apply only)."""
        query = (("fieldManager", FIELD_MANAGER), *((("force", "true"),) if force else ()))
        return await self._answered(_call("patch", place, query=query, body=body, content_type=form.value))

    async def create(self, place: Place, body: Json) -> Json:
        """Create an object in a place without a name."""
        return await self._answered(_call("create", place, query=(("fieldManager", FIELD_MANAGER),), body=body))

    async def replace(self, place: Place, body: Json) -> Json:
        """Replace an object; its ``resourceVersion`` must still be the one in ``body``."""
        return await self._answered(_call("update", place, query=(("fieldManager", FIELD_MANAGER),), body=body))

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Return how a kind is served; found ones are remembered.

        Raises:
            KubeReadError: the API server does not serve it (status 404), or does not answer.
        """
        if (api_version, kind) not in self._resources:
            self._resources |= {(api_version, found.kind): found for found in await self._served(api_version, kind)}
        return self._resources[api_version, kind]

    async def _served(self, api_version: str, kind: str) -> tuple[Resource, ...]:
        """Return the kinds of an API version, of which ``kind`` must be one."""
        call = Call("get", f"/{'apis' if '/' in api_version else 'api'}/{api_version}", f"kind {kind} of {api_version}")
        unserved = "the API server does not serve it; install its CRD, or correct apiVersion and kind"
        try:
            served = tuple(_resources(api_version, await self._answered(call)))
        except KubeReadError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise call.failed(unserved, error.status) from error
            raise
        if kind not in {resource.kind for resource in served}:
            raise call.failed(unserved, HTTPStatus.NOT_FOUND)
        return served

    @asynccontextmanager
    async def watch(self, place: Place, version: str, period: Seconds) -> AsyncGenerator[AsyncIterator[Json]]:
        """Watch a place from a ``resourceVersion`` on; the server ends it after ``period``.

        Yields:
            Events ``{"type": ADDED | MODIFIED | DELETED | BOOKMARK, "object": ...}`` of an established watch.

        Raises:
            KubeReadError: status 410 where the version is too old: list again.
        """
        asked = (("watch", "1"), ("allowWatchBookmarks", "true"), ("resourceVersion", version))
        call = _call("watch", place, query=(*asked, ("timeoutSeconds", str(max(1, round(period))))))
        # a connection that was cut without a word is noticed a little after the server should have ended it
        silence = aiohttp.ClientTimeout(sock_connect=self._limits.connect, sock_read=period + self._limits.attempt)
        response = await self._with_retries(lambda: self._send(call, silence))
        try:
            yield _events(call, response)
        finally:
            _abort(response)

    async def _answered(self, call: Call) -> Json:
        async def once() -> Json:
            response = await self._send(call, self._limits.patience(call))
            with _translated(call):
                async with response:
                    answer: Json = json.loads(await response.read())
                    return answer

        return await self._with_retries(once)

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            used = self._client
            try:
                return await attempt()
            except KubeError as error:
                rotated = error.status == HTTPStatus.UNAUTHORIZED and failures == 0
                delay = self.backoff.delay(failures) if error.retry_after is None else error.retry_after
                failures += 1
                if not rotated and (not error.again or failures == self._limits.attempts or delay > self._limits.wait):
                    raise
                refused = error
            if rotated:
                await self._log_in_again(used, refused)
            else:
                await asyncio.sleep(delay)

    async def _log_in_again(self, used: Client, refused: KubeError) -> None:
        """Read rotated credentials, unless another call has just done so."""
        async with self._logging_in:
            if self._client is used:
                try:
                    self._client = await self._login.client()
                except InputError as unusable:
                    raise refused from unusable
                self._retired.append(used)

    async def _send(self, call: Call, patience: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send once; return the response of a success with its body unread."""
        if not call.reads and not self._may_write():
            raise call.failed(FENCED, HTTPStatus.CONFLICT)
        with _translated(call):
            response: aiohttp.ClientResponse = await self._client.call_api(
                call.path,
                call.method,
                query_params=list(self._limits.query(call)),
                header_params={"Accept": call.accept, "Content-Type": call.content_type},
                body=call.body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=patience,
            )
            if response.ok:
                return response
            async with response:
                answer = await response.text(errors="replace")
        raise call.refused(response.status, answer, _retry_after(response))


async def retry_on_conflict(attempt: Callable[[], Awaitable[T]], tries: int = 4) -> T:
    """Read, judge and write anew where somebody else wrote in between.

    Raises:
        KubeError: what the attempt raised; a conflict only when the last try met one too.
    """
    for _ in range(tries - 1):
        try:
            return await attempt()
        except KubeError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
    return await attempt()


def _call(
    verb: str,
    place: Place,
    *,
    query: Query = (),
    body: Json | None = None,
    accept: str = "application/json",
    content_type: str = "application/json",
) -> Call:
    return Call(verb, place.path, str(place), place.rights, query, body, accept, content_type)


@contextmanager
def _translated(call: Call) -> Iterator[None]:
    """Turn what the transport throws into errors of this module."""
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _lost(call, error) from error


def _lost(call: Call, error: Exception) -> KubeError:
    match error:
        case aiohttp.ClientConnectorError():
            return call.failed(f"no connection: {error}", unsent=True)
        case TimeoutError():
            return call.failed("no answer in time")
        case ValueError():
            return call.failed(f"an answer that cannot be read: {error}")
        case _:
            return call.failed(f"connection lost: {error!r}")


def _abort(response: aiohttp.ClientResponse) -> None:
    """Cut a stream without the farewell of TLS: nobody would wait for the answer to it, and the socket would stay."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()
    response.close()


async def _events(call: Call, response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    with _translated(call):
        while line := await response.content.readline():
            event: Json = json.loads(line)
            if event["type"] == "ERROR":
                raise call.refused(int(event["object"].get("code", NO_ANSWER)), json.dumps(event["object"]))
            yield event


def _said(answer: str) -> str:
    """Return the message of a Status object, or the beginning of whatever else was answered."""
    try:
        said = json.loads(answer)["message"]
    except (ValueError, KeyError, TypeError):
        said = answer[:200]
    return str(said).strip()


def _retry_after(response: aiohttp.ClientResponse) -> Seconds | None:
    """Return what a Retry-After header in seconds says (the API server sends no dates)."""
    text = response.headers.get("Retry-After", "")
    return Seconds(float(text)) if text.isdecimal() else None


def _resources(api_version: str, served: Json) -> Iterator[Resource]:
    listed = served.get("resources", [])
    scalable = {entry["name"].removesuffix("/scale") for entry in listed if entry["name"].endswith("/scale")}
    for entry in listed:
        if "/" not in entry["name"]:
            name = entry["name"]
            yield Resource(api_version, entry["kind"], name, entry["namespaced"], name in scalable)
