"""`autoscaler` by a clock that runs faster: hours of ticks, each at its true distance by that clock, in minutes.

    python -m benchmarks._hurried 30 run --policy policy.yaml --prometheus http://127.0.0.1:9090

What waits for others (deadlines, answers, watches) waits in true time.
"""

import asyncio
import sys
import time

from autoscaler.cli import app, wiring
from autoscaler.domain.units import Instant, Seconds


class HurriedClock(wiring.WallClock):
    """The real clock at the start; from then on so many times as fast."""

    speed = 1.0
    began = time.time()

    def now(self) -> Instant:
        """Return the present moment of this clock."""
        return Instant(self.began + self.speed * (time.time() - self.began))

    async def sleep(self, duration: Seconds) -> None:
        """Wait, by this clock."""
        await asyncio.sleep(duration / self.speed)


if __name__ == "__main__":
    HurriedClock.speed = float(sys.argv[1])
    wiring.WallClock = HurriedClock  # type: ignore[misc] # the one place where `run` takes its clock from
    app.main(sys.argv[2:])
