"""Writes ``docs/images/status-page.png``: the status page of the recorded run, as Chromium shows it.

The recording lasts six minutes; its ticks are put a quarter of an hour apart, so that the charts show something.
With ``--report FILE`` the picture is of a report that ``autoscaler backtest --report FILE`` (or `make demo`) wrote.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from autoscaler import telemetry
from autoscaler.cli import wiring
from autoscaler.cli.server import serving
from autoscaler.domain.units import MINUTE, Instant, Seconds
from autoscaler.observe.recording import load_recording
from autoscaler.publish.board import Board
from autoscaler.publish.health import Health
from autoscaler.settings import Server
from examples.h200_pd import demo

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "status-page.png"
APART = 15 * MINUTE
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


async def picture(browser: str, path: Path, size: str, extra: tuple[str, ...]) -> None:
    """Serve the page and let a browser save what it shows."""
    (policy,) = wiring.policies([demo.HERE / "policy.yaml"])
    records = await demo.replay(load_recording(demo.HERE), policy)
    board, health = Board([policy]), Health(Seconds(60.0))
    end = records[-1].observation.at
    for before_end, record in zip(range(len(records) - 1, -1, -1), records, strict=True):
        at = Instant(end - before_end * APART)
        await board.publish(replace(record, observation=replace(record.observation, at=at)))
        await health.publish(record)
    clock = demo.Replay(Instant(end + 4.0))
    async with serving(Server("127.0.0.1", 0), health, CollectorRegistry(), clock, board) as port:
        await asyncio.to_thread(saved, browser, f"http://127.0.0.1:{port}/", path, size, extra)


def saved(browser: str, url: str, path: Path, size: str, extra: tuple[str, ...] = ()) -> None:
    """Let a browser save what it shows of an address."""
    with tempfile.TemporaryDirectory() as profile:
        wanted = (f"--user-data-dir={profile}", f"--window-size={size}", f"--screenshot={path}")
        subprocess.run([browser, *OPTIONS, *extra, *wanted, url], check=True, capture_output=True, timeout=60)


def main() -> int:
    """Write the picture and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.picture_of_page", description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURE)
    parser.add_argument("--size", default="1180,1060", help="of the window: width,height")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--report", type=Path, help="show this report instead")
    chosen = parser.parse_args()
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        print(f"none of {', '.join(BROWSERS)} is installed", file=sys.stderr)
        return 1
    telemetry.configure("warning", as_json=False)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    extra = ("--blink-settings=preferredColorScheme=0",) if chosen.dark else ()
    if chosen.report is not None:
        saved(browser, chosen.report.resolve().as_uri(), chosen.output.resolve(), chosen.size, extra)
        return 0
    asyncio.run(picture(browser, chosen.output.resolve(), chosen.size, extra))
    return 0


if __name__ == "__main__":
    sys.exit(main())
