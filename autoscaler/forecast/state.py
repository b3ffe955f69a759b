"""State as plain values (dict, list, str, numbers, None), fit for JSON; NaN is written as None.

Follows the type hints of dataclasses, so a field cannot be forgotten when one is added.
"""

import dataclasses
import math
import types
import typing
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from autoscaler.errors import InputError

if TYPE_CHECKING:
    Singles: TypeAlias = array[float]
    Places: TypeAlias = array[int]
else:  # before Python 3.12 it takes no argument at run time
    Singles = Places = array


def singles() -> Singles:
    """Return an empty list of numbers in single precision: a tenth of the memory of a list."""
    return array("f")


def places() -> Places:
    """Return an empty list of places in a list of at most 65,536."""
    return array("H")


TRANSIENT = {"transient": True}
"""Metadata of a field that can be computed again: it is not written."""

Plain: TypeAlias = Any
"""What JSON can hold. The shape follows from the type it is read as, so it is checked on reading, not by mypy."""

T = TypeVar("T")


def to_plain(value: object) -> Plain:
    """Return a dataclass, container or number as plain values; mappings become lists of pairs."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: to_plain(getattr(value, item.name)) for item in _kept(value)}
        return {"is": type(value).__name__, **fields}
    if isinstance(value, np.ndarray | array):
        layout = {"code": value.typecode} if isinstance(value, array) else {"shape": list(value.shape)}
        return {**layout, "values": to_plain(np.ravel(value).tolist())}
    if isinstance(value, Mapping):
        return [[to_plain(key), to_plain(item)] for key, item in value.items()]
    if isinstance(value, Sequence | deque | frozenset) and not isinstance(value, str):
        return [to_plain(item) for item in (sorted(value) if isinstance(value, frozenset) else value)]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def from_plain(kind: type[T], plain: Plain, path: str = "state") -> T:
    """Return plain values as an instance of a dataclass.

    Raises:
        InputError: the values do not have the shape of ``kind``, e.g. they were written by another version.
    """
    try:
        return typing.cast("T", _read(kind, plain))
    except (TypeError, KeyError, ValueError) as error:
        msg = f"{path}: not the state of a {kind.__name__} ({error}); start without it, history will warm it up"
        raise InputError(msg) from error


def _kept(kind: Any) -> list[dataclasses.Field[Any]]:  # noqa: ANN401, a dataclass or an instance of one
    return [item for item in dataclasses.fields(kind) if item.metadata != TRANSIENT]


def _read(kind: Any, plain: Plain) -> Any:  # noqa: ANN401, the type is known only at run time
    if isinstance(kind, typing.NewType):
        return _read(kind.__supertype__, plain)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        every = typing.get_type_hints(kind)
        hints = {item.name: every[item.name] for item in _kept(kind)}
        if set(plain) != {"is", *hints} or plain["is"] != kind.__name__:
            msg = f"{plain['is']} with {sorted(plain)} instead of {kind.__name__} with {sorted(hints)}"
            raise ValueError(msg)
        return typing.cast("Any", kind)(**{name: _read(hint, plain[name]) for name, hint in hints.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _read_union([a for a in arguments if a is not types.NoneType], plain)
    return _read_container(origin, arguments, plain) if origin is not None else _read_scalar(kind, plain)


def _read_union(kinds: list[Any], plain: Plain) -> Any:  # noqa: ANN401, as above
    if plain is None:
        return None
    if len(kinds) == 1:
        return _read(kinds[0], plain)
    return _read({kind.__name__: kind for kind in kinds}[plain["is"]], plain)


def _read_container(origin: Any, arguments: tuple[Any, ...], plain: Plain) -> Any:  # noqa: ANN401, as above
    if origin is np.ndarray:
        kind = typing.get_args(arguments[1])[0]
        flat = [math.nan if value is None else value for value in plain["values"]]
        return np.array(flat, dtype=kind).reshape(plain["shape"])
    if issubclass(origin, Mapping):
        key, item = arguments
        return {_read(key, k): _read(item, v) for k, v in plain}
    if origin is tuple and arguments[-1] is not Ellipsis:
        return tuple(_read(argument, value) for argument, value in zip(arguments, plain, strict=True))
    return origin(_read(arguments[0], value) for value in plain)


def _read_scalar(kind: Any, plain: Plain) -> Any:  # noqa: ANN401, as above
    if kind is float:
        return math.nan if plain is None else float(plain)
    if issubclass(kind, Enum):
        return kind(plain)
    if kind is array:
        return array(plain["code"], plain["values"])
    if not isinstance(plain, kind):
        msg = f"{plain!r} is no {kind.__name__}"
        raise TypeError(msg)
    return plain
