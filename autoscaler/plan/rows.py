"""Tables as values: dataclasses whose arrays have a row for each of some things, joined and taken apart by rows.

What is no array, nor a table itself, holds for all rows.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Chosen: TypeAlias = slice | NDArray[np.bool_]


def kind(table: object) -> Hashable:
    """Return what tables must have in common to be joined: their type, the form of a row, and what holds for all."""
    return (type(table), *(_kind(value) for value in _values(table)))


def joined(tables: Sequence[T]) -> T:
    """Return one table with the rows of several of a kind, in their order."""
    return tables[0] if len(tables) == 1 else _made(tables, np.concatenate)


def taken(table: T, chosen: Chosen) -> T:
    """Return a table of some rows."""
    return _made([table], lambda arrays: arrays[0][chosen])


def _made(tables: Sequence[T], array: Callable[[Sequence[NDArray[Any]]], NDArray[Any]]) -> T:
    """Return a table with arrays made from those of several tables."""
    columns = zip(*map(_values, tables), strict=True)
    return type(tables[0])(*(_column(values, array) for values in columns))


def _column(values: Sequence[Any], array: Callable[[Sequence[NDArray[Any]]], NDArray[Any]]) -> object:
    if isinstance(values[0], np.ndarray):
        return array(values)
    return _made(values, array) if is_dataclass(values[0]) else values[0]


def _kind(value: Any) -> Hashable:  # noqa: ANN401 - a column, or what holds for all rows
    common: Hashable = value
    if isinstance(value, np.ndarray):
        common = value.shape[1:]
    elif is_dataclass(value):
        common = kind(value)
    return common


def _values(table: Any) -> list[Any]:  # noqa: ANN401 - any dataclass
    return [getattr(table, name) for name in _names(table.__class__)]


@functools.cache
def _names(table: Any) -> tuple[str, ...]:  # noqa: ANN401 - a type of dataclasses
    return tuple(each.name for each in fields(table))
