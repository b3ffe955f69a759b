"""The decision log: one sealed JSON line a tick, from which everything else can be drawn again.

Besides ticks it holds lines of kind ``policies``: what governs the ticks that follow, in full, under the version that
each tick names. Every file begins with one, so that each can be read alone.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import structlog

from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.publish import chain, document
from autoscaler.publish.chain import Link
from autoscaler.publish.document import Json

log = structlog.get_logger("autoscaler")

NOTED_EVERY = 240
"""Lines after which the newest hash goes to the process log, where the log's own file cannot be changed with it."""

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
DEFAULT_KEEP = 1


class DecisionLog:
    """Appends ticks to a file and keeps a few older ones: ``keep + 1`` files of ``max_bytes`` and a line, no more."""

    def __init__(
        self,
        path: Path,
        policies: Sequence[SLOPolicy] = (),
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        keep: int = DEFAULT_KEEP,
    ) -> None:
        """Open (and create, with its folder) the file at ``path``, and go on with the chain that it holds."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._last = _resume(path)
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._policies, self._versions = _named(policies)
        self._write(self._governing())

    @property
    def last(self) -> Link:
        """Return the newest link of the chain: worth noting where the log's writer cannot change it."""
        return self._last

    async def publish(self, record: TickRecord) -> None:
        """Append one tick, whole, and hand it to the operating system."""
        await asyncio.to_thread(self._append, record)

    def govern(self, policies: Iterable[SLOPolicy]) -> None:
        """Write down the policies under which the ticks that follow are decided, if they are others than before."""
        plain, versions = _named(policies)
        if versions != self._versions:
            self._policies, self._versions = plain, versions
            self._write(self._governing())

    def close(self) -> None:
        """Close the file."""
        self._note()
        self._file.close()

    def _append(self, record: TickRecord) -> None:
        # all of it in a thread: with 10,000 pods a line has megabytes, and probes have to be answered meanwhile
        self._write({"kind": "tick", "policies": dict(self._versions), **document.tick(record)})
        if self._file.tell() > self._max_bytes:
            self._rotate()
            self._write(self._governing())

    def _write(self, entry: Mapping[str, Json]) -> None:
        line, link = chain.sealed(entry, self._last)
        self._file.write(line)
        self._file.write("\n")
        self._file.flush()
        self._last = link
        if link.sequence % NOTED_EVERY == 0:
            self._note()

    def _note(self) -> None:
        log.info("decision_log_sealed", path=str(self._path), sequence=self._last.sequence, hash=self._last.digest)

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._keep, 0, -1):
            younger = generation(self._path, number - 1)
            if younger.exists():
                younger.replace(generation(self._path, number))
        self._file = self._path.open("w", encoding="utf-8")

    def _governing(self) -> dict[str, Json]:
        return {"kind": "policies", "versions": dict(self._versions), "policies": dict(self._policies)}


def _named(policies: Iterable[SLOPolicy]) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
    """Return policies as plain data and their versions, by key."""
    plain = {policy.key: document.plain(policy) for policy in policies}
    return plain, {key: version(content) for key, content in plain.items()}


def version(policy: Json) -> str:
    """Return what names the content of a policy: the beginning of a hash over it."""
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()[:12]


def generation(path: Path, number: int) -> Path:
    """Return the path of an older file of the log; 0: the one that is written to."""
    return path.with_suffix(f"{path.suffix}.{number}") if number else path


def generations(path: Path) -> tuple[Path, ...]:
    """Return the files of a log that exist, oldest first."""
    found = []
    number = 1
    while generation(path, number).exists():
        found.append(generation(path, number))
        number += 1
    return (*reversed(found), *((path,) if path.exists() else ()))


def _resume(path: Path) -> Link:
    """Return the link that the file ends with; a line that a crash cut short never was, and goes.

    A last line whose seal does not fit begins a new chain: what stands before it then fails verification, and should.
    """
    for candidate in reversed(generations(path)):  # a crash right after rotation leaves the newest file empty
        with candidate.open("r+b") as file:
            end = _end_of_whole_lines(file)
            file.truncate(end)
            if end > 0:
                return chain.link_of(_last_line(file, end).decode(errors="replace")) or chain.START
    return chain.START


_BLOCK = 1 << 16


def _end_of_whole_lines(file: IO[bytes]) -> int:
    """Return the position behind the last newline; 0 without any."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        begin = max(0, position - _BLOCK)
        file.seek(begin)
        found = file.read(position - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0


def _last_line(file: IO[bytes], end: int) -> bytes:
    """Return the line that ends at ``end``, without its newline."""
    tail = b""
    position = end - 1
    while position > 0 and b"\n" not in tail:
        begin = max(0, position - _BLOCK)
        file.seek(begin)
        tail = file.read(position - begin) + tail
        position = begin
    return tail.rpartition(b"\n")[2]
