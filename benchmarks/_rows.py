"""What benchmarks report: rows with a target, to the terminal and to ``build/bench/NAME.json``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"


@dataclass(frozen=True)
class Row:
    """One measured figure. ``met``: inside the target, None where there is none."""

    id: str
    value: float
    unit: str
    target: str = ""
    moonshot: str = ""
    met: bool | None = None


def write(name: str, rows: Sequence[Row]) -> Path:
    """Write the rows to ``build/bench/NAME.json`` and return its path."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.json"
    path.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1) + "\n", encoding="utf-8")
    return path


def told(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| figure | value | unit | target | moonshot | met |", "|---|---|---|---|---|---|"]
    verdict = {True: "yes", False: "**no**", None: ""}
    lines += [f"| {r.id} | {r.value:.4g} | {r.unit} | {r.target} | {r.moonshot} | {verdict[r.met]} |" for r in rows]
    return "\n".join(lines)
