"""Build etcd, Kubernetes, kustomize and helm from their Go modules; unpack Prometheus from its Debian package.

Nothing is installed system-wide and no service is ever started: all lands in the cache folder. Each package is made in
a folder beside its final place and renamed at the end, so that an interrupted build leaves nothing half done.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.servers import find

MODULES = Path(__file__).parent
LINKER_FLAGS = "-s -w"
SELF_UPDATING_GO = (1, 21)  # from here on it fetches the version that go.mod names
GO_ABSENT = (
    "Go is needed to build it: install Go 1.26 or newer (https://go.dev/dl) and try again; or point KUBEBUILDER_ASSETS"
    " at a folder with envtest binaries"
)
APT_ABSENT = (
    "only Debian's package can be unpacked here: install Prometheus with promtool from https://prometheus.io/download"
    " and put both on PATH, or name them in PROMETHEUS_BIN and PROMTOOL_BIN"
)


class InstallError(Exception):
    """A package that could not be made; the message says why and what to do."""


def install(package: find.Package) -> None:
    """Make a package's binaries in the cache folder.

    Raises:
        InstallError: a tool is absent or failed.
    """
    package.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{package.name}-", dir=package.folder.parent) as scratch:
        made = Path(scratch) / "bin"
        made.mkdir()
        INSTALLERS[package.name](made)
        _put(made, package)


def _put(made: Path, package: find.Package) -> None:
    """Move made binaries to their place, each in one step."""
    package.folder.mkdir(exist_ok=True)
    for binary in package.binaries:
        (made / binary).replace(package.folder / binary)


def _build_etcd(target: Path) -> None:
    _go_build(MODULES / "etcd", [str(target / "etcd"), "go.etcd.io/etcd/server/v3"], LINKER_FLAGS)


def _build_kubernetes(target: Path) -> None:
    # without the version /version would answer v0.0.0, which clients refuse to compare
    version = f"-X k8s.io/component-base/version.gitVersion=v{find.KUBERNETES.version}"
    commands = [f"k8s.io/kubernetes/cmd/{binary}" for binary in find.KUBERNETES.binaries]
    _go_build(MODULES / "kubernetes", [f"{target}{os.sep}", *commands], f"{LINKER_FLAGS} {version}")


def _build_kustomize(target: Path) -> None:
    _go_build(MODULES / "kustomize", [str(target / "kustomize"), "sigs.k8s.io/kustomize/kustomize/v5"], LINKER_FLAGS)


def _build_helm(target: Path) -> None:
    _go_build(MODULES / "helm", [str(target / "helm"), "helm.sh/helm/v3/cmd/helm"], LINKER_FLAGS)


def _go_build(module: Path, output: Sequence[str], linker_flags: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise InstallError(GO_ABSENT)
    _require_new_enough(go)
    arguments = ["build", "-trimpath", "-buildvcs=false", "-mod=readonly", f"-ldflags={linker_flags}", "-o", *output]
    _run([go, *arguments], folder=module, environment={**os.environ, "CGO_ENABLED": "0"})


def _require_new_enough(go: str) -> None:
    """Refuse a Go that cannot fetch the toolchain a module asks for, before it says so in its own words."""
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"go(\d+)\.(\d+)", said)
    if version is None or tuple(map(int, version.groups())) < SELF_UPDATING_GO:
        message = f"{go} says {said.strip() or 'nothing'!r}, which is too old. {GO_ABSENT}"
        raise InstallError(message)


def _unpack_prometheus(target: Path) -> None:
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise InstallError(APT_ABSENT)
    download = target.parent / "deb"
    download.mkdir()
    try:
        _run([apt, "download", "--quiet", "prometheus"], folder=download)
    except InstallError:
        _run([*_as_root(), apt, "update", "--quiet"], folder=download)  # a fresh machine has no package lists
        _run([apt, "download", "--quiet", "prometheus"], folder=download)
    [archive] = download.glob("prometheus_*.deb")
    _run([dpkg, "--extract", str(archive), str(download)], folder=download)
    for binary in find.PROMETHEUS.binaries:
        (download / "usr" / "bin" / binary).replace(target / binary)


def _as_root() -> list[str]:
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        message = "apt has no package lists, and refreshing them needs root: run `apt-get update` as root and try again"
        raise InstallError(message)
    return [sudo, "--non-interactive"]


def _run(command: Sequence[str], *, folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-15:])
        message = f"`{' '.join(command)}` in {folder} ended with {done.returncode}:\n{tail}"
        raise InstallError(message)


INSTALLERS: dict[str, Callable[[Path], None]] = {
    find.ETCD.name: _build_etcd,
    find.KUBERNETES.name: _build_kubernetes,
    find.PROMETHEUS.name: _unpack_prometheus,
    find.KUSTOMIZE.name: _build_kustomize,
    find.HELM.name: _build_helm,
}
