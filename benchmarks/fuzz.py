"""Damaged inputs into every parser: each may refuse in its own words; none may crash, hang or grow.

    python -m benchmarks.fuzz --inputs 1000000 --only policy     # make bench-fuzz ARGS="--inputs 1000000 --only policy"
    python -m benchmarks.fuzz --page                             # write docs/reference/fuzzing.md from what was run

Inputs are mutations of real samples. An input that led to an answer not had before (an error of another wording,
another size of result) joins the corpus, so that damage piles up where it leads somewhere. Runs add up in
build/bench/fuzz.json: a million inputs can be run in pieces, each with its own --seed.
"""

import argparse
import json
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from autoscaler.errors import AutoscalerError
from benchmarks._fuzz_mutate import CORPUS, mutated
from benchmarks._fuzz_targets import ROOT, Parser, parsers
from benchmarks._rows import BUILD

STORE = BUILD / "fuzz.json"
PAGE = ROOT / "docs" / "reference" / "fuzzing.md"
TOO_LONG_S = 5.0
"""Of processor time, for an input of at most 64 KiB: then it counts as a hang."""

WATCH_EVERY = 5_000
WANTED = 1_000_000  # inputs a parser
_WORDS = re.compile(r"[A-Za-z_]{3,}")


@dataclass
class Tally:
    """What came of some inputs to one parser."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    answers: int = 0  # different ones
    seconds: float = 0.0
    slowest_ms: float = 0.0
    grown_mb: float = 0.0  # resident memory at the end over that after a fifth
    findings: dict[str, str] = field(default_factory=dict)  # by kind and place: the input, as text

    def add(self, other: "Tally") -> None:
        """Count another run in."""
        self.inputs += other.inputs
        self.read += other.read
        self.refused += other.refused
        self.answers = max(self.answers, other.answers)
        self.seconds += other.seconds
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)
        self.grown_mb = max(self.grown_mb, other.grown_mb)
        self.findings |= other.findings


class HangError(BaseException):
    """An input took too long; no ``except Exception`` of a parser may swallow it."""


def fuzz(parser: Parser, inputs: int, seed: int, seconds: float = float("inf")) -> Tally:
    """Feed a parser; stop after so many inputs or so many seconds."""
    draw = random.Random(f"{parser.name}/{seed}")  # noqa: S311 - repeats a run, guards no secret
    corpus, known, tally = list(parser.samples), set[int](), Tally()
    start, settled = time.monotonic(), 0.0
    for sample in parser.samples:
        _try(parser, sample, tally)
    while tally.inputs < inputs and time.monotonic() - start < seconds:
        data = mutated(corpus, draw)
        answer = hash(_try(parser, data, tally))  # not its text: that would be memory that grows
        if answer not in known:
            known.add(answer)
            if len(corpus) < CORPUS:
                corpus.append(data)
        if tally.inputs == max(1, inputs // 5) or (tally.inputs % WATCH_EVERY == 0 and not settled):
            settled = resident_mb()
    tally.seconds, tally.answers = time.monotonic() - start, len(known)
    tally.grown_mb = max(0.0, resident_mb() - settled) if settled else 0.0
    return tally


def _try(parser: Parser, data: bytes, tally: Tally) -> str:
    """Parse one input; return what kind of answer came."""
    before = time.process_time()
    try:
        with _deadline():
            found = parser.parse(data)
        answer = f"read {len(repr(found)[:400])}"
        tally.read += 1
    except AutoscalerError as refusal:
        answer = f"{type(refusal).__name__} {' '.join(_WORDS.findall(str(refusal))[:12])}"
        tally.refused += 1
    except (Exception, HangError) as crash:  # noqa: BLE001 - whatever it is, it is a finding
        answer = _place(crash)
        tally.findings.setdefault(answer, data[:2000].decode("latin-1"))
    tally.inputs += 1
    tally.slowest_ms = max(tally.slowest_ms, 1000 * (time.process_time() - before))
    return answer


@contextmanager
def _deadline() -> Iterator[None]:
    signal.setitimer(
        signal.ITIMER_VIRTUAL, TOO_LONG_S if signal.getsignal(signal.SIGVTALRM) is not signal.SIG_DFL else 0.0
    )
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)


@contextmanager
def watching() -> Iterator[None]:
    """Let inputs that take too long end in a finding: takes a signal of the process over."""

    def hang(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGVTALRM, hang)
    try:
        yield
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _place(crash: BaseException) -> str:
    """Return what went wrong and the last place of ours where it did."""
    ours = [frame for frame in traceback.extract_tb(crash.__traceback__) if "/autoscaler/" in frame.filename]
    where = f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "?"
    return f"{type(crash).__name__} in {where}"


def resident_mb() -> float:
    """Return this process' resident memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def stored() -> dict[str, Tally]:
    """Return what earlier runs found."""
    if not STORE.exists():
        return {}
    return {name: Tally(**tally) for name, tally in json.loads(STORE.read_text(encoding="utf-8")).items()}


def store(tallies: dict[str, Tally]) -> None:
    """Keep what was found."""
    STORE.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: asdict(tally) for name, tally in tallies.items()}
    STORE.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def table(tallies: dict[str, Tally]) -> str:
    """Return the sums as a Markdown table."""
    known = parsers()
    lines = [
        "| parser | of | inputs | inputs/s | read | refused | answers | slowest | growth | findings |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, tally in tallies.items():
        shares = f"{tally.read / tally.inputs:.1%} | {tally.refused / tally.inputs:.1%}"
        lines.append(
            f"| {name} | {known[name].parses} | {tally.inputs:,} | {tally.inputs / tally.seconds:,.0f} | {shares} | "
            f"{tally.answers:,} | {tally.slowest_ms:,.0f} ms | {tally.grown_mb:.1f} MB | {len(tally.findings)} |"
        )
    return "\n".join(lines)


def reached(tallies: dict[str, Tally]) -> str:
    """Return how many parsers had the inputs that are wanted, in words."""
    done = sum(tally.inputs >= WANTED for tally in tallies.values())
    missing = "" if done == len(parsers()) else "; for the others time did not reach"
    return f"**{done} of {len(parsers())} parsers had {WANTED:,} inputs or more**{missing}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print, keep; 1 if anything was found."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--inputs", type=int, default=20_000, help="inputs per parser")
    cli.add_argument("--seconds", type=float, default=float("inf"), help="stop each parser after so long")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--only", action="append", help="this parser (again for more)")
    cli.add_argument("--page", action="store_true", help="only write the page from the runs so far")
    wanted = cli.parse_args(arguments)
    sums = stored()
    if wanted.page:
        return _write_page(sums)
    found = 0
    for name, parser in parsers().items():
        if wanted.only and name not in wanted.only:
            continue
        with watching():
            tally = fuzz(parser, wanted.inputs, wanted.seed, wanted.seconds)
        sums.setdefault(name, Tally()).add(tally)
        store(sums)
        found += len(tally.findings)
        print(table({name: tally}).splitlines()[-1], flush=True)
        for place, data in tally.findings.items():
            print(f"    {place}: {data[:300]!r}", flush=True)
    return 1 if found else 0


def _write_page(sums: dict[str, Tally]) -> int:
    begin, end = "<!-- table -->\n", "<!-- end of table -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    said = f"{table(sums)}\n\n{reached(sums)}\n"
    PAGE.write_text(f"{before}{begin}{said}{end}{rest.split(end)[1]}", encoding="utf-8")
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
