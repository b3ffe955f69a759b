"""Whether the controller is ready: a tick succeeded lately."""

from autoscaler.domain.record import TickRecord
from autoscaler.domain.units import Instant, Seconds, elapsed


class Health:
    """Remembers when a tick last succeeded, and what failed since."""

    def __init__(self, patience: Seconds) -> None:
        """Be ready as long as the last success is no older than ``patience``."""
        self._patience = patience
        self._last_success: Instant | None = None
        self._complaint = "no tick yet"

    async def publish(self, record: TickRecord) -> None:
        """Take note of a tick."""
        if record.succeeded or record.idle:
            self._last_success = record.observation.at
            self._complaint = ""
        elif record.failures:
            self._complaint = "; ".join(f"{f.step.value}: {f.kind}: {f.detail}" for f in record.failures)
        else:
            gaps = {f"{gap.signal} is {gap.missing.reason.value}" for gap in record.observation.gaps}
            self._complaint = "; ".join(sorted(gaps)) or "no policy was observed"

    def complaint(self, now: Instant) -> str:
        """Return why the controller is not ready; empty when it is."""
        if self._last_success is not None and elapsed(self._last_success, now) <= self._patience:
            return ""
        return self._complaint or "the last tick is too long ago"
