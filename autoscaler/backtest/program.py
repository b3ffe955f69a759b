"""Linear programs built column by column and row by row, solved by HiGHS."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

FloatArray = NDArray[np.float64]
Columns = NDArray[np.intp]
NONE = np.intp(-1)
"""Stands in a row for no variable."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The least cost, and every column's value there. ``bound``: no solution is cheaper (the dual bound)."""

    cost: float
    bound: float
    values: FloatArray


class Program:
    """A linear program, or with whole variables a mixed-integer one, under construction."""

    def __init__(self) -> None:
        """Start without variables and rows."""
        self._cost: list[FloatArray] = []
        self._low: list[FloatArray] = []
        self._high: list[FloatArray] = []
        self._whole: list[FloatArray] = []
        self._columns = 0
        self._triplets: list[tuple[NDArray[np.intp], Columns, FloatArray]] = []
        self._row_low: list[FloatArray] = []
        self._row_high: list[FloatArray] = []
        self._rows = 0

    def variables(
        self, count: int, cost: float = 0.0, low: ArrayLike = 0.0, high: ArrayLike = np.inf, *, whole: bool = False
    ) -> Columns:
        """Add variables; return their columns."""
        self._cost.append(np.full(count, cost))
        self._low.append(_spread(low, count))
        self._high.append(_spread(high, count))
        self._whole.append(np.full(count, float(whole)))
        self._columns += count
        return np.arange(self._columns - count, self._columns, dtype=np.intp)

    def rows(self, terms: Sequence[tuple[Columns, ArrayLike]], *, low: ArrayLike = -np.inf, high: ArrayLike) -> None:
        """Add rows: row n keeps the sum over terms of coefficient n times column n between ``low`` and ``high``."""
        count = len(terms[0][0])
        own = np.arange(self._rows, self._rows + count, dtype=np.intp)
        for columns, coefficients in terms:
            there = columns != NONE
            self._triplets.append((own[there], columns[there], _spread(coefficients, count)[there]))
        self._close(count, low, high)

    def weighted_total(self, columns: Columns, weights: ArrayLike, *, high: float) -> None:
        """Add one row: the sum of weight times column stays at most ``high``."""
        own = np.full(len(columns), self._rows, dtype=np.intp)
        self._triplets.append((own, columns, _spread(weights, len(columns))))
        self._close(1, -np.inf, high)

    def _close(self, count: int, low: ArrayLike, high: ArrayLike) -> None:
        self._row_low.append(_spread(low, count))
        self._row_high.append(_spread(high, count))
        self._rows += count

    def solved(self, *, time_limit_s: float = 600.0, gap: float = 0.0) -> Solution | str:
        """Return the solution, or in words why there is none."""
        rows, columns, values = (np.concatenate(part) for part in zip(*self._triplets, strict=True))
        matrix = sparse.csr_array((values, (rows, columns)), shape=(self._rows, self._columns))
        found = milp(
            np.concatenate(self._cost),
            integrality=np.concatenate(self._whole),
            bounds=Bounds(np.concatenate(self._low), np.concatenate(self._high)),
            constraints=LinearConstraint(matrix, np.concatenate(self._row_low), np.concatenate(self._row_high)),
            options={"time_limit": time_limit_s, "mip_rel_gap": gap},
        )
        if found.x is None:
            return str(found.message)
        bound = found.mip_dual_bound if any(whole.any() for whole in self._whole) else found.fun
        return Solution(float(found.fun), float(bound), np.asarray(found.x))


def before(columns: Columns) -> Columns:
    """Return each column's predecessor; the first has none."""
    return np.concatenate([[NONE], columns[:-1]])


def _spread(values: ArrayLike, count: int) -> FloatArray:
    return np.broadcast_to(np.asarray(values, dtype=np.float64), count)
