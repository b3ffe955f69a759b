"""What each declared dependency costs: its version, its installed size, what it requires itself.

python -m tools.dependencies
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main() -> int:
    """Print one line per declared dependency and return the exit status."""
    print(f"{'group':12} {'distribution':24} {'version':18} {'MB':>6}  requires")
    for group, name in _declared():
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            print(f"{group:12} {name:24} not installed")
            continue
        print(f"{group:12} {name:24} {found.version:18} {_size_mb(found):6.1f}  {', '.join(_required(found)) or '-'}")
    return 0


def _declared() -> Iterator[tuple[str, str]]:
    """Yield group and distribution name of everything pyproject.toml asks for."""
    document = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    groups = {
        "run": document["project"]["dependencies"],
        **document["project"]["optional-dependencies"],
        **document["dependency-groups"],
    }
    for group, requirements in groups.items():
        for requirement in requirements:
            yield group, _name(requirement)


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _size_mb(distribution: metadata.Distribution) -> float:
    """Return the size of a distribution's own files, in 10^6 bytes."""
    paths = (Path(str(file.locate())) for file in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.exists()) / 1e6


def _required(distribution: metadata.Distribution) -> list[str]:
    """Return the distributions it always requires, extras left out."""
    return sorted({_name(entry) for entry in distribution.requires or () if "extra ==" not in entry})


if __name__ == "__main__":
    sys.exit(main())
