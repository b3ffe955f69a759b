"""A write that hangs in the API server is given up there, too: nothing of a dead leader lands after its time."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from autoscaler.act.kube import KubeActuator
from autoscaler.act.lease import Terms
from autoscaler.domain.record import Outcome, Result
from autoscaler.domain.units import Seconds
from autoscaler.kube import KubeSession, Limits, Login
from tests.integration.kube import stage
from tests.servers.control_plane import ApiError, ControlPlane
from tests.servers.process import free_port

HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SHORT, LONG = Limits(write=Seconds(2.0)), Limits(write=Seconds(40.0))
PATIENCE_S = 60.0


class SlowAdmission:
    """A webhook that is asked about every change of a Deployment's size in a namespace, and allows it when told to."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        """Take where; use ``running``."""
        self.asked = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()
        self._plane, self._namespace = plane, namespace

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SlowAdmission"]:
        """Serve with the API server's certificate, until left."""
        login = yaml.safe_load(self._plane.kubeconfig().read_text(encoding="utf-8"))
        certificate = Path(login["clusters"][0]["cluster"]["certificate-authority"])
        tls, port = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), free_port()
        tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
        await self._ask("POST", HOOKS, self._hook(port, certificate))
        try:
            yield self
        finally:
            await self._ask("DELETE", f"{HOOKS}/{self._namespace}")
            await runner.cleanup()

    async def heard(self) -> None:
        """Wait until the API server knows the webhook."""
        path = f"{stage.APPS.format(namespace=self._namespace)}/decode/scale?dryRun=All"
        async with asyncio.timeout(PATIENCE_S):
            for replicas in range(5, 1000):
                await self._ask("PATCH", path, {"spec": {"replicas": replicas}})
                if self.asked.is_set():
                    break
                await asyncio.sleep(0.1)
        self.asked.clear()

    async def replicas(self) -> int:
        """Return what the Deployment asks for."""
        found = await self._ask("GET", f"{stage.APPS.format(namespace=self._namespace)}/decode")
        return int(found["spec"]["replicas"])

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return await asyncio.to_thread(self._plane.request, method, path, body)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        review = await request.json()
        self.asked.set()
        await self.answering.wait()
        review["response"] = {"uid": review["request"]["uid"], "allowed": True}
        return web.json_response(review)

    def _hook(self, port: int, certificate: Path) -> dict[str, Any]:
        bundle = base64.b64encode(certificate.read_bytes()).decode()
        return {
            "metadata": {"name": self._namespace},
            "webhooks": [
                {
                    "name": "slow.example.com",
                    "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": bundle},
                    "rules": [
                        {
                            "apiGroups": ["apps"],
                            "apiVersions": ["v1"],
                            "operations": ["UPDATE"],
                            "resources": ["deployments/scale"],
                        }
                    ],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}},
                    "failurePolicy": "Ignore",  # who does not answer in time allows
                    "timeoutSeconds": 30,
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }


async def grow(plane: ControlPlane, namespace: str, limits: Limits) -> Outcome:
    """Let the actuator set a Deployment of 2 to 3."""
    login = Login(kubeconfig=str(plane.kubeconfig()))
    async with await KubeSession.open(jitter=lambda: 0.5, login=login, limits=limits) as session:
        actuator = KubeActuator(session, [stage.policy(namespace, stage.variant("decode", namespace))])
        return await actuator.apply([stage.scale(namespace, "decode", 3, observed=2)])


def test_a_write_gives_up_before_another_leader_may_begin() -> None:
    assert Limits().write < Terms().margin


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "result", "replicas"),
    [
        pytest.param(SHORT, Result.FAILED, 2, id="given up: it never lands"),
        pytest.param(LONG, Result.DONE, 3, id="waited for: it lands late"),
    ],
)
def test_what_admission_holds_up(
    control_plane: ControlPlane, namespace: str, limits: Limits, result: Result, replicas: int
) -> None:
    control_plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment("decode", 2))

    async def play() -> None:
        async with SlowAdmission(control_plane, namespace).running() as admission:
            await admission.heard()
            admission.answering.clear()
            growing = asyncio.create_task(grow(control_plane, namespace, limits))
            async with asyncio.timeout(PATIENCE_S):
                await admission.asked.wait()
                await asyncio.wait([growing], timeout=3.0 * SHORT.write)
                assert await admission.replicas() == 2
                admission.answering.set()
                (done,) = (await growing).results
                assert done.result is result, done.detail
                await asyncio.sleep(1.0)  # what was freed has time to land
                assert await admission.replicas() == replicas

    asyncio.run(play())


@pytest.mark.slow
def test_the_api_server_gives_up_by_itself(control_plane: ControlPlane, namespace: str) -> None:
    """Whoever sent it may hang, or be cut off, and so never hang up."""
    control_plane.request("POST", stage.APPS.format(namespace=namespace), stage.deployment("decode", 2))
    path = f"{stage.APPS.format(namespace=namespace)}/decode/scale?timeout=1s"

    async def play() -> None:
        async with SlowAdmission(control_plane, namespace).running() as admission:
            await admission.heard()
            admission.answering.clear()
            with pytest.raises(ApiError, match="504"):
                await asyncio.to_thread(control_plane.request, "PATCH", path, {"spec": {"replicas": 3}})
            admission.answering.set()
            await asyncio.sleep(1.0)
            assert await admission.replicas() == 2

    asyncio.run(play())
