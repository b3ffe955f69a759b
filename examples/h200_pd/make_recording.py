"""Make the small copy of the recording that lies in this folder.

    python examples/h200_pd/make_recording.py --from FOLDER

FOLDER holds ``metrics.jsonl.gz`` (both engines' /metrics once a second) and ``requests.jsonl.gz`` (the client's log) of
the measurement "h200-vllm-0.26/pd-1p1d-qwen3-32b". Kept are the series that the controller's catalogue reads, and of
each request's gaps between tokens their sum and a histogram over the endpoint picker's bounds.
"""

import argparse
import bisect
import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autoscaler.observe.scrape import wanted_lines

HERE = Path(__file__).resolve().parent

ITL_BOUNDS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)
"""Bounds of ``llm_d_epp_request_streaming_itl_seconds`` (llm-d router v0.10.0)."""


def main() -> int:
    """Write engines.jsonl.gz and requests.jsonl.gz beside this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="folder of the whole measurement")
    parser.add_argument("--to", type=Path, default=HERE, help="folder to write to (default: beside this script)")
    arguments = parser.parse_args()
    if not (arguments.folder / "metrics.jsonl.gz").exists():
        print(f"{arguments.folder}: no metrics.jsonl.gz there; give the folder of the measurement", file=sys.stderr)
        return 1
    write(arguments.to / "engines.jsonl.gz", map(engine, read(arguments.folder / "metrics.jsonl.gz")))
    write(arguments.to / "requests.jsonl.gz", map(request, read(arguments.folder / "requests.jsonl.gz")))
    return 0


def engine(entry: dict[str, Any]) -> dict[str, Any]:
    """Return one scrape with the series that are read."""
    return {**{key: entry[key] for key in ("t", "name", "role")}, "text": "\n".join(wanted_lines(entry["text"])) + "\n"}


def request(entry: dict[str, Any]) -> dict[str, Any]:
    """Return one request without its list of gaps: their sum, and how many fall into each bucket."""
    gaps = [gap / 1000.0 for gap in entry["itl_ms"]]
    counts = [0] * (len(ITL_BOUNDS_S) + 1)
    for gap in gaps:
        counts[bisect.bisect_left(ITL_BOUNDS_S, gap)] += 1
    kept = {key: entry[key] for key in ("t", "profile", "isl", "osl", "status", "prefill_s", "ttft", "e2e", "n")}
    return {**kept, "itl_sum_s": round(sum(gaps), 5), "itl_counts": counts}


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one JSON object a line."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line; the same entries give the same bytes."""
    text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(main())
