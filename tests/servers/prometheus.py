"""A real Prometheus on loopback: scrapes targets that tests serve, or serves a past that tests back-fill."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.servers.process import Server, free_port
from tools.servers import find

REQUEST_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """A page to scrape: ``address`` is host:port; ``labels`` may hold ``job`` and ``__metrics_path__``."""

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


class PrometheusServer:
    """A context manager around one Prometheus with its own data folder; can be stopped and started on the same data."""

    def __init__(self, folder: Path, *, targets: Sequence[Target] = (), scrape_interval_s: float = 1.0) -> None:
        """Take an empty folder, what to scrape and how often.

        Raises:
            find.MissingServersError: a binary is absent.
        """
        self._folder = folder
        self._binaries = find.locate(find.PROMETHEUS_BINARIES)
        self._data = folder / "data"
        self._data.mkdir()
        self._write_configuration(scrape_interval_s)
        self.set_targets(targets)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._server = Server(self._command(port), log=folder / "prometheus.log", ready=self._ready)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End; the data stay in the folder."""
        self.stop()

    def start(self) -> None:
        """Start, on the data of the last run."""
        self._server.start()

    def stop(self) -> None:
        """End; a later start finds the same data at the same address."""
        self._server.stop()

    def set_targets(self, targets: Sequence[Target]) -> None:
        """Scrape these from now on; a running server notices within a second or two."""
        entries = [{"targets": [target.address], "labels": dict(target.labels)} for target in targets]
        scratch = self._folder / "targets.json.new"
        scratch.write_text(json.dumps(entries))
        scratch.replace(self._folder / "targets.json")

    def backfill(self, openmetrics: Path) -> None:
        """Import samples with their own timestamps from an OpenMetrics file (it ends with ``# EOF``).

        A running server is restarted, since it looks for new blocks once a minute only.
        """
        was_running = self._server.running
        self.stop()
        command: list[str | Path] = [
            self._binaries["promtool"],
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            openmetrics,
            self._data,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = f"promtool refused {openmetrics}: {done.stderr.strip()}"
            raise ValueError(message)
        if was_running:
            self.start()

    def query(self, promql: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query, now or at a Unix time.

        Raises:
            ValueError: the server refused the query.
        """
        parameters = {"query": promql} | ({} if at is None else {"time": f"{at:.3f}"})
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=REQUEST_TIMEOUT_S) as answer:
                result: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
                return result
        except urllib.error.HTTPError as error:
            with error:
                message = f"{promql}: {error.read().decode(errors='replace')}"
                raise ValueError(message) from None

    def _command(self, port: int) -> list[str | Path]:
        return [
            self._binaries["prometheus"],
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._data}",
            "--storage.tsdb.retention.time=100y",  # else back-filled blocks older than 15 days vanish at the start
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    def _write_configuration(self, scrape_interval_s: float) -> None:
        interval = f"{round(scrape_interval_s * 1000)}ms"
        discovery = {"files": [str(self._folder / "targets.json")], "refresh_interval": "1s"}
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [{"job_name": "test", "file_sd_configs": [discovery]}],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=REQUEST_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
