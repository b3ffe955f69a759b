"""Units that must not be confused: a moment is not a length of time.

Other quantities carry their unit in the name (``kv_use_ratio``, ``prompt_tokens_per_second``).
"""

from typing import NewType

Seconds = NewType("Seconds", float)
"""A length of time."""

Instant = NewType("Instant", float)
"""A moment: seconds since the Unix epoch (in a simulation: since its start)."""

MINUTE = Seconds(60.0)
HOUR = Seconds(3600.0)
DAY = Seconds(86400.0)


def elapsed(since: Instant, until: Instant) -> Seconds:
    """Return the time from one moment to another (negative where the order is reversed)."""
    return Seconds(until - since)


def after(moment: Instant, delay: Seconds) -> Instant:
    """Return the moment that lies ``delay`` after another."""
    return Instant(moment + delay)


def before(moment: Instant, lead: Seconds) -> Instant:
    """Return the moment that lies ``lead`` before another."""
    return Instant(moment - lead)
