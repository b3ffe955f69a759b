"""Inputs that a parser was not made for: real samples, damaged at random, and kept where they led somewhere new."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

LONGEST = 1 << 16
CORPUS = 400

TOKENS: tuple[bytes, ...] = (
    *(b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r\n", b"\n\n", b"\t", b"\\", b'"', b"'", b"`"),
    *(b"{", b"}", b"[", b"]", b"{}", b"[]", b"{{", b"[[[[", b": ", b"- ", b"? ", b", ", b"#", b"---\n", b"|\n", b">\n"),
    *(b"&a ", b"*a", b"<<: *a", b"!!python/name:os.system ", b"!!int x", b"!<tag:x> ", b"%YAML 9.9\n"),
    *(b"null", b"true", b"~", b"NaN", b"+Inf", b"-Inf", b"Infinity", b"1e309", b"-1e309", b"1e-320", b"-0.0", b"0"),
    *(b"-1", b"1_000", b"0x10", b"0o7", b"1" * 400, b"9223372036854775808", b"2147483648", b"1.5", b"99%", b"1h1m"),
    *("\N{ARABIC-INDIC DIGIT ONE}".encode(), "\N{RIGHT-TO-LEFT OVERRIDE}".encode(), "\N{GRINNING FACE}".encode()),
    *(b"__proto__", b"__class__", b"$(id)", b"${jndi:x}", b"%s%s%n", b"../../etc/passwd", b"A" * 2000),
    *(b"[" * 3000, b'{"a":' * 1500, b"a: {" * 100, b"(" * 200),
)

_NUMBER = re.compile(rb"[0-9][0-9.]*")

Change = Callable[[bytearray, random.Random, Sequence[bytes]], None]


def mutated(corpus: Sequence[bytes], draw: random.Random) -> bytes:
    """Return one of the corpus after one to six changes, most often one: of its bytes, or of what it says as JSON."""
    data = bytearray(draw.choice(corpus))
    for _ in range(min(1 + int(draw.expovariate(1.2)), 6)):
        draw.choice(CHANGES)(data, draw, corpus)
    return bytes(data[:LONGEST])


def _span(data: bytearray, draw: random.Random, longest: int = 64) -> tuple[int, int]:
    begin = draw.randint(0, len(data))
    return begin, min(len(data), begin + draw.randint(1, longest))


def _flip(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _put(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    begin = draw.randint(0, len(data))
    data[begin:begin] = draw.choice(TOKENS)


def _replace(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    begin, end = _span(data, draw, 12)
    data[begin:end] = draw.choice(TOKENS)


def _remove(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    begin, end = _span(data, draw)
    del data[begin:end]


def _cut(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    del data[draw.randint(0, len(data)) :]


def _repeat(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    begin, end = _span(data, draw)
    data[begin:begin] = bytes(data[begin:end]) * draw.choice((1, 1, 2, 16, 200))


def _splice(data: bytearray, draw: random.Random, corpus: Sequence[bytes]) -> None:
    other = draw.choice(corpus)
    begin, end = _span(bytearray(other), draw, 400)
    at, upto = _span(data, draw, 400)
    data[at:upto] = other[begin:end]


def _line(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    """Take a line out, and perhaps put it somewhere else, perhaps twice."""
    lines = bytes(data).split(b"\n")
    line = lines.pop(draw.randrange(len(lines)))
    for _again in range(draw.choice((0, 1, 1, 2))):
        lines.insert(draw.randint(0, len(lines)), line)
    data[:] = b"\n".join(lines)


def _number(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    """Put another number where one stands."""
    found = _NUMBER.search(data, draw.randint(0, len(data))) or _NUMBER.search(data)
    if found:
        begin, end = found.span()
        data[begin:end] = draw.choice((b"-1", b"0", b"1e309", b"NaN", b"2147483648", b"1e-320", b"9" * 30, b"1e12"))


def _said_otherwise(data: bytearray, draw: random.Random, _: Sequence[bytes]) -> None:
    """Put another value somewhere into a line of JSON, which stays JSON."""
    lines = bytes(data).split(b"\n")
    chosen = draw.randrange(len(lines))
    try:
        document = json.loads(lines[chosen])
    except (ValueError, RecursionError):
        return
    places = [(part, key) for part in _parts(document) for key in _keys(part)]
    if places:
        part, key = draw.choice(places)
        part[key] = draw.choice(VALUES)
        lines[chosen] = json.dumps(document).encode()
        data[:] = b"\n".join(lines)


def _parts(value: Any) -> list[Any]:  # noqa: ANN401 - any document
    """Return the lists and mappings of a document, itself included."""
    parts, found = [value], []
    while parts:
        part = parts.pop()
        if isinstance(part, dict | list):
            found.append(part)
            parts += part.values() if isinstance(part, dict) else part
    return found


def _keys(part: Any) -> Sequence[Any]:  # noqa: ANN401 - a list or a mapping
    return [*part] if isinstance(part, dict) else range(len(part))


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, 5e-324, float("nan"), float("inf")),
    *("", "0", "-1", "NaN", "+Inf", "1e999", "x", "\x00", "\ud800", "a" * 5000, "\n", '"} or vector(1) #', "llm/p0"),
    *([], [[]], [1, "2"], [1, 2, 3], {}, {"a": 1}, {"": ""}, {"pod": {"x": []}}, [None], [{"metric": {}}]),
)

BYTEWISE: tuple[Change, ...] = (_flip, _put, _replace, _remove, _cut, _repeat, _splice, _line, _number)
CHANGES: tuple[Change, ...] = (*BYTEWISE, *(_said_otherwise,) * len(BYTEWISE))
