"""An answer of Prometheus, typed, and its rows: labels are read once, in however many answers and looks they come.

Of the 60 MB that a look at 10,000 pods reads, most are labels, and they hardly change from look to look.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from autoscaler.domain.signal import GapReason, Missing
from autoscaler.domain.units import Instant
from autoscaler.errors import ObservationError
from autoscaler.observe.samples import Keys, Row

LONGEST_LABELS = 4096  # of the values of one series together

Point: TypeAlias = tuple[float, str]
"""Unix time, and a number as text: JSON has neither NaN nor infinity."""


class Single(msgspec.Struct, frozen=True, gc=False):
    """One series at one moment; its labels as they stand in the answer."""

    metric: msgspec.Raw
    value: Point


class Several(msgspec.Struct, frozen=True, gc=False):
    """One series at several moments."""

    metric: msgspec.Raw
    values: list[Point]


class Vector(msgspec.Struct, frozen=True, tag_field="resultType", tag="vector"):
    """What is answered at one moment."""

    result: list[Single]


class Matrix(msgspec.Struct, frozen=True, tag_field="resultType", tag="matrix"):
    """What is answered over a range."""

    result: list[Several]


Answer: TypeAlias = Vector | Matrix


class _Body(msgspec.Struct, frozen=True):
    data: Answer


_BODY = msgspec.json.Decoder(_Body)
_LABELS = msgspec.json.Decoder(dict[str, str])


def decoded(body: bytes) -> Answer:
    """Read an answer; what else it holds is skipped.

    Raises:
        ValueError: it is no JSON, or no answer with series.
        RecursionError: it is nested too deep.
    """
    return _BODY.decode(body).data


class TooLongError(Exception):
    """Labels that are longer than is read."""


class LabelSet(Mapping[str, str]):
    """The labels of one series, in half the memory of a dict: which names there are is told once for all alike."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: tuple[str, ...]) -> None:
        """Take the place of each name's value, and the values."""
        self._places = places
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._values)


class Labels(dict[bytes, LabelSet]):
    """Labels by their text in an answer, which Prometheus writes the same way each time; read when they first come.

    Who asks for new ones may get a ValueError (the text is no mapping of texts) or a TooLongError.
    """

    def __init__(self) -> None:
        """Know none."""
        super().__init__()
        self.keys_of: Keys = {}  # for snapshots of these labels, which live as long
        self._places: dict[tuple[str, ...], Mapping[str, int]] = {}

    def __missing__(self, text: bytes) -> LabelSet:
        """Read labels, and remember them."""
        read = _LABELS.decode(text)
        longest = sum(map(len, read.values()))
        if longest > LONGEST_LABELS:
            msg = f"labels of {longest} characters, at most {LONGEST_LABELS} are read"
            raise TooLongError(msg)
        names = tuple(map(sys.intern, read))
        places = self._places.get(names) or self._places.setdefault(names, {name: n for n, name in enumerate(names)})
        # many of them name the same model or pod; of two threads that read the same, one is first
        return self.setdefault(text, LabelSet(places, tuple(map(sys.intern, read.values()))))


def rows(now: Instant, answer: Answer | Missing, labels: Labels, *, changes: bool = False) -> tuple[Row, ...] | Missing:
    """Return the rows of an answer; labels as long as a book make it Missing.

    Args:
        now: the moment of a vector, whose own stamps are rounded to milliseconds.
        answer: what came.
        labels: those that are known; more are added.
        changes: only the first of points in a row that have the same value.

    Raises:
        ObservationError: labels are no texts, or a value is no number.
    """
    try:
        match answer:
            case Missing():
                return answer
            case Vector(result):  # a list: there are hundreds of thousands, and a generator takes half as long again
                return tuple([Row(labels[bytes(one.metric)], float(one.value[1]), now) for one in result])
            case Matrix(result):
                return tuple(_points(result, labels, changes=changes))
    except TooLongError as error:
        return Missing(GapReason.UNREACHABLE, now, str(error))
    except ValueError as error:
        msg = f"the answer of Prometheus cannot be read: {type(error).__name__}"
        raise ObservationError(msg) from error


def _points(result: Sequence[Several], labels: Labels, *, changes: bool) -> Iterator[Row]:
    for series in result:
        known, before = labels[bytes(series.metric)], None
        for at, value in series.values:
            if not (changes and value == before):
                yield Row(known, float(value), Instant(at))
            before = value
