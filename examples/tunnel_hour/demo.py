"""An hour of real chat traffic in the wind tunnel: this autoscaler against HPA and the clairvoyant bound.

python -m examples.tunnel_hour.demo [--output build/demo]
"""

import argparse
import shlex
from pathlib import Path

from rich.console import Console

from autoscaler.cli.app import app

HERE = Path(__file__).parent
TRACE = "azure2023-chat.csv.gz"

HEAD = """\
An hour of real arrivals and lengths (Azure, 2023: 19,366 chat requests), served in the simulator by prefill and decode
pools of Qwen3-32B on H200 that start in two minutes: this autoscaler, HPA as shipped, and the cheapest schedule that
knows the future. "to bound" is the cost over that schedule's; "lost" counts requests that a deletion cut off.
"""


def command(report: Path) -> list[str]:
    """Return the backtest that the demo runs, as anyone would type it behind ``autoscaler``."""
    here = HERE.relative_to(Path.cwd()) if HERE.is_relative_to(Path.cwd()) else HERE
    return [
        "backtest", "--policy", str(here / "policy.yaml"), "--trace", str(here / TRACE), "--against", "hpa",
        "--startup", "120", "--report", str(report),
    ]  # fmt: skip


def main() -> None:
    """Fly, show, and name the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder of the report")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    report = arguments.output / "tunnel-hour.html"
    console = Console()
    console.print(HEAD, highlight=False, markup=False, soft_wrap=True)
    console.print(f"$ autoscaler {shlex.join(command(report))}\n", highlight=False, markup=False, soft_wrap=True)
    app(args=command(report), standalone_mode=False)
    console.print(f"\nWhat happened, minute by minute, and every chart: {report}", highlight=False, markup=False)


if __name__ == "__main__":
    main()
