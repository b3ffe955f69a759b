"""Fit the tail of waits to simulated queues: ``python -m tools.fit_waits build/waits-*.npz`` writes what ships.

One case in four is held out and scored, never fitted. Errors are weighed as sizing feels them: a miss of a tenth of the
probability counts at any depth of the tail, one on the optimistic side twice.
"""

import argparse
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from autoscaler.performance.waits import FREE, HIGHEST, LOWEST, MONOTONE, MOST_SERVERS, SOFTEST

Numbers: TypeAlias = NDArray[Any]  # points in single precision, weights in double

TARGET = Path(__file__).resolve().parents[1] / "autoscaler" / "performance" / "waits.json"
FIRST, SECOND = 28, 20
LEVELS = (0.9, 0.7, 0.5, 0.35, 0.25, 0.17, 0.11, 0.07, 0.04, 0.02, 0.01, 0.004, 0.001)
OPTIMISTIC = 2.0
PENALTY = 1e-5
SHAPES = {
    "rising": (MONOTONE, FIRST), "free": (FREE, FIRST), "bias": (FIRST,), "rising_on": (FIRST, SECOND),
    "free_on": (FREE, SECOND), "bias_on": (SECOND,), "rising_out": (SECOND,), "direct": (MONOTONE,),
    "free_out": (FREE,), "bias_out": (), "decay": (FREE + 1,),
}  # fmt: skip
POSITIVE = {"rising", "rising_on", "rising_out", "direct"}


@dataclass(frozen=True, slots=True)
class Points:
    """What is fitted: inputs and tails, one row a point of a case's tail."""

    rising: Numbers  # (points, MONOTONE)
    free: Numbers  # (points, FREE)
    decayed: Numbers  # (points,)
    beyond: Numbers  # (points,)
    tolerance: Numbers  # (points,): of the tail's error
    case: Numbers  # (points,)


def points(paths: list[Path]) -> Points:
    """Return the points of all cases at some levels of their tails."""
    rows: list[tuple[float, ...]] = []
    number = 0
    for path in paths:
        found = np.load(path)
        for servers, load, beyond in zip(found["servers"], found["loads"], found["beyond"], strict=True):
            rows.extend((number, *row) for row in _points(float(servers), load, found["edges"], beyond))
            number += 1
    table = np.array(rows, dtype=np.float32)
    case, rising, free = table[:, 0], table[:, 1 : 1 + MONOTONE], table[:, 1 + MONOTONE : 1 + MONOTONE + FREE]
    return Points(rising, free, table[:, -3], table[:, -2], table[:, -1], case)


def _points(servers: float, load: Numbers, edges: Numbers, beyond: Numbers) -> list[tuple[float, ...]]:
    """Return inputs, decayed time, tail and tolerance of one case's points."""
    arrivals, arrival_scv, mean, scv, step, alone = load
    rho = arrivals * mean / servers
    shape = np.array([arrival_scv, scv, step, max(1.0, alone / mean)])
    free = np.log(np.clip(shape, LOWEST, HIGHEST))
    relaxation = rho**2 * (arrival_scv + scv) / (1.0 - rho) ** 2
    runs = max(1e6 / (relaxation + 20.0), 600.0)  # about so many independent parts has each simulation
    chosen = {int(np.argmin(np.abs(beyond - level))) for level in LEVELS if level < beyond[0]} | {0}
    rows = []
    for index in sorted(chosen):
        value, wait = beyond[index], edges[index]
        decayed = 2.0 * servers * (1.0 - rho) * wait / (arrival_scv + scv)
        rising = (np.log(rho / (1 - rho)), -np.log(min(servers, MOST_SERVERS)), -np.log(decayed + SOFTEST),
                  -np.log(wait / step + SOFTEST))  # fmt: skip
        wanted = 0.0005 + min(0.02, 0.08 * value)
        noise = np.sqrt(2.0 * value * (1.0 - value) / runs)
        rows.append((*rising, *free, decayed, value, np.hypot(wanted, noise)))
    return rows


