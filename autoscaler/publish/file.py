"""The decision log: one JSON line a tick, from which everything else can be drawn again."""

import asyncio
import json
from pathlib import Path
from typing import IO

from autoscaler.domain.record import TickRecord
from autoscaler.publish import document

DEFAULT_MAX_BYTES = 64 * 1024 * 1024


class DecisionLog:
    """Appends ticks to a file and keeps one older generation, so that the log never outgrows twice its limit."""

    def __init__(self, path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Open (and create, with its folder) the file at ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._max_bytes = max_bytes
        self._file: IO[str] = path.open("a", encoding="utf-8")

    async def publish(self, record: TickRecord) -> None:
        """Append one tick, whole, and hand it to the operating system."""
        line = json.dumps(document.tick(record), separators=(",", ":"), allow_nan=False)
        await asyncio.to_thread(self._append, line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()
        if self._file.tell() > self._max_bytes:
            self._file.close()
            self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))
            self._file = self._path.open("a", encoding="utf-8")
