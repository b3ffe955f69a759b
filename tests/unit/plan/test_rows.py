"""Tables joined and taken apart: rows keep their order, tables within tables follow, what holds for all stays."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoscaler.plan import rows


@dataclass(frozen=True, slots=True)
class Inner:
    pairs: NDArray[np.float64]  # shape (rows, 2)


@dataclass(frozen=True, slots=True)
class Table:
    values: NDArray[np.float64]
    inner: Inner
    setting: float


def table(*values: float, setting: float = 60.0) -> Table:
    return Table(np.array(values), Inner(np.array([[value, -value] for value in values])), setting)


def test_joined_tables_have_all_rows_in_order() -> None:
    both = rows.joined([table(1.0, 2.0), table(3.0)])
    assert (both.values.tolist(), both.setting) == ([1.0, 2.0, 3.0], 60.0)
    assert both.inner.pairs.tolist() == [[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]


def test_rows_are_taken_by_place_or_by_mask() -> None:
    whole = table(1.0, 2.0, 3.0)
    by_mask = rows.taken(whole, np.array([False, True, True]))
    assert by_mask.inner.pairs.tolist() == rows.taken(whole, slice(1, 3)).inner.pairs.tolist() == [[2, -2], [3, -3]]


def test_tables_are_of_a_kind_whatever_their_number_of_rows_but_not_with_other_settings_or_forms() -> None:
    one = table(1.0)
    assert rows.kind(one) == rows.kind(table(2.0, 3.0))
    assert rows.kind(one) != rows.kind(table(1.0, setting=30.0))
    assert rows.kind(one) != rows.kind(replace(one, inner=Inner(np.zeros((1, 3)))))
