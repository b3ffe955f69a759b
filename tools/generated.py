"""Files that a command of the project writes: ``python -m tools.generated`` writes them, ``--check`` compares.

A new one is a line in GENERATED.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Generated:
    """A file of the repository that holds exactly what a Python module prints."""

    path: str
    arguments: tuple[str, ...]  # of the Python interpreter

    def content(self) -> str:
        """Return what the file has to hold.

        Raises:
            CalledProcessError: the command failed; its words are on stderr already.
        """
        done = subprocess.run(
            [sys.executable, *self.arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout


GENERATED: tuple[Generated, ...] = (
    Generated("policies/schema.json", ("-m", "autoscaler", "policy", "schema")),
    Generated("manifests/crd/slopolicies.yaml", ("-m", "tools.generate_crd")),
    Generated("docs/reference/policy.md", ("-m", "tools.generate_policy_docs")),
    Generated("docs/reference/decision-log.schema.json", ("-m", "tools.generate_log_schema")),
    Generated("docs/reference/cli.md", ("-m", "tools.generate_reference", "cli")),
    Generated("docs/reference/metrics-of-the-controller.md", ("-m", "tools.generate_reference", "metrics")),
    Generated("docs/reference/reason-codes.md", ("-m", "tools.generate_reference", "reasons")),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare every generated file and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.generated", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    options = parser.parse_args(arguments)
    stale = [generated for generated in GENERATED if not _settled(generated, check_only=options.check)]
    for generated in stale:
        print(f"{generated.path}: differs from what the code says; run `make generated`", file=sys.stderr)
    return 1 if stale else 0


def _settled(generated: Generated, *, check_only: bool) -> bool:
    """Write a file, or tell whether it is as it has to be."""
    path = ROOT / generated.path
    content = generated.content()
    if check_only:
        return path.exists() and path.read_text(encoding="utf-8") == content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())
