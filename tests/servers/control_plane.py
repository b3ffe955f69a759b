"""A Kubernetes control plane on loopback: etcd, API server, controller manager; no scheduler and no node.

Start-up arguments and their reasons: the ServiceAccount admission plugin would refuse pods until a service account
exists; with ``--use-service-account-credentials=false`` the controllers do nothing, silently.
"""

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import yaml

from tests.servers import audit
from tests.servers.process import Server, free_port
from tools.servers import find

ADMIN = "admin"
CONTROLLER_AUTO = "controller-auto"
CONTROLLER_RECOMMEND = "controller-recommend"
USERS: Mapping[str, str] = {
    ADMIN: "system:masters",
    CONTROLLER_AUTO: "test",
    CONTROLLER_RECOMMEND: "test",
    "system:kube-controller-manager": "test",
}
CONTROLLERS = (
    "deployment-controller,replicaset-controller,statefulset-controller,garbage-collector-controller,"
    "pod-garbage-collector-controller,namespace-controller,disruption-controller,horizontal-pod-autoscaler-controller,"
    "endpointslice-controller"
)
REQUEST_TIMEOUT_S = 10.0


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, code: int, message: str) -> None:
        """Take the HTTP status and the server's words."""
        self.code = code
        super().__init__(f"{code}: {message}")


class ControlPlane:
    """A context manager: started on entry in about 4 s, ended on exit. Holds its state in a folder."""

    def __init__(self, folder: Path) -> None:
        """Take an empty folder for data, keys and logs.

        Raises:
            find.MissingServersError: a binary is absent.
        """
        self._folder = folder
        self._binaries = find.locate(find.CONTROL_PLANE_BINARIES)
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        self._port = free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        self.audit_log = folder / "audit.log"
        self._etcd = self._etcd_server()
        self._api_server = self._kube_apiserver()
        self._controller_manager = self._kube_controller_manager()

    def __enter__(self) -> Self:
        """Start all three servers."""
        self._write_files()
        try:
            self._etcd.start()
            self._api_server.start()
            self._controller_manager.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End all three servers."""
        self._stop()

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """Return the path of the kubeconfig of one of USERS."""
        return self._folder / f"{user.replace(':', '-')}.kubeconfig"

    def stop_api_server(self) -> None:
        """End the API server alone; etcd keeps everything."""
        self._api_server.stop()

    def kill_api_server(self) -> None:
        """End the API server by SIGKILL."""
        self._api_server.kill()

    def frozen_api_server(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the API server stands still: it is connected to, and answers nothing."""
        return self._api_server.frozen()

    def start_api_server(self) -> None:
        """Start the API server again, at the same address and with the same certificate; no harm where it runs."""
        self._api_server.start()

    def audit_events(self, user: str | None = None) -> tuple[audit.AuditEvent, ...]:
        """Return every request so far, of one user or of all. Events follow their answer by some milliseconds."""
        return audit.read(self.audit_log, user=user)

    def writes(self, user: str) -> tuple[audit.AuditEvent, ...]:
        """Return what a user wrote or tried to write so far."""
        return tuple(event for event in self.audit_events(user) if event.is_write)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        user: str = ADMIN,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Send one request as a user and return the answer; ``PATCH`` is a JSON merge patch unless headers say else.

        Raises:
            ApiError: the server refused.
            URLError: no server answers.
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent = {"Authorization": f"Bearer {_token(user)}", "Content-Type": kind, "User-Agent": "tests", **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S, context=self._tls()) as answer:
                parsed: dict[str, Any] = json.loads(answer.read())
                return parsed
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, error.read().decode(errors="replace")) from None

    def grant(self, user: str, rules: Sequence[Mapping[str, Any]], *, namespace: str) -> None:
        """Allow a user what RBAC rules say, in one namespace; a second grant replaces the first."""
        group = "rbac.authorization.k8s.io"
        base = f"/apis/{group}/v1/namespaces/{namespace}"
        self._put(f"{base}/roles", user, {"rules": list(rules)})
        binding = {
            "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        self._put(f"{base}/rolebindings", user, binding)

    def _put(self, collection: str, name: str, body: Mapping[str, Any]) -> None:
        """Create an object, or replace the one of this name."""
        try:
            self.request("POST", collection, {"metadata": {"name": name}, **body})
        except ApiError as error:
            if error.code != 409:
                raise
            self.request("PUT", f"{collection}/{name}", {"metadata": {"name": name}, **body})

    def _etcd_server(self) -> Server:
        peer = f"http://127.0.0.1:{free_port()}"
        command: list[str | Path] = [
            self._binaries["etcd"],
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # nothing here outlives the test
        ]
        return Server(command, log=self._folder / "etcd.log", ready=lambda: _answers(f"{self._etcd_url}/health"))

    def _kube_apiserver(self) -> Server:
        key = self._folder / "sa.key"
        command: list[str | Path] = [
            self._binaries["kube-apiserver"],
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self._folder / 'pki'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={self._folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
        ]
        return Server(command, log=self._folder / "kube-apiserver.log", ready=self._api_server_ready)

    def _kube_controller_manager(self) -> Server:
        port = free_port()
        command: list[str | Path] = [
            self._binaries["kube-controller-manager"],
            f"--kubeconfig={self.kubeconfig('system:kube-controller-manager')}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self._folder / 'pki-controllers'}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self._folder / 'sa.key'}",
            f"--controllers={CONTROLLERS}",
        ]
        probe = _probe(
            f"https://127.0.0.1:{port}/healthz", self._folder / "pki-controllers/kube-controller-manager.crt"
        )
        return Server(command, log=self._folder / "kube-controller-manager.log", ready=probe)

    def _api_server_ready(self) -> bool:
        """Ask as the administrator: the first answers of ``/readyz`` come before the roles exist."""
        if not self._certificate.exists():
            return False
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {_token(ADMIN)}"})
        return _answers(request, self._tls())

    @property
    def _certificate(self) -> Path:
        return self._folder / "pki" / "apiserver.crt"

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._certificate))

    def _write_files(self) -> None:
        key = self._folder / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        tokens = [f'{_token(user)},{user},{user},"{group}"' for user, group in USERS.items()]
        (self._folder / "tokens.csv").write_text("\n".join(tokens) + "\n")
        (self._folder / "audit-policy.yaml").write_text(yaml.safe_dump(audit.POLICY))
        for user in USERS:
            self.kubeconfig(user).write_text(yaml.safe_dump(self._kubeconfig_of(user)))

    def _kubeconfig_of(self, user: str) -> dict[str, Any]:
        cluster = {"server": self.url, "certificate-authority": str(self._certificate)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": _token(user)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }

    def _stop(self) -> None:
        for server in (self._controller_manager, self._api_server, self._etcd):
            server.stop()


def eventually(holds: Callable[[], bool], *, within_s: float = 60.0, what: str = "the expected state") -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            message = f"{what} did not come within {within_s:g} s"
            raise AssertionError(message)
        time.sleep(0.05)


def _token(user: str) -> str:
    return f"token-of-{user.replace(':', '-')}"


def _probe(url: str, certificate: Path) -> Callable[[], bool]:
    """Return a probe that trusts a certificate which the server writes when it starts."""

    def ready() -> bool:
        return certificate.exists() and _answers(url, ssl.create_default_context(cafile=str(certificate)))

    return ready


def _answers(request: str | urllib.request.Request, tls: ssl.SSLContext | None = None) -> bool:
    """Tell whether a server answers 200."""
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S, context=tls) as answer:
            return bool(answer.status == 200)
    except (OSError, ssl.SSLError):
        return False
