"""Beside the forecasts of others: ``make bench-forecast-peers`` (once in a while; makes its own environment in build/).

ARIMA, a Kalman filter and Prophet as NVIDIA Dynamo's planner ships them (``pmdarima.auto_arima``; ``filterpy``, a
local linear trend with fixed noise; Prophet with default settings), and statsforecast's AutoETS and MSTL. Each is
fitted anew at every origin, as a planner's tick would, on the last 12 hours (MSTL: two days), and asked for 1, 5 and 15
minutes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.backtest.forecasts import Series
from autoscaler.errors import InputError
from autoscaler.forecast import evaluation
from benchmarks import forecast_traces as traces

ENVIRONMENT = Path("build/peers")
PACKAGES = ("statsforecast==2.1.1", "prophet==1.5.0", "pmdarima==2.1.1", "filterpy==2.0.0")
WORKER = Path(__file__).with_name("forecast_peers_worker.py")
PAGE = Path("docs/reference/forecast-peers.md")
RESULTS = Path("build/bench/forecast-peers.json")
EVERY = 120
"""Minutes between origins; a peer's fit takes seconds."""

TIME_LIMIT_S = 900


def picked() -> list[Series]:
    """Return what is compared: requests of all profiles together, of the development traces of a day and more."""
    every = [series for path in traces.development() for series in traces.read(path)]
    return [s for s in every if s.profile == "all" and not s.is_short and s.signal == "requests"]


def prepared(series: Series) -> dict[str, Any]:
    """Return a series with the origins of its last day, and what the mixture and the last value said there."""
    start = max(len(series.values) - 1440, len(series.values) // 2)
    result = evaluation.rolling_origin(series.values, score_from=start, every=EVERY, grain=series.grain)
    return {
        "name": f"{series.trace} {series.signal}",
        "values": series.values.tolist(),
        "origins": result.origins.tolist(),
        "horizons": list(result.horizons),
        "came": result.came.tolist(),
        "said": {name: result.by_forecaster[name].expected.tolist() for name in ("mixture", "last-value", "ewma10")},
    }


def table(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per forecaster: errors relative to last value (geometric means) and seconds per fit."""
    rows = []
    for name in answers[0]["said"]:
        ratios = []
        for answer in answers:
            came = np.array(answer["came"])
            errors = {
                key: np.nanmean(np.abs(np.array(answer["said"][key]) - came), axis=0) for key in (name, "last-value")
            }
            ratios.append(errors[name] / errors["last-value"])
        means = np.exp(np.log(np.array(ratios)).mean(axis=0))
        seconds = float(np.mean([answer["seconds"].get(name, 0.0) for answer in answers]))
        rows.append(
            {"forecaster": name, "mae_ratio": means.tolist(), "worst": float(np.max(ratios)), "update_s": seconds}
        )
    return rows


def main() -> int:
    """Run the comparison; 1 where the traces or the environment are not there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast_peers", description=__doc__)
    parser.parse_args()
    try:
        series = picked()
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    questions = RESULTS.with_suffix(".questions.json")
    questions.parent.mkdir(parents=True, exist_ok=True)
    questions.write_text(json.dumps([prepared(each) for each in series]))
    python = str(ENVIRONMENT / "bin/python")
    if not Path(python).exists():
        _call("uv", "venv", "--quiet", "--python", "3.11", str(ENVIRONMENT))
        _call("uv", "pip", "install", "--quiet", "--python", python, *PACKAGES)
    _call(python, str(WORKER), str(questions), str(RESULTS))
    rows = table(json.loads(RESULTS.read_text()))
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    PAGE.write_text(page(rows, len(series)))
    print(PAGE.read_text())
    return 0


def _call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=TIME_LIMIT_S)  # noqa: S603, fixed commands only


def page(rows: list[dict[str, Any]], count: int) -> str:
    """Return the page as Markdown."""
    lines = [
        "# Beside the forecasts of others",
        "",
        f"Made by `make bench-forecast-peers`. {count} series (requests of all profiles, traces of a day and more),",
        "their last day (half a day of a one-day trace), an origin every two hours. Error relative to last value,",
        "geometric mean; seconds of processor time per update (fit and forecast; ours:",
        "docs/reference/forecast-accuracy.md, row tick). ARIMA, Kalman, Prophet: the models that NVIDIA",
        "Dynamo's planner ships, at minutes instead of its 180-s bins; last 12 hours of history (MSTL: two days).",
        "A dozen origins a series: differences below 0.2 at one horizon mean nothing; times and the far ends do.",
        "",
        "| forecaster | MAE 1 / 5 / 15 min | worst | seconds per update |",
        "|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row["mae_ratio"][1]):
        ratios = " / ".join(f"{value:.3f}" for value in row["mae_ratio"])
        seconds = f"{row['update_s']:.3f}" if row["update_s"] else "-"
        lines.append(f"| {row['forecaster']} | {ratios} | {row['worst']:.2f} | {seconds} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
