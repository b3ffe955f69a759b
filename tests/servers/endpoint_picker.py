"""A real endpoint picker (llm-d's router, v0.10.0 or later), where somebody has one: ``EPP_BIN`` names the binary."""

import os
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.servers.process import Server, free_port

EPP_BIN = "EPP_BIN"
ABSENT = f"{EPP_BIN} names no endpoint picker: no package registry has one"

CONFIG: dict[str, Any] = {
    "apiVersion": "llm-d.ai/v1alpha1",
    "kind": "EndpointPickerConfig",
    "plugins": [
        {"type": "prefill-filter"},
        {"type": "decode-filter"},
        {"type": "queue-scorer"},
        {"type": "max-score-picker"},
        {"type": "approx-prefix-cache-producer"},
        {"type": "prefix-based-pd-decider", "parameters": {"nonCachedTokens": 1}},  # every prompt is computed elsewhere
        {"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": "prefix-based-pd-decider"}}},
    ],
    "schedulingProfiles": [
        {
            "name": role,
            "plugins": [
                {"pluginRef": f"{role}-filter"},
                {"pluginRef": "queue-scorer", "weight": 1},
                {"pluginRef": "max-score-picker"},
            ],
        }
        for role in ("prefill", "decode")
    ],
}


def binary() -> Path | None:
    """Return the picker that EPP_BIN names; None: it names none."""
    named = os.environ.get(EPP_BIN)
    return Path(named) if named else None


class EndpointPicker:
    """A context manager: one picker in selector mode (it needs no CRD)."""

    def __init__(self, program: Path, folder: Path, kubeconfig: Path, namespace: str, selector: str, port: int) -> None:
        """Take the program, a folder for its files, how it logs in, and whom it picks among: pods and their port."""
        config = folder / "epp.yaml"
        config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
        grpc, health, metrics = free_port(), free_port(), free_port()
        self.address = f"127.0.0.1:{grpc}"
        self.page = f"http://127.0.0.1:{metrics}/metrics"
        command: list[str | Path] = [
            program,
            f"--endpoint-selector={selector}",
            f"--endpoint-target-ports={port}",
            f"--config-file={config}",
            f"--grpc-port={grpc}",
            f"--grpc-health-port={health}",
            f"--metrics-port={metrics}",
            "--secure-serving=false",
            "--metrics-endpoint-auth=false",
            "--tracing=false",
            "--enable-pprof=false",
            "--drain-timeout=0s",
        ]
        environment = {  # it finds its Deployment by the shape of its pod's name
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": "epp-6d5f8c7b9d-x2x4v",
            "POD_NAMESPACE": namespace,
            "NAMESPACE": namespace,
        }
        self._server = Server(command, log=folder / "epp.log", ready=self._answers, environment=environment)

    def __enter__(self) -> Self:
        """Start."""
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End."""
        self._server.stop()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.page, timeout=5.0) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
