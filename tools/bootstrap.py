"""Put uv at ``build/tools/uv``: the one on PATH, else one installed beside it. Runs on a bare Python 3."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON_NEEDED = (3, 11)
UV_VERSION = "0.13.9"
UV_NEEDED = (0, 9)  # older ones do not read this uv.lock
FOLDER = Path(__file__).resolve().parent.parent / "build" / "tools"
LINK = FOLDER / "uv"


class BootstrapError(Exception):
    """The set-up cannot begin; the message says what to install."""


def main() -> int:
    """Link uv, installing it where it is absent, and return the exit status."""
    try:
        _require_python()
        FOLDER.mkdir(parents=True, exist_ok=True)
        uv = _uv_on_path() or _install()
    except BootstrapError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    LINK.unlink(missing_ok=True)
    LINK.symlink_to(uv)
    return 0


def _require_python() -> None:
    if sys.version_info < PYTHON_NEEDED:
        running = ".".join(map(str, sys.version_info[:2]))
        needed = ".".join(map(str, PYTHON_NEEDED))
        message = f"python3 is {running}, {needed} or newer is needed; name another one: make PYTHON=python{needed} ..."
        raise BootstrapError(message)


def _uv_on_path() -> Path | None:
    """Return a uv that is new enough and runs (a version manager's stub may be on PATH and refuse)."""
    found = shutil.which("uv")
    if found is None:
        return None
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"uv (\d+)\.(\d+)", said)
    if version is None or tuple(map(int, version.groups())) < UV_NEEDED:
        return None
    return Path(found)


def _install() -> Path:
    """Install uv into a virtual environment of its own."""
    home = FOLDER / "uv-home"
    print(f"set-up: no uv on PATH; installing uv {UV_VERSION} into {home}", file=sys.stderr)
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian ships Python without it
    except ImportError:
        message = (
            "this Python has no ensurepip, so it cannot make a virtual environment: install python3-venv"
            " (apt-get install python3-venv), or put uv on PATH (https://docs.astral.sh/uv)"
        )
        raise BootstrapError(message) from None
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}"])
    return home / "bin" / "uv"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"`{' '.join(command)}` ended with {done.returncode}:\n{(done.stderr or done.stdout).strip()}"
        raise BootstrapError(message)


if __name__ == "__main__":
    sys.exit(main())
