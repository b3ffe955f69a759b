"""The controller as a process of its own, as a cluster runs it; and a watch on what becomes of the scale targets."""

import json
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.servers.control_plane import ControlPlane
from tests.servers.guard import guard
from tests.servers.process import free_port

PERIOD = "2s"
POLL_S = 0.1
PATIENCE_S = 120.0  # the machine may be busy: a process takes many seconds to import its libraries
ANSWER_TIMEOUT_S = 20.0
LOG_LINES = 6


class Autoscaler:
    """A context manager around ``autoscaler run``: started on entry, killed on exit where it still runs."""

    def __init__(
        self,
        folder: Path,
        *,
        policy: Path | None,
        prometheus: str,
        kubeconfig: Path,
        window: str | None,
        options: Sequence[str] = (),
    ) -> None:
        """Take a folder for its logs and what it is to be told; without a window it makes its own choice."""
        self.decision_log = folder / "decisions.jsonl"
        self._log = folder / "controller.log"
        self._url = f"http://127.0.0.1:{free_port()}"
        listen = self._url.removeprefix("http://")
        self._command = [
            *(sys.executable, "-m", "autoscaler", "run", "--prometheus", prometheus),
            *(() if policy is None else ("--policy", str(policy))),
            *("--kubeconfig", str(kubeconfig), "--period", PERIOD, "--history", "10m"),
            *("--decision-log", str(self.decision_log), "--listen", listen),
            *(() if window is None else ("--window", window)),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Kill what still runs."""
        if self._process is not None:
            self.send(signal.SIGKILL)
            self.wait()

    def start(self) -> None:
        """Start the process; returns at once."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        guard().watch(self._process.pid)

    def kill(self) -> None:
        """End by SIGKILL, whatever it is doing."""
        self.send(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL, f"it had ended before:\n{self._story()}"

    def terminate(self) -> int:
        """Ask to end, as a kubelet does; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; returns the exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return process.wait(PATIENCE_S)
        finally:
            process.kill()  # does nothing to a process that has ended
            process.wait()
            guard().release(process.pid)

    def ticks(self) -> list[dict[str, Any]]:
        """Return the decision log so far, oldest first."""
        lines = self.decision_log.read_text(encoding="utf-8").split("\n") if self.decision_log.exists() else [""]
        entries = map(json.loads, lines[:-1])  # what follows the last line end is being written
        return [entry for entry in entries if entry["kind"] == "tick"]

    def events(self) -> list[dict[str, Any]]:
        """Return the log events so far."""
        return [json.loads(line) for line in self._log.read_text(encoding="utf-8").split("\n")[:-1]]

    def until(self, holds: Callable[[list[dict[str, Any]]], bool], what: str) -> list[dict[str, Any]]:
        """Return the ticks once a condition on them holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(ticks := self.ticks()):
            assert self._process is not None
            assert self._process.poll() is None, f"the controller has ended before {what}:\n{self._story()}"
            assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE_S:g} s:\n{self._story()}"
            time.sleep(POLL_S)
        return ticks

    def next_tick(self) -> dict[str, Any]:
        """Return the first tick that begins after now."""
        now = time.time()
        ticks = self.until(lambda ticks: any(tick["at"] > now for tick in ticks), "another tick")
        return next(tick for tick in ticks if tick["at"] > now)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of an answer of its server."""
        try:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - http
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return its own metrics by name and label values (in the order of the labels' names)."""
        status, text = self.get("/metrics")
        assert status == 200
        return {
            (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def _story(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])


class Sizes:
    """A context manager that watches the Deployments of a namespace: every count that was ever asked for, in order."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        """Take where to look."""
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        login = yaml.safe_load(plane.kubeconfig().read_text(encoding="utf-8"))
        cluster = login["clusters"][0]["cluster"]
        self._url = cluster["server"]
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._headers = {"Authorization": f"Bearer {login['users'][0]['user']['token']}"}
        found = plane.request("GET", self._path)
        self._version = found["metadata"]["resourceVersion"]
        self._counts = {item["metadata"]["name"]: [item["spec"]["replicas"]] for item in found["items"]}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        """Watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def of(self, name: str) -> list[int]:
        """Return the counts of a Deployment, from the one at the begin."""
        return list(self._counts[name])

    def now(self) -> dict[str, int]:
        """Return the last count of each."""
        return {name: counts[-1] for name, counts in self._counts.items()}

    def changed(self) -> bool:
        """Tell whether any was ever asked for another count than at the begin."""
        return any(len(counts) > 1 for counts in self._counts.values())

    def falls(self) -> dict[str, list[int]]:
        """Return the counts of those that were ever asked for fewer than before."""
        return {name: counts for name, counts in self._counts.items() if counts != sorted(counts)}

    def _follow(self) -> None:
        try:
            while not self._ended.is_set():  # each watch lasts a second and is taken up where it ended: none is missed
                self._watch()
        except Exception as error:  # noqa: BLE001 - handed to the test
            self._failure = error

    def _watch(self) -> None:
        query = f"watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={self._version}"
        request = urllib.request.Request(f"{self._url}{self._path}?{query}", headers=self._headers)  # noqa: S310 - https
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S, context=self._tls) as events:  # noqa: S310
            for line in events:
                event = json.loads(line)
                assert event["type"] != "ERROR", event
                self._version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._note(event["object"])

    def _note(self, deployment: dict[str, Any]) -> None:
        counts = self._counts.setdefault(deployment["metadata"]["name"], [])
        if counts[-1:] != [deployment["spec"]["replicas"]]:
            counts.append(deployment["spec"]["replicas"])
