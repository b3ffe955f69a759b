"""Plays the scheduler and the kubelet for every pod of a control plane: no container runs, only the API's side is real.

A pod is bound to one Node, becomes Ready after its start-up delay with an address 127.0.x.y of its own, and on deletion
stays for its stop delay, never longer than its grace period, as the API server promises.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes_asyncio import client, watch
from kubernetes_asyncio.client.exceptions import ApiException

from autoscaler.kube import Login

STARTUP_SECONDS = "test.disagg-autoscaler.io/startup-seconds"  # annotation of the pod; absent: Ready at once
STOP_SECONDS = "test.disagg-autoscaler.io/stop-seconds"  # annotation of the pod; absent: gone at once
NODE = "fake-node"
RETRY_S = 0.2  # the API server may be down: tests stop it
LARGEST_POOL = 254 * 254

Step = Callable[[client.V1Pod], Awaitable[None]]

UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)


class FakeKubelet:
    """An async context manager; binds every pod that has no node yet, so one per control plane is enough."""

    def __init__(self, kubeconfig: Path, *, node: str = NODE) -> None:
        """Take the kubeconfig of an administrator and the name of the Node to be."""
        self._kubeconfig = kubeconfig
        self._node = node
        self._addresses: dict[str, int] = {}
        self._work: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """Create the Node and look after pods from now on."""
        async with contextlib.AsyncExitStack() as stack:
            self._api = await stack.enter_async_context(await Login(str(self._kubeconfig)).client())
            self._core = client.CoreV1Api(self._api)
            await self._create_node()
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())  # a failure in a task ends the test
            self._loop = self._tasks.create_task(self._run())
            stack.callback(self._cancel)
            self._exits = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop looking after pods; they stay as they are."""
        await self._exits.__aexit__(kind, error, trace)

    def _cancel(self) -> None:
        for task in (self._loop, *self._work.values()):
            task.cancel()

    async def _create_node(self) -> None:
        node = client.V1Node(metadata=client.V1ObjectMeta(name=self._node))
        with contextlib.suppress(ApiException):  # it may be there from an earlier kubelet
            await self._core.create_node(node)
        condition = {"type": "Ready", "status": "True", "reason": "FakeKubelet", "message": "no container runs here"}
        await self._core.patch_node_status(
            self._node, {"status": {"conditions": [condition], "capacity": {"pods": "1000"}}}
        )

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (ApiException, *UNREACHABLE):
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        """List all pods, then watch until the stream ends."""
        pods = await self._core.list_pod_for_all_namespaces()
        alive = {pod.metadata.uid for pod in pods.items}
        for uid in {uid for _, uid in self._work} - alive:
            self._forget(uid)
        for pod in pods.items:
            self._see(pod)
        async with watch.Watch() as changes:
            stream = changes.stream(
                self._core.list_pod_for_all_namespaces,
                resource_version=pods.metadata.resource_version,
                timeout_seconds=60,
            )
            async for change in stream:
                if change["type"] == "DELETED":
                    self._forget(change["object"].metadata.uid)
                else:
                    self._see(change["object"])

    def _see(self, pod: client.V1Pod) -> None:
        """Begin what a pod needs next, unless it is under way."""
        if pod.metadata.deletion_timestamp is not None:
            if pod.spec.node_name == self._node:
                self._begin("stop", pod, self._stop)
        elif pod.spec.node_name is None:
            self._begin("bind", pod, self._bind)
        elif pod.spec.node_name == self._node and pod.status.phase == "Pending":
            self._begin("start", pod, self._start)

    def _begin(self, step: str, pod: client.V1Pod, action: Step) -> None:
        key = (step, pod.metadata.uid)
        if key not in self._work:
            self._work[key] = self._tasks.create_task(_until_accepted(action, pod))

    def _forget(self, uid: str) -> None:
        self._addresses.pop(uid, None)
        for step in ("bind", "start", "stop"):
            task = self._work.pop((step, uid), None)
            if task is not None:
                task.cancel()

    async def _bind(self, pod: client.V1Pod) -> None:
        binding = {
            "metadata": {"name": pod.metadata.name, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
        }
        path = f"/api/v1/namespaces/{pod.metadata.namespace}/pods/{pod.metadata.name}/binding"
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        # the generated method fails to read the answer, which is a Status
        await self._api.call_api(path, "POST", header_params=headers, body=binding, auth_settings=["BearerToken"])

    async def _start(self, pod: client.V1Pod) -> None:
        await asyncio.sleep(_delay(pod, STARTUP_SECONDS))
        number = self._address(pod.metadata.uid)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        status = {
            "phase": "Running",
            "podIP": f"127.0.{number // 254 + 1}.{number % 254 + 1}",
            "startTime": now,
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
            "containerStatuses": [_container(container, now) for container in pod.spec.containers],
        }
        await self._core.patch_namespaced_pod_status(
            pod.metadata.name, pod.metadata.namespace, {"metadata": {"uid": pod.metadata.uid}, "status": status}
        )

    async def _stop(self, pod: client.V1Pod) -> None:
        grace = pod.metadata.deletion_grace_period_seconds or 0
        await asyncio.sleep(min(_delay(pod, STOP_SECONDS), grace))
        options = client.V1DeleteOptions(
            grace_period_seconds=0, preconditions=client.V1Preconditions(uid=pod.metadata.uid)
        )
        await self._core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, body=options)

    def _address(self, uid: str) -> int:
        """Return the lowest free number; the pod keeps it until it is gone."""
        if uid not in self._addresses:
            taken = set(self._addresses.values())
            self._addresses[uid] = next(number for number in range(LARGEST_POOL) if number not in taken)
        return self._addresses[uid]


@contextlib.contextmanager
def kubelet_in_thread(kubeconfig: Path) -> Iterator[None]:
    """Run a FakeKubelet in a thread with a loop of its own, for tests that are not asynchronous."""
    started, failures, loop = threading.Event(), list[BaseException](), asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with FakeKubelet(kubeconfig):
            started.set()
            await ended.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            failures.append(error)
            started.set()

    thread = threading.Thread(target=run, name="fake-kubelet")
    thread.start()
    started.wait()
    try:
        if not failures:
            yield
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)
        thread.join()
    if failures:
        raise failures[0]


async def _until_accepted(action: Step, pod: client.V1Pod) -> None:
    """Carry out a step; again while the API server is away; never where it refuses (the pod changed or has gone)."""
    while True:
        try:
            await action(pod)
        except ApiException as refusal:
            if refusal.status < 500:
                return
        except UNREACHABLE:
            pass
        else:
            return
        await asyncio.sleep(RETRY_S)


def _delay(pod: client.V1Pod, annotation: str) -> float:
    return float((pod.metadata.annotations or {}).get(annotation, 0.0))


def _container(container: Any, now: str) -> dict[str, Any]:  # noqa: ANN401 - the client has no types
    return {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "started": True,
        "state": {"running": {"startedAt": now}},
    }