def unpacked(vector: Numbers) -> dict[str, Numbers]:
    """Return the weights in a vector of free numbers."""
    weights, place = {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        part = vector[place : place + size].reshape(shape)
        weights[name] = np.exp(part) if name in POSITIVE else part
        place += size
    return weights


def loss(vector: Numbers, given: Points) -> tuple[float, Numbers]:
    """Return the loss and its gradient (by hand: two layers need no library); single precision is enough and fast."""
    w = {name: np.asarray(value, dtype=np.float32) for name, value in unpacked(vector).items()}
    hidden = np.tanh(given.rising @ w["rising"] + given.free @ w["free"] + w["bias"])
    second = np.tanh(hidden @ w["rising_on"] + given.free @ w["free_on"] + w["bias_on"])
    pull = given.free @ w["decay"][1:] + w["decay"][0]
    decay = np.logaddexp(0.0, pull)
    risen = (
        second @ w["rising_out"] + given.rising @ w["direct"] + given.free @ w["free_out"] + w["bias_out"]
        - decay * given.decayed
    )  # fmt: skip
    tail = np.exp(-np.logaddexp(0.0, -risen))
    error = (tail - given.beyond) / given.tolerance
    weight = np.where(error < 0, OPTIMISTIC, 1.0)
    count = len(error)
    total = float(np.sum(weight * (error**2 + 0.05 * error**4))) / count
    at_risen = weight * (2.0 * error + 0.2 * error**3) / given.tolerance * tail * (1.0 - tail) / count
    at_second = np.outer(at_risen, w["rising_out"]) * (1.0 - second**2)
    at_hidden = (at_second @ w["rising_on"].T) * (1.0 - hidden**2)
    at_pull = -at_risen * given.decayed / (1.0 + np.exp(-pull))
    gradient = {
        "rising": given.rising.T @ at_hidden, "free": given.free.T @ at_hidden, "bias": at_hidden.sum(axis=0),
        "rising_on": hidden.T @ at_second, "free_on": given.free.T @ at_second, "bias_on": at_second.sum(axis=0),
        "rising_out": second.T @ at_risen, "direct": given.rising.T @ at_risen, "free_out": given.free.T @ at_risen,
        "bias_out": at_risen.sum(), "decay": np.concatenate([[at_pull.sum()], given.free.T @ at_pull]),
    }  # fmt: skip
    total += PENALTY * sum(float(np.sum(value**2)) for value in w.values())
    flat = []
    for name, value in w.items():
        by_weight = np.asarray(gradient[name]) + 2.0 * PENALTY * value
        flat.append(np.ravel(by_weight * value if name in POSITIVE else by_weight))
    return total, np.concatenate(flat).astype(np.float64)


def fit(given: Points, seed: int, steps: int) -> tuple[float, dict[str, Numbers]]:
    """Return the loss and the weights that a descent from a random start finds."""
    random = np.random.default_rng(seed)
    start = np.concatenate(
        [
            np.ravel(random.normal(-1.5 if name in POSITIVE else 0.0, 0.5 if name in POSITIVE else 0.3, shape))
            for name, shape in SHAPES.items()
        ]
    )
    found = minimize(loss, start, args=(given,), jac=True, method="L-BFGS-B",
                     options={"maxiter": steps, "maxfun": 2 * steps, "maxcor": 30})  # fmt: skip
    return float(found.fun), unpacked(found.x)


def scored(weights: dict[str, Numbers], given: Points) -> str:
    """Return the errors of a set of points in words, at tails of 0.1 to 0.01."""
    hidden = np.tanh(given.rising @ weights["rising"] + given.free @ weights["free"] + weights["bias"])
    second = np.tanh(hidden @ weights["rising_on"] + given.free @ weights["free_on"] + weights["bias_on"])
    decay = np.logaddexp(0.0, given.free @ weights["decay"][1:] + weights["decay"][0])
    risen = (second @ weights["rising_out"] + given.rising @ weights["direct"] + given.free @ weights["free_out"]
             + weights["bias_out"] - decay * given.decayed)  # fmt: skip
    error = np.exp(-np.logaddexp(0.0, -risen)) - given.beyond
    judged = (given.beyond >= 0.008) & (given.beyond <= 0.12)
    worst = np.array([np.abs(error[judged & (given.case == c)]).max(initial=0.0) for c in np.unique(given.case)])
    return (
        f"{len(worst)} cases: worst error of each, median {np.median(worst):.4f}, p90 {np.quantile(worst, 0.9):.4f}, "
        f"p99 {np.quantile(worst, 0.99):.4f}, largest {worst.max():.4f}; beyond 0.02: {np.mean(worst > 0.02):.1%}; "
        f"most optimistic {-error[judged].min():.4f}"
    )


def part(given: Points, chosen: Numbers) -> Points:
    """Return some of the points."""
    return Points(*(getattr(given, field.name)[chosen] for field in fields(Points)))


def main() -> int:
    """Fit from several starts, score, and write the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("simulated", type=Path, nargs="+")
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5000)
    arguments = parser.parse_args()
    given = points(arguments.simulated)
    held_out = given.case % 4 == 3
    taught = part(given, ~held_out)
    weights = min((fit(taught, seed, arguments.steps) for seed in range(arguments.starts)), key=lambda one: one[0])[1]
    scores = {"fitted": scored(weights, taught), "held_out": scored(weights, part(given, held_out))}
    for name, score in scores.items():
        print(f"{name}: {score}")
    body = {
        "made_by": "python -m tools.simulate_waits, then python -m tools.fit_waits; not by hand",
        "scores": scores,
        "weights": {name: np.round(value, 5).tolist() for name, value in weights.items()},
    }
    TARGET.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
