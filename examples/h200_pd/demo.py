"""The controller, whole, on a recording: prints what it wants and why, every 15 s of six minutes under real load.

python -m examples.h200_pd.demo [--output build/demo]
"""

import argparse
import asyncio
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from autoscaler import telemetry
from autoscaler.act.dry_run import DryRunActuator
from autoscaler.cli import wiring
from autoscaler.controller import Controller
from autoscaler.decider import Decider
from autoscaler.domain.observation import Latency, ProfileLoad
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.record import TickRecord
from autoscaler.domain.signal import Missing
from autoscaler.domain.units import Instant, Seconds
from autoscaler.observe.catalogue import Windows
from autoscaler.observe.files import FileFleet
from autoscaler.observe.observer import ClusterObserver
from autoscaler.observe.recording import Recording, load_recording
from autoscaler.publish import document
from autoscaler.publish.file import DecisionLog

HERE = Path(__file__).parent
PERIOD = Seconds(15.0)
RATES_OVER = Seconds(15.0)  # the recording is scraped once a second
FIRST_PHASE = Instant(1795371957.128)
PHASE = Seconds(50.0)
PHASES = 7
PROFILES = ("rag", "reasoning", "chat")

HEAD = """\
Real vLLM 0.26 on H200, one prefill and one decode replica of Qwen3-32B, recorded for six minutes under a moving mix of
three request profiles. The controller sees what it would have seen then, second by second, and says what it wants.
The recording holds no endpoint picker: its per-profile series are derived from the request log (derive_picker.py).
"""

TAIL = """
Next, after `. .venv/bin/activate`:
  autoscaler policy check examples/h200_pd/policy.yaml                  what is wrong or doubtful in a policy
  autoscaler recommend --policy POLICY --prometheus URL                 the same on your cluster, now
  autoscaler recommend ... --from T --to T --step 1m                    and for any past that your Prometheus remembers
  autoscaler run --policy POLICY --prometheus URL                       the loop, in mode Recommend until you say Auto
"""


@dataclass(slots=True)
class Replay:
    """The recording's clock, and a publisher that keeps every tick."""

    moment: Instant
    records: list[TickRecord] = field(default_factory=list)

    def now(self) -> Instant:
        """Return the moment that is being replayed."""
        return self.moment

    async def sleep(self, duration: Seconds) -> None:
        """Let time pass."""
        self.moment = Instant(self.moment + duration)

    async def publish(self, record: TickRecord) -> None:
        """Keep a tick."""
        self.records.append(record)


async def replay(recording: Recording, policy: SLOPolicy) -> list[TickRecord]:
    """Return the ticks of a controller that lives through the recording."""
    world = Replay(Instant(recording.start + PERIOD))
    controller = Controller(
        clock=world,
        observer=ClusterObserver(
            [policy], recording.source(Windows(fast=RATES_OVER)), FileFleet(HERE / "fleet.yaml", [policy])
        ),
        decider=Decider([policy], wiring.priors([policy]), period=PERIOD),
        actuator=DryRunActuator(),
        publisher=world,
    )
    while world.moment <= FIRST_PHASE + PHASES * PHASE:
        await controller.tick()
        await world.sleep(PERIOD)
    return world.records


def phase(at: Instant) -> int:
    """Return the phase, 1 to 7, that a moment lies in; the last moment of a phase belongs to it: a tick looks back."""
    return min(PHASES, max(1, math.ceil((at - FIRST_PHASE) / PHASE - 1e-6)))


def timeline(records: list[TickRecord], policy: SLOPolicy) -> list[dict[str, Any]]:
    """Return the ticks as plain data: wanted and requested replicas and the first reason, by variant."""
    entries = []
    for record in records:
        variants = record.plan.models[policy.key].variants
        requested = {v.name: document.counts(record, policy, v.name)[0] for v in policy.variants}
        entries.append(
            {
                "t_s": round(record.observation.at - FIRST_PHASE, 3),
                "phase": phase(record.observation.at),
                "wanted": {name: plan.target for name, plan in variants.items()},
                "requested": requested,
                "reasons": {name: plan.reasons[0].code.value for name, plan in variants.items()},
            }
        )
    return entries


def table(records: list[TickRecord], policy: SLOPolicy) -> Table:
    """Return the ticks as people read them."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("t", "phase", "requests/s", "TTFT p90, s", "ITL p90, ms", "prefill", "decode", "why"):
        shown.add_column(column, justify="right" if column in {"t", "phase", "prefill", "decode"} else "left")
    mix = "/".join(PROFILES)
    shown.add_row("s", "", mix, mix, mix, "wanted", "wanted", "")
    for record in records:
        loads = record.observation.models[policy.key].loads
        variants = record.plan.models[policy.key].variants
        wanted = {name: plan.target for name, plan in variants.items()}
        more = [f"{name}: {plan.reasons[0].message}" for name, plan in variants.items() if plan.target > 1]
        shown.add_row(
            f"{record.observation.at - FIRST_PHASE:.0f}",
            str(phase(record.observation.at)),
            " / ".join(_rate(loads[name]) for name in PROFILES),
            " / ".join(_latency(loads[name].ttft, 1.0, 2) for name in PROFILES),
            " / ".join(_latency(loads[name].itl, 1000.0, 0) for name in PROFILES),
            *(_emphasised(wanted[name]) for name in ("prefill-h200", "decode-h200")),
            "; ".join(more),
        )
    return shown


def _rate(load: ProfileLoad) -> str:
    rate = load.requests_per_second
    return "?" if isinstance(rate, Missing) else f"{rate:.1f}"


def _latency(latency: Latency | Missing, scale: float, digits: int) -> str:
    return "-" if isinstance(latency, Missing) else f"{scale * latency.p90_s:.{digits}f}"


def _emphasised(wanted: int) -> str:
    return f"[bold red]{wanted}[/]" if wanted > 1 else str(wanted)


async def logged(records: list[TickRecord], policy: SLOPolicy, path: Path) -> Path:
    """Write the ticks as the controller's decision log would hold them."""
    log = DecisionLog(path, [policy])
    for record in records:
        await log.publish(record)
    log.close()
    return path


def main() -> None:
    """Replay, print, and leave the timeline as a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder of timeline.json")
    arguments = parser.parse_args()
    telemetry.configure("warning", as_json=False)
    (policy,) = wiring.policies([HERE / "policy.yaml"])
    console = Console(width=None if Console().is_terminal else 160)
    console.print(HEAD, highlight=False)
    records = asyncio.run(replay(load_recording(HERE), policy))
    console.print(table(records, policy))
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "timeline.json"
    path.write_text(json.dumps(timeline(records, policy), indent=1) + "\n", encoding="utf-8")
    decisions = arguments.output / "decisions.jsonl"
    decisions.unlink(missing_ok=True)
    log = asyncio.run(logged(records, policy, decisions))
    console.print(
        f"\nThe same as data: {path}; every tick whole, for `autoscaler explain --log`: {log}", highlight=False
    )
    console.print(TAIL, highlight=False, markup=False)


if __name__ == "__main__":
    main()
