"""Make the small fixtures in this folder from whole recordings.

    python tests/data/observe/make_fixtures.py --staircase FOLDER --engines FOLDER --picker FILE

Kept are the series that the controller's catalogue reads (of the picker: every series of the picker itself).
"""

import argparse
import gzip
import json
import re
from pathlib import Path

from autoscaler.observe.scrape import wanted_lines

HERE = Path(__file__).resolve().parent
FIRST, LAST = 1785724400, 1785724602


def main() -> None:
    """Write all fixtures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--staircase", type=Path, required=True, help="unpacked scrapes, POD_TIME_metrics.log")
    parser.add_argument("--engines", type=Path, required=True, help="folder of vllm-*.txt")
    parser.add_argument("--picker", type=Path, required=True, help="epp-0.10.0-pool-3-pods.txt")
    arguments = parser.parse_args()
    staircase(arguments.staircase)
    for path in sorted(arguments.engines.glob("vllm-*.txt")):
        (HERE / path.name).write_text("\n".join(wanted_lines(path.read_text())) + "\n")
    lines = arguments.picker.read_text().splitlines()
    own = [line for line in lines if re.match(r"llm_d_|inference_", line)]
    (HERE / arguments.picker.name).write_text("\n".join(own) + "\n")


def staircase(folder: Path) -> None:
    """Write the scrapes of three pods around the step from 5 to 12 requests/s."""
    entries = []
    for path in folder.glob("*_metrics.log"):
        found = re.fullmatch(r"(.*)_(\d+)_metrics", path.stem)
        if found and FIRST <= int(found[2]) <= LAST:
            text = path.read_text()
            kept = "\n".join(wanted_lines(text)) or text
            entries.append({"t": int(found[2]), "name": found[1], "role": "", "text": kept + "\n"})
    entries.sort(key=lambda entry: (entry["t"], entry["name"]))
    body = "".join(json.dumps(entry) + "\n" for entry in entries)
    (HERE / "staircase").mkdir(exist_ok=True)
    (HERE / "staircase" / "engines.jsonl.gz").write_bytes(gzip.compress(body.encode(), mtime=0))


if __name__ == "__main__":
    main()
