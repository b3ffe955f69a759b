"""Where the servers are. Order of search: own variable, KUBEBUILDER_ASSETS, cache folder, PATH.

The cache folder is ``~/.cache/disagg-autoscaler/servers`` or what DISAGG_SERVERS_CACHE says; inside it, one folder per
package and version, so that a new version never meets an old binary.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CACHE_VARIABLE = "DISAGG_SERVERS_CACHE"


@dataclass(frozen=True, slots=True)
class Package:
    """What is built or unpacked at once."""

    name: str
    version: str
    binaries: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Return the folder of this version in the cache."""
        return cache() / f"{self.name}-{self.version}"


ETCD = Package("etcd", "3.6.8", ("etcd",))
KUBERNETES = Package("kubernetes", "1.36.3", ("kube-apiserver", "kube-controller-manager"))
PROMETHEUS = Package("prometheus", "debian", ("prometheus", "promtool"))
PACKAGES = (ETCD, KUBERNETES, PROMETHEUS)

KUSTOMIZE = Package("kustomize", "5.8.2", ("kustomize",))
HELM = Package("helm", "3.22.0", ("helm",))
RENDERERS = (KUSTOMIZE, HELM)
"""They render the manifests: made on demand, and in CI."""

CONTROL_PLANE_BINARIES = (*ETCD.binaries, *KUBERNETES.binaries)
PROMETHEUS_BINARIES = PROMETHEUS.binaries


_SERVERS = {binary for package in PACKAGES for binary in package.binaries}


class MissingServersError(Exception):
    """Binaries that are nowhere; the message names them and the way out."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the names of the missing binaries."""
        names = tuple(names)
        missing = ", ".join(names)
        make = "make servers" if set(names) <= _SERVERS else "python3 -m tools.servers --all"
        super().__init__(f"not found: {missing}; run `{make}`, or name them in the environment (ETCD_BIN, ...)")


class BadVariableError(Exception):
    """A variable names a file that cannot be run."""

    def __init__(self, variable: str, value: str) -> None:
        """Take the variable and its value."""
        super().__init__(f"{variable}={value}: no such executable; correct it or unset it")


def cache() -> Path:
    """Return the folder that keeps built binaries."""
    configured = os.environ.get(CACHE_VARIABLE)
    if configured:
        return Path(configured).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "disagg-autoscaler" / "servers"


def variable_of(binary: str) -> str:
    """Return the variable that names a binary: ``kube-apiserver`` is ``KUBE_APISERVER_BIN``."""
    return f"{binary.upper().replace('-', '_')}_BIN"


def package_of(binary: str) -> Package:
    """Return the package a binary comes in."""
    return next(package for package in (*PACKAGES, *RENDERERS) if binary in package.binaries)


def find(binary: str) -> Path | None:
    """Return where a binary is, None where it is nowhere.

    Raises:
        BadVariableError: its variable names a file that cannot be run; no other is taken silently in its place.
    """
    variable = variable_of(binary)
    explicit = os.environ.get(variable)
    if explicit:
        found = shutil.which(explicit)
        if found is None:
            raise BadVariableError(variable, explicit)
        return Path(found).resolve()
    folders = [os.environ.get("KUBEBUILDER_ASSETS"), str(package_of(binary).folder)]
    for folder in filter(None, folders):
        if found := shutil.which(binary, path=folder):
            return Path(found).resolve()
    on_path = shutil.which(binary)
    return Path(on_path) if on_path else None


def locate(binaries: Iterable[str]) -> dict[str, Path]:
    """Return where all of these binaries are.

    Raises:
        MissingServersError: some are nowhere; all of those are named.
        BadVariableError: a variable names a file that cannot be run.
    """
    found = {binary: find(binary) for binary in binaries}
    missing = [binary for binary, path in found.items() if path is None]
    if missing:
        raise MissingServersError(missing)
    return {binary: path for binary, path in found.items() if path is not None}
