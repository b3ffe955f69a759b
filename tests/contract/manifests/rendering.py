"""Renders what ships, by the tools that people use; a test whose tool is absent skips, in CI it fails."""

import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tools.servers import find

Object: TypeAlias = dict[str, Any]

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
OVERLAYS = ("recommend", "auto", "namespaced", "cluster")
CHART = MANIFESTS / "helm" / "disagg-autoscaler"
NAMESPACE = "disagg-autoscaler"
KUBERNETES = find.KUBERNETES.version


def kustomized(overlay: str) -> list[Object]:
    """Return the objects of an overlay."""
    return _objects([_tool("kustomize"), "build", MANIFESTS / "overlays" / overlay])


def templated(*settings: str) -> list[Object]:
    """Return the objects of the chart with some values set, as ``helm install`` would create them."""
    chosen = [part for setting in settings for part in ("--set", setting)]
    command: list[str | Path] = [
        _tool("helm"),
        "template",
        NAMESPACE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--include-crds",
    ]
    return _objects([*command, "--kube-version", KUBERNETES, *chosen])


def linted(*settings: str) -> str:
    """Return what ``helm lint --strict`` says against the chart; empty where it finds nothing."""
    chosen = [part for setting in settings for part in ("--set", setting)]
    command: list[str | Path] = [_tool("helm"), "lint", "--strict", CHART, "--kube-version", KUBERNETES, *chosen]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    """Return the objects of a kind."""
    return [found for found in objects if found["kind"] == kind]


def the(objects: list[Object], kind: str) -> Object:
    """Return the only object of a kind."""
    (found,) = of_kind(objects, kind)
    return found


def _objects(command: list[str | Path]) -> list[Object]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def _tool(name: str) -> Path:
    try:
        return find.locate([name])[name]
    except find.MissingServersError as error:
        pytest.skip(str(error))
