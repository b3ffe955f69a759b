"""Runs Python on the tunnel as machine code: mypyc translates its files as they stand, for thousands of flights.

    python -m tools.compiled -m benchmarks.scoreboard --quick    # any arguments of the interpreter

Results are the same to the last bit (``tests/unit/tools/test_compiled.py``); `make bench-flight-speed` tells
what it saves. The package is copied to ``build/compiled/HASH`` and translated there, within a minute or two: other
sources, another hash, so that nothing old is ever flown. Where it cannot be translated this says why, and runs on the
sources.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "compiled"
PACKAGE = "autoscaler"
TUNNEL = (
    *("actions", "batch", "cluster", "engine", "environment", "fleet", "gaps", "kv_memory", "meters", "pods", "prefix"),
    *("prompts", "pulls", "request", "results", "router", "scraping", "settings", "speed", "startup", "traffic"),
)
"""Modules of ``autoscaler/simulate`` in which flights spend their time."""

EXACT = "-O2 -ffp-contract=off"
"""Of the C compiler: a product and a sum are rounded one after the other on every processor, as Python does."""


class Untranslatable(Exception):  # noqa: N818 - said as a reason
    """The tunnel cannot be translated here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Become the interpreter with these arguments; 2 without any."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words:
        os.execve(sys.executable, [sys.executable, *words], importing(_best()))  # noqa: S606 - the caller's own words
    print(__doc__, file=sys.stderr)
    return 2


def _best() -> Path:
    try:
        return compiled(BUILD)
    except Untranslatable as reason:
        print(f"The tunnel runs as Python, which takes twice as long: {reason}", file=sys.stderr)
        return ROOT


def importing(place: Path) -> Mapping[str, str]:
    """Return the environment in which the package comes from ``place``, and all else from the project."""
    paths = [str(place), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def compiled(build: Path) -> Path:
    """Return the folder below ``build`` that holds the translated package; translate it if nobody has yet.

    Raises:
        Untranslatable: no C compiler, or it failed.
    """
    place = build / digest(ROOT)
    if place.is_dir():
        return place
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build, prefix=".") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT / PACKAGE, copy / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        place = build / digest(copy)  # the sources may have changed meanwhile
        _translate(copy)
        try:
            copy.rename(place)
        except OSError:
            if not place.is_dir():  # else somebody else was faster
                raise
    return place


def digest(root: Path) -> str:
    """Return a hash of all that a translation of the package below ``root`` depends on."""
    told = hashlib.sha256(f"{sys.version} {version('mypy')}".encode() + Path(__file__).read_bytes())
    for file in sorted((root / PACKAGE).rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            told.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return told.hexdigest()[:16]


def _translate(copy: Path) -> None:
    """Put machine code beside the modules of the tunnel."""
    (compiler, *_) = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler) is None:
        msg = f"there is no C compiler {compiler}; install one, or name it in $CC"
        raise Untranslatable(msg)
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        msg = f"there is no {header}; install Python's headers (python3-dev)"
        raise Untranslatable(msg)
    print("Translating the tunnel, once for these sources ...", file=sys.stderr, flush=True)
    files = [f"{PACKAGE}/simulate/{name}.py" for name in TUNNEL]
    environment = {**os.environ, "CFLAGS": EXACT, "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "mypyc", *files]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        msg = f"mypyc failed: {last}"
        raise Untranslatable(msg)
    for left in ("build", ".mypy_cache"):
        shutil.rmtree(copy / left, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
