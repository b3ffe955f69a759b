"""The part of forecast_peers.py that runs in the peers' own environment: reads questions, writes answers."""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from filterpy.kalman import KalmanFilter  # type: ignore[import-not-found]  # only in the peers' environment
from numpy.typing import NDArray
from pmdarima import auto_arima  # type: ignore[import-not-found]  # as above
from prophet import Prophet  # type: ignore[import-not-found]  # as above
from statsforecast.models import MSTL, AutoETS  # type: ignore[import-not-found]  # as above

Series: TypeAlias = NDArray[np.float64]

HALF_DAY, TWO_DAYS = 720, 2880
FURTHEST = 15


def arima(past: Series) -> Series:
    """Fit an automatic ARIMA."""
    model = auto_arima(
        past, seasonal=False, suppress_warnings=True, error_action="ignore", max_p=3, max_q=3, maxiter=20
    )
    return np.asarray(model.predict(FURTHEST))


def kalman(past: Series) -> Series:
    """Filter a local linear trend with fixed noise, undamped."""
    model = KalmanFilter(dim_x=2, dim_z=1)
    model.x = np.array([[past[0]], [0.0]])
    model.F, model.H = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    model.Q, model.R, model.P = np.diag([1.0, 0.1]), np.array([[10.0]]), np.eye(2) * 1000.0
    for value in past:
        model.predict()
        model.update(value)
    level, slope = model.x[0, 0], model.x[1, 0]
    return np.asarray(level + slope * np.arange(1, FURTHEST + 1))


def prophet(past: Series) -> Series:
    """Fit Prophet with its defaults."""
    stamps = pd.date_range("2026-01-01", periods=len(past) + FURTHEST, freq="min")
    model = Prophet().fit(pd.DataFrame({"ds": stamps[: len(past)], "y": past}))
    return np.asarray(model.predict(pd.DataFrame({"ds": stamps[len(past) :]}))["yhat"].to_numpy())


def ets(past: Series) -> Series:
    """Fit AutoETS without season."""
    return np.asarray(AutoETS(season_length=1).forecast(past, FURTHEST)["mean"])


def mstl(past: Series) -> Series:
    """Decompose the daily season, AutoETS on the rest."""
    model = MSTL(season_length=1440, trend_forecaster=AutoETS(season_length=1, model="ZZN"))
    return np.asarray(model.forecast(past, FURTHEST)["mean"])


PEERS: dict[str, tuple[Callable[[Series], Series], int]] = {
    "Dynamo ARIMA": (arima, HALF_DAY),
    "Dynamo Kalman": (kalman, HALF_DAY),
    "Dynamo Prophet": (prophet, HALF_DAY),
    "AutoETS": (ets, HALF_DAY),
    "MSTL": (mstl, TWO_DAYS),
}


def answered(question: dict[str, Any]) -> dict[str, Any]:
    """Return the question with what every peer said, and how long it took."""
    values = pd.Series(question["values"], dtype=float).ffill().bfill().to_numpy()
    seconds: dict[str, float] = {}
    for name, (fit, length) in PEERS.items():
        said, start = [], time.process_time()
        for origin in question["origins"]:
            past = values[max(0, origin + 1 - length) : origin + 1]
            path = np.maximum(np.asarray(fit(past), dtype=float), 0.0)
            said.append([float(path[h - 1]) for h in question["horizons"]])
        question["said"][name] = said
        seconds[name] = (time.process_time() - start) / len(question["origins"])
        print(question["name"], name, f"{seconds[name]:.3f} s", file=sys.stderr, flush=True)
    return {**question, "seconds": seconds, "values": []}


def main() -> None:
    """Answer the questions of the first argument into the second."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    questions = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps([answered(question) for question in questions]))


if __name__ == "__main__":
    main()
