"""Prints ``docs/reference/policy.md`` from the policy's schema; ``--check`` compares instead of printing."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoscaler.policy.fields import FieldDoc, fields
from autoscaler.policy.problems import dotted
from autoscaler.policy.unsupported import UNSUPPORTED, Unsupported

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "policy.md"

HEAD = """# SLOPolicy: every field

Generated from the schema by `python -m tools.generate_policy_docs`; do not edit. Examples: `policies/`. JSON schema for
editors: `policies/schema.json` (`autoscaler policy schema`). A file is checked by `autoscaler policy check FILE`.

- Durations are written as in Kubernetes: `300ms`, `2s`, `5m`, `1h30m`; a day is `24h`.
- Unknown fields, duplicate keys, YAML aliases and tags are errors. A key without a value counts as absent.
- A file may hold several policies, separated by `---`, and up to 1 MiB. Fields that an API server adds (`status`,
  `metadata.uid` and the like) are skipped, so `kubectl get -o yaml` gives a valid file.
- Exactly one profile is named `default` and has no `match`. Where none is, unmatched requests get the loosest limits
  that the policy declares, and the check warns.
"""
COLUMNS = "| field | type | default | meaning |\n|---|---|---|---|\n"


def page() -> str:
    """Return the whole page."""
    return "".join((HEAD, "\n## Not supported yet\n\n", _refused(), *_sections()))


def _refused() -> str:
    intro = "Known to the schema and refused with `not supported yet`:\n\n"
    return intro + "".join(f"- `{dotted(entry.path)}`{_values(entry)}; {entry.way_out}.\n" for entry in UNSUPPORTED)


def _values(entry: Unsupported) -> str:
    return f" ({entry.which})" if entry.which else ""


def _sections() -> Iterator[str]:
    """Yield a table for the document, the spec and each part of the spec; the three pools share one."""
    written: set[str] = set()
    for field in fields():
        title = _section(field)
        if title not in written:
            written.add(title)
            yield f"\n## {title}\n\n{COLUMNS}"
        if _is_told_once(field):
            yield _row(field)


def _section(field: FieldDoc) -> str:
    parts = field.path.replace("[]", "").split(".")
    if parts[0] != "spec" or len(parts) == 1:
        return "Document"
    return "spec" if len(parts) == 2 and field.type not in {"list", "mapping"} else ".".join(parts[:2])


def _is_told_once(field: FieldDoc) -> bool:
    return not field.path.startswith(("spec.pools.decode.", "spec.pools.unified."))


def _row(field: FieldDoc) -> str:
    default = "**required**" if field.required else field.default_text and f"`{field.default_text}`"
    path = field.path.replace("spec.pools.prefill.", "spec.pools.ROLE.")
    meaning = field.description.replace("``", "`").replace("\n", " ").replace("|", "\\|")
    return f"| `{path}` | {field.type} | {default} | {meaning} |\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or tell whether the committed one is as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate_policy_docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="print nothing; exit 1 where the committed page differs")
    if not parser.parse_args(arguments).check:
        print(page(), end="")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name}: differs from the schema; run `make generated`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
