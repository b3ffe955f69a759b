"""A recording of scrapes, from files: to look at it through the in-memory back end, or to fill a Prometheus with it."""

import bisect
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from autoscaler.domain.units import Instant
from autoscaler.errors import InputError
from autoscaler.observe.catalogue import NAMESPACE, POD, ROLE, Windows
from autoscaler.observe.scrape import Heads, Limits, MemorySource, Target, parsed

ENGINES_FILE = "engines.jsonl.gz"
PICKER_FILE = "picker.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one target showed at one moment."""

    at: Instant
    target: Target
    exposition: str


@dataclass(frozen=True, slots=True)
class Recording:
    """Scrapes in the order of their times."""

    scrapes: tuple[Scrape, ...]

    @classmethod
    def of(cls, scrapes: Iterable[Scrape]) -> "Recording":
        """Return a recording of these scrapes."""
        return cls(tuple(sorted(scrapes, key=lambda scrape: scrape.at)))

    @property
    def start(self) -> Instant:
        """Return the moment of the first scrape."""
        return self.scrapes[0].at

    @property
    def end(self) -> Instant:
        """Return the moment of the last scrape."""
        return self.scrapes[-1].at

    def at(self, moment: Instant) -> dict[str, Scrape]:
        """Return the newest scrape of each target at a moment, by the target's name."""
        upto = bisect.bisect_right(self.scrapes, moment, key=lambda scrape: scrape.at)
        return {scrape.target.name: scrape for scrape in self.scrapes[:upto]}

    def between(self, after: Instant, until: Instant) -> Sequence[Scrape]:
        """Return the scrapes later than one moment, up to and including another."""
        low = bisect.bisect_right(self.scrapes, after, key=lambda scrape: scrape.at)
        return self.scrapes[low : bisect.bisect_right(self.scrapes, until, key=lambda scrape: scrape.at)]

    def source(self, windows: Windows) -> MemorySource:
        """Return an in-memory back end that holds all scrapes; it can be asked about any moment."""
        source = MemorySource((), windows)
        for scrape in self.scrapes:
            source.add(scrape.at, scrape.target, scrape.exposition)
        return source

    def write_openmetrics(self, path: Path) -> None:
        """Write all samples with their times, for ``promtool tsdb create-blocks-from openmetrics``."""
        heads: dict[str, Heads] = {}
        with path.open("w", encoding="utf-8") as file:
            for scrape in self.scrapes:
                known = heads.setdefault(scrape.target.name, {})
                for name, labels, value in parsed(scrape.target, scrape.exposition, Limits(), known):
                    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
                    file.write(f"{name}{{{pairs}}} {value!r} {scrape.at:.3f}\n")
            file.write("# EOF\n")


def load_recording(folder: Path, namespace: str = "llm") -> Recording:
    """Return the recording of a folder: engines, and the picker where there is one.

    The files hold expositions as they were read; namespace, pod and role are attached here, as a scrape would.

    Raises:
        InputError: a file is absent or damaged.
    """
    picker = folder / PICKER_FILE
    scrapes = [*_scrapes(folder / ENGINES_FILE, namespace), *(_scrapes(picker, namespace) if picker.exists() else ())]
    if not scrapes:
        msg = f"{folder}: the recording is empty"
        raise InputError(msg)
    return Recording.of(scrapes)


def _scrapes(path: Path, namespace: str) -> Iterator[Scrape]:
    """Yield the scrapes of a file: one JSON object a line with t, name, role (empty: not an engine) and text."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                yield Scrape(Instant(float(entry["t"])), _target(entry, namespace), str(entry["text"]))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not a recording of scrapes ({type(error).__name__}: {error})"
        raise InputError(msg) from error


def _target(entry: Mapping[str, Any], namespace: str) -> Target:
    role = {ROLE: str(entry["role"])} if entry.get("role") else {}
    return Target(MappingProxyType({NAMESPACE: namespace, POD: str(entry["name"]), **role}))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
