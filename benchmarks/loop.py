"""The whole loop at size: `autoscaler run` against a server with canned answers of 500 models and 10,000 pods.

    python -m benchmarks.loop --ticks 40                 # make bench-loop; figures: docs/reference/loop-at-size.md
    python -m benchmarks.loop --models 50 --ticks 100    # a smaller estate
    python -m benchmarks.loop --models 50 --no-picker    # all is read from the engines
    python -m benchmarks.loop --models 50 --speed 30 --period 15s --ticks 2000    # eight hours in 17 minutes

The controller is a process of its own; times are its own metrics (`autoscaler_step_seconds`), memory is what the kernel
says of it after each tick. Every query of the catalogue is answered for every pod, buckets included, over HTTP.
With ``--speed`` its clock runs so many times faster: forecasters and windows see ticks at the distance of ``--period``.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks._canned import Estate, policies
from benchmarks._rows import Row, write
from benchmarks._rows import told as told_rows

ROOT = Path(__file__).resolve().parent.parent
WINDOW_S = 60
TARGET_S, TARGET_MB, TARGET_TICKS = 3.0, 500.0, 2000
STEPS = ("observe", "decide", "act", "publish")
PARTS = ("quarter", "middle", "three-quarters")
POLICIES_PER_FILE = 50


@dataclass(frozen=True)
class Tick:
    """What one tick took: seconds by step, of publishing those of the tick before; memory after it."""

    seconds: dict[str, float]
    resident_mb: float
    highest_mb: float  # at any moment so far, between ticks or in one
    lessons_mb: float  # of the process in which forecasters learn, if there is one just then
    processor_s: float = 0.0  # of the whole process so far


@contextmanager
def process(*command: str, **settings: object) -> Iterator[subprocess.Popen[str]]:
    """Run a process; end it."""
    running = subprocess.Popen([sys.executable, "-m", *command], text=True, cwd=ROOT, **settings)  # type: ignore[call-overload] # noqa: S603
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()


def measured(estate: Estate, ticks: int, *extra: str, logged: bool, speed: float = 1.0) -> list[Tick]:
    """Run the controller for so many ticks, with more options and a clock that runs ``speed`` times as fast."""
    with tempfile.TemporaryDirectory(prefix="loop-") as folder, process(
        "benchmarks._canned", "--models", str(estate.models), "--pods", str(estate.pods), "--window", str(WINDOW_S),
        *(() if estate.picker else ("--no-picker",)), stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdout is not None  # noqa: S101 - as asked for
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        options = [*_options(Path(folder), estate, address), *extra]
        if logged:
            options += ["--decision-log", f"{folder}/decisions.jsonl"]
        command = ("autoscaler",) if speed == 1.0 else ("benchmarks._hurried", f"{speed}")
        with process(*command, "run", *options, stderr=subprocess.PIPE, env=_environment(folder)) as controller:
            return list(_ticks(controller, ticks, speed))


def _options(folder: Path, estate: Estate, address: str) -> list[str]:
    documents = list(policies(estate))
    options = ["--prometheus", f"{address}/prometheus", "--window", f"{WINDOW_S}s", "--history", "0s"]
    options += ["--listen", "127.0.0.1:0", "--kubeconfig", str(folder / "config"), "--lease", "none"]
    for begin in range(0, len(documents), POLICIES_PER_FILE):
        path = folder / f"policies-{begin}.yaml"
        chosen = documents[begin : begin + POLICIES_PER_FILE]
        path.write_text(
            "".join(f"---\n{json.dumps(document)}\n" for document in chosen), encoding="utf-8"
        )  # JSON is YAML
        options += ["--policy", str(path)]
    login = {"name": "canned", "cluster": {"server": address}}
    context = {"name": "canned", "context": {"cluster": "canned", "user": "canned"}}
    user = {"name": "canned", "user": {"token": "none"}}
    config = {"clusters": [login], "contexts": [context], "users": [user], "current-context": "canned"}
    (folder / "config").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}), encoding="utf-8")
    return options


def _environment(folder: str) -> dict[str, str]:
    return {**os.environ, "HOME": folder, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "1"}  # as the image says


def _ticks(controller: subprocess.Popen[str], wanted: int, speed: float) -> Iterator[Tick]:
    """Yield each tick as the controller's log tells it; of its warnings, the first of each kind is printed."""
    assert controller.stderr is not None  # noqa: S101 - as asked for
    seen, told = 0, set[str]()
    for line in controller.stderr:
        event = _event(line)
        if event["event"] != "tick":
            if event["event"] not in told and event.get("level") in {"warning", "error", None}:
                print(f"  {str(event)[:300]}", file=sys.stderr)
            told.add(event["event"])
            continue
        yield Tick(
            {step: told / speed for step, told in event["seconds"].items()},
            resident_mb=_memory_mb(controller.pid, "VmRSS"),
            highest_mb=_memory_mb(controller.pid, "VmHWM"),
            lessons_mb=sum(_memory_mb(pid, "VmRSS") for pid in _children(controller.pid)),
            processor_s=_processor_s(controller.pid),
        )
        seen += 1
        if seen == wanted:
            return


