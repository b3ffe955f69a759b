"""The hash chain of the decision log: each line seals itself and the line before it.

A line is one JSON object: ``seq`` and ``prev`` (the hash of the line before) come first, ``hash`` last. The hash is
SHA-256 over the text of the line without its ``hash``, so a changed character, a missing line and a changed order show.
What a chain alone cannot show is that its newest lines were cut off: note the last hash elsewhere (the process log and
``explain --verify`` print it) and ask for it with ``--anchor``.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from autoscaler.publish.document import Json

GENESIS = "0" * 64
"""What the first line of a chain names as the line before it."""

_SEAL = re.compile(r',"hash":"([0-9a-f]{64})"\}$')


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: the number and the hash of its newest line."""

    sequence: int
    digest: str


START = Link(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Break:
    """A place where a log is not what was written, in words."""

    where: str  # file:line
    problem: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the chain of a log proves."""

    lines: int
    first: Link | None  # None: the log is empty
    last: Link | None
    breaks: tuple[Break, ...]

    @property
    def whole(self) -> bool:
        """Tell whether every line is as it was written, and none is missing in between."""
        return not self.breaks


def sealed(entry: Mapping[str, Json], after: Link) -> tuple[str, Link]:
    """Return an entry as the line that follows a link, and the link that it makes."""
    sequence = after.sequence + 1
    body = {"seq": sequence, "prev": after.digest, **entry}
    line = json.dumps(body, separators=(",", ":"), allow_nan=False)[:-1]
    hashed = hashlib.sha256(line.encode())
    hashed.update(b"}")
    digest = hashed.hexdigest()
    line += f',"hash":"{digest}"}}'  # in place: of 10,000 pods a line has 10 MB, and each copy of it counts
    return line, Link(sequence, digest)


def link_of(line: str) -> Link | None:
    """Return the link that a line makes; None where its seal does not fit its text."""
    seal = _SEAL.search(line)
    if seal is None or _digest(line[: seal.start()] + "}") != seal[1]:
        return None
    entry = _parsed(line)
    sequence = entry.get("seq")
    return Link(sequence, seal[1]) if isinstance(sequence, int) else None


def verified(lines: Iterable[tuple[str, str]], anchors: Iterable[str] = ()) -> Verdict:
    """Return what the chain proves of lines, oldest first, each with its place.

    The first line may follow on lines that rotation has removed. ``anchors``: hashes (or their beginnings) that were
    noted at some time, and have to be there.
    """
    first: Link | None = None
    last: Link | None = None
    breaks: list[Break] = []
    wanted = set(anchors)
    count = 0
    for where, line in lines:
        count += 1
        link = link_of(line)
        breaks += [Break(where, problem) for problem in _problems(line, link, last)]
        last = link or last
        first = first or link
        wanted = {anchor for anchor in wanted if link is None or not link.digest.startswith(anchor)}
    breaks += [Break("the log", f"no line has hash {anchor}: lines were cut off or replaced") for anchor in wanted]
    return Verdict(count, first, last, tuple(breaks))


def _problems(line: str, link: Link | None, before: Link | None) -> Iterator[str]:
    if link is None:
        yield "the line is not what was written: its hash does not fit its text"
        return
    follows = str(_parsed(line).get("prev"))
    if before is not None and follows != before.digest:
        gap = link.sequence - before.sequence - 1
        missing = f"{gap} line(s) are missing before it" if gap > 0 else "lines before it were changed or put in order"
        yield f"does not follow on the line before: {missing}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(line: str) -> dict[str, Json]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
