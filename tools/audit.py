"""What the product is made of, and what is known to be wrong with it: `make audit`.

Writes a bill of materials (CycloneDX) of the locked runtime and all extras to build/sbom.cdx.json, and asks PyPI's
advisories about each package by pip-audit. An advisory fails the run. A service that does not answer does not: what
could not be asked is said instead, since it says nothing about the code.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / "build" / "tools" / "uv"
SBOM = ROOT / "build" / "sbom.cdx.json"
PIP_AUDIT = "pip-audit==2.10.1"
LOCKED = ("export", "--quiet", "--frozen", "--no-dev", "--all-extras")
PATIENCE_S = 300


@dataclass(frozen=True)
class Audit:
    """What advisories say of the locked packages."""

    advisories: tuple[str, ...]  # a line for each
    asked: int
    unknown: int  # packages that the service did not know, or did not answer about

    @property
    def told(self) -> list[str]:
        """Return it in words."""
        if not self.asked:
            return [
                f"advisories: the service could not be asked about any of {self.unknown} packages; try again online"
            ]
        missed = f"; {self.unknown} could not be asked about" if self.unknown else ""
        return [*self.advisories, f"advisories: {len(self.advisories)} on {self.asked} packages{missed}"]


def judged(report: Mapping[str, Any]) -> Audit:
    """Return what a report of pip-audit (JSON) comes to."""
    packages = report["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    advisories = [
        f"{package['name']} {package['version']}: {found['id']}; fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in asked
        for found in package["vulns"]
    ]
    return Audit(tuple(advisories), len(asked), len(packages) - len(asked))


def bill_of_materials() -> Mapping[str, Any]:
    """Write the bill of materials; return it."""
    SBOM.parent.mkdir(parents=True, exist_ok=True)
    _uv(*LOCKED, "--format", "cyclonedx1.5", "--output-file", str(SBOM))
    found: Mapping[str, Any] = json.loads(SBOM.read_text(encoding="utf-8"))
    return found


def audited() -> Audit | None:
    """Ask the advisories; None: pip-audit could not run or be had, or did not finish."""
    locked = SBOM.with_name("locked.txt")
    _uv(*LOCKED, "--no-emit-project", "--no-header", "--output-file", str(locked))
    tool = ("tool", "run", "--quiet", "--from", PIP_AUDIT, "pip-audit", "--requirement", str(locked))
    options = ("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off", "--timeout", "10")
    try:
        done = subprocess.run(
            [UV, *tool, *options], capture_output=True, text=True, check=False, cwd=ROOT, timeout=PATIENCE_S
        )
        return judged(json.loads(done.stdout))
    except (ValueError, subprocess.TimeoutExpired) as error:
        print(f"advisories: no report ({type(error).__name__})", file=sys.stderr)
        return None


def _uv(*arguments: str) -> None:
    subprocess.run([UV, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, ask, tell; 1 if there is an advisory."""
    del arguments
    found = bill_of_materials()
    print(f"{SBOM.relative_to(ROOT)}: {len(found['components'])} packages, {found['bomFormat']} {found['specVersion']}")
    audit = audited()
    if audit is None:
        print("advisories: the service could not be asked; nothing is known to be wrong, and nothing to be right")
        return 0
    print("\n".join(audit.told))
    return 1 if audit.advisories else 0


if __name__ == "__main__":
    sys.exit(main())