def _event(line: str) -> dict[str, Any]:
    """Return what a line of the log says; of a line into which another thread wrote, that it cannot be read."""
    if not line.startswith("{"):
        return {"event": line.strip()}
    try:
        found: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return {"event": "unreadable line"}
    return found


def _memory_mb(pid: int, kind: str) -> float:
    """Return what the kernel says of a process; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int((re.findall(rf"{kind}:\s+(\d+)", status) or ["0"])[0]) / 1024


def _children(pid: int) -> list[int]:
    told = (task.read_text(encoding="ascii") for task in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for children in told for child in children.split()]


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slope_mb(ticks: Sequence[Tick]) -> float:
    """Return how much memory a tick adds, in MB: least squares over the later half, when caches are full."""
    later = [tick.resident_mb for tick in ticks[len(ticks) // 2 :]]
    if len(later) < 2:
        return 0.0
    middle, mean = (len(later) - 1) / 2, sum(later) / len(later)
    spread = sum((n - middle) ** 2 for n in range(len(later)))
    return sum((n - middle) * (mb - mean) for n, mb in enumerate(later)) / spread


def rows(estate: Estate, ticks: Sequence[Tick]) -> list[Row]:
    """Return the figures; of the first tick, which learns who owns what, nothing but memory counts."""
    later = ticks[1:] or ticks
    whole = [sum(tick.seconds.values()) for tick in later]
    highest, slope = ticks[-1].highest_mb, slope_mb(ticks)
    pods = estate.models * 4 * estate.pods
    return [
        Row("models", estate.models, ""),
        Row("pods", pods, ""),
        Row("ticks", len(ticks), "", f"{TARGET_TICKS}"),
        Row("tick", median(whole), "s", f"<= {TARGET_S:g}", met=median(whole) <= TARGET_S),
        Row("tick-longest", max(whole), "s"),
        Row("processor-time-of-a-tick", (ticks[-1].processor_s - ticks[0].processor_s) / max(1, len(later)), "s"),
        *(Row(f"tick-{step}", median(tick.seconds.get(step, 0.0) for tick in later), "s") for step in STEPS),
        Row("memory-highest", highest, "MB", f"< {TARGET_MB:g}", met=highest < TARGET_MB),
        Row("memory-first", ticks[0].resident_mb, "MB"),
        *(Row(f"memory-{part}", ticks[len(ticks) * n // 4].resident_mb, "MB") for n, part in enumerate(PARTS, 1)),
        Row("memory-last", ticks[-1].resident_mb, "MB"),
        Row("memory-slope", slope, "MB/tick"),
        Row("memory-of-lessons-highest", max(tick.lessons_mb for tick in ticks), "MB"),
        Row(f"memory-after-{TARGET_TICKS}-ticks-at-that-slope", highest + max(0.0, slope) * TARGET_TICKS, "MB"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if a target is missed."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--models", type=int, default=500)
    cli.add_argument("--pods", type=int, default=5, help="of each of a model's four variants")
    cli.add_argument("--ticks", type=int, default=40)
    cli.add_argument("--period", default="1s")
    cli.add_argument("--deadline", default="10s")
    cli.add_argument("--speed", type=float, default=1.0, help="of the controller's clock")
    cli.add_argument("--no-picker", action="store_true", help="all is read from the engines")
    cli.add_argument("--no-log", action="store_true", help="without a decision log")
    wanted = cli.parse_args(arguments)
    estate = Estate(wanted.models, wanted.pods, picker=not wanted.no_picker)
    began = time.monotonic()
    paced = ("--period", wanted.period, "--deadline", wanted.deadline)
    ticks = measured(estate, wanted.ticks, *paced, logged=not wanted.no_log, speed=wanted.speed)
    if not ticks:
        print("the controller ended before its first tick", file=sys.stderr)
        return 1
    found = rows(estate, ticks)
    print(f"{told_rows(found)}\n\nafter {time.monotonic() - began:.0f} s; written: {write('loop', found)}")
    return 1 if any(row.met is False for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
