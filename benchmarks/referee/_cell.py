"""Scores the Decider on one cell of the referee; started by benchmarks.referee with its venv's Python.

PYTHON -m benchmarks.referee._cell SCENARIO STARTUP_S SEED RESULT.json [PART THAT IS OFF]
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from autoscaler.plan.parts import ALL

KIT = Path(__file__).resolve().parent / "kit"


def main() -> None:
    """Run the cell and write its result."""
    sys.path.insert(0, str(KIT))  # the kit's modules name each other without a package
    from referee import run  # type: ignore[import-not-found]  # noqa: PLC0415 - after the path is set
    from scenario import load_scenario  # type: ignore[import-not-found]  # noqa: PLC0415

    from benchmarks.referee.policy import make_policy  # noqa: PLC0415 - needs only what is installed beside the mocker

    scenario, startup_s, seed, result, *off = sys.argv[1:]
    parts = replace(ALL, **dict.fromkeys(off, False))
    found = run(partial(make_policy, parts=parts), load_scenario(scenario, startup_s=float(startup_s), seed=int(seed)))
    found.pop("per_minute")
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
