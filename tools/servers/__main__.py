"""Find or install the servers: ``python3 -m tools.servers [--check]``; exit 1 where one is missing."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.servers import find, install

VERSION_TIMEOUT_S = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Report every server, install what is missing unless told only to check, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.servers", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only report; install nothing")
    parser.add_argument("--all", action="store_true", help="kustomize and helm too; in CI always")
    options = parser.parse_args(arguments)
    wanted = (*find.PACKAGES, *find.RENDERERS) if options.all or os.environ.get("CI") else find.PACKAGES
    try:
        complete = [_provide(package, check_only=options.check) for package in wanted]
    except find.BadVariableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(complete) else 1


def _provide(package: find.Package, *, check_only: bool) -> bool:
    """Report a package and make it where it is missing and wanted; tell whether it is there."""
    missing = [binary for binary in package.binaries if find.find(binary) is None]
    if missing and not check_only:
        print(f"{package.name} {package.version}: missing {', '.join(missing)}; making it in {package.folder} ...")
        sys.stdout.flush()
        if not _made(package):
            return False
    for binary in package.binaries:
        _report(binary, find.find(binary))
    return not missing or not check_only


def _made(package: find.Package) -> bool:
    begin = time.monotonic()
    try:
        install.install(package)
    except install.InstallError as error:
        print(f"{package.name} {package.version}: {error}", file=sys.stderr)
        return False
    print(f"{package.name} {package.version}: made in {time.monotonic() - begin:.0f} s")
    return True


def _report(binary: str, path: Path | None) -> None:
    if path is None:
        print(f"{binary:24} missing; `make servers` makes it, or name it in {find.variable_of(binary)}")
    else:
        print(f"{binary:24} {_version(path):28} {path}")


def _version(path: Path) -> str:
    """Return the first line a binary says of its version, by an option or (some Go tools) by a command."""
    said = ""
    for word in ("--version", "version"):
        try:
            done = subprocess.run([path, word], capture_output=True, text=True, check=False, timeout=VERSION_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"does not run: {error}"
        said = next(iter((done.stdout or done.stderr).splitlines()), "unknown version").split(" (")[0]
        if done.returncode == 0:
            break
    return said[:40]


if __name__ == "__main__":
    sys.exit(main())
