"""A load on pods that exist for the API server only: what picker and engines would show, scraped by Prometheus."""

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from autoscaler.domain.pool import Role
from tests import observing
from tests.servers.control_plane import ControlPlane
from tests.servers.prometheus import Target
from tests.servers.serving import TEXT, Answer, Serving

PICKER = "picker"
POLL_S = 0.5


class Traffic(Serving):
    """A context manager that serves a page for the picker and for each pod; ``rate`` requests/s run at any time.

    Prompts have 1000 tokens, of which a quarter is cached, answers 100; the pods of a role share them evenly.
    """

    def __init__(self, rate: float = 0.0) -> None:
        """Take the load to begin with."""
        self._rate = rate
        self._lock = threading.Lock()
        self._at = time.monotonic()
        self._offered = 0.0
        self._served: dict[str, float] = {}
        self._roles: Mapping[str, Role] = {}
        super().__init__(self._answer)

    def turn(self, rate: float) -> None:
        """Let another number of requests/s come from now on."""
        with self._lock:
            self._advance()
            self._rate = rate

    def share(self, roles: Mapping[str, Role]) -> None:
        """Let these pods serve from now on."""
        with self._lock:
            self._advance()
            self._roles = dict(roles)

    def _advance(self) -> None:
        """Count what came since the last look."""
        now = time.monotonic()
        came = self._rate * (now - self._at)
        self._at = now
        self._offered += came
        for role in Role:
            pods = [pod for pod, of in self._roles.items() if of is role]
            for pod in pods:
                self._served[pod] = self._served.get(pod, 0.0) + came / len(pods)

    def _page(self, name: str) -> str | None:
        with self._lock:
            self._advance()
            if name == PICKER:
                return observing.picker(1.0, {"rag": self._offered})
            if name not in self._roles:
                return None
            running = 4.0 if self._rate > 0.0 else 0.0
            return observing.engine(1.0, self._roles[name], self._served.get(name, 0.0), running=running)

    def _answer(self, path: str, body: bytes) -> Answer:  # noqa: ARG002 - nothing is sent
        text = self._page(path.strip("/"))
        return 404 if text is None else 200, TEXT, (text or "").encode()


class Scraper(Protocol):
    """Whoever scrapes: a Prometheus, or one namespace's part of it."""

    def set_targets(self, targets: Sequence[Target]) -> None:
        """Scrape these from now on."""
        ...


class Discovery:
    """A context manager that does what a PodMonitor does: the ready pods of a namespace are scraped, with their labels.

    ``namespace_label``: under which name the namespace is attached, for tests that get it wrong.
    """

    def __init__(self, plane: ControlPlane, namespace: str, traffic: Traffic, prometheus: Scraper) -> None:
        """Take where pods are, who serves their pages and who scrapes them."""
        self._plane = plane
        self._namespace = namespace
        self._traffic = traffic
        self._prometheus = prometheus
        self._told: tuple[object, ...] = ()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._failure: Exception | None = None
        self._scrapes = True
        self._looking = threading.Lock()
        self.namespace_label = "namespace"

    def __enter__(self) -> Self:
        """Follow; the picker and what is ready now are scraped on return."""
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop following."""
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def scrape(self, *, on: bool) -> None:
        """Let there be something to scrape, or nothing; done on return."""
        self._scrapes = on
        self._look()

    def _follow(self) -> None:
        try:
            while not self._ended.wait(POLL_S):
                self._look()
        except Exception as error:  # noqa: BLE001 - handed to the test
            self._failure = error

    def _look(self) -> None:
        with self._looking:
            roles = self._ready()
            told = (roles, self._scrapes, self.namespace_label)
            if told == self._told:
                return
            self._traffic.share(roles)
            names = (PICKER, *sorted(roles)) if self._scrapes else ()
            self._prometheus.set_targets([self._target(name) for name in names])
            self._told = told

    def _ready(self) -> dict[str, Role]:
        found = self._plane.request("GET", f"/api/v1/namespaces/{self._namespace}/pods")
        return {
            pod["metadata"]["name"]: Role(pod["metadata"]["labels"]["app"])
            for pod in found["items"]
            if "deletionTimestamp" not in pod["metadata"]
            and pod["status"].get("phase") == "Running"
            and pod["metadata"]["labels"]["app"] in set(Role)  # a picker may be among them
        }

    def _target(self, name: str) -> Target:
        labels = {"__metrics_path__": f"/{name}", self.namespace_label: self._namespace, "pod": name}
        return Target(self._traffic.address, labels)
