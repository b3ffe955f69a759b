"""Lengths of time as Kubernetes writes them: ``300ms``, ``2s``, ``5m``, ``1h30m``."""

import re

from autoscaler.domain.units import Seconds

PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
LONGEST = Seconds(100 * 365 * 86400.0)  # a century; Kubernetes stops at 292 years
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}  # whole, so that 300ms is exactly 0.3 s
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(PATTERN, re.ASCII)


def parse(text: str) -> Seconds:
    """Return the seconds that a duration such as ``1h30m`` means.

    Raises:
        ValueError: the text is no duration, or one beyond a century.
    """
    if not _WHOLE.fullmatch(text):
        msg = "is no duration; write a number with its unit, such as 300ms, 2s, 5m or 1h30m"
        raise ValueError(msg)
    seconds = sum(float(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text)) / 1000
    if seconds > LONGEST:
        msg = "is longer than a century; shorten it"
        raise ValueError(msg)
    return Seconds(seconds)


def render(duration: Seconds) -> str:
    """Write a duration as Go and Kubernetes do (``50ms``, ``1.5s``, ``1h30m``), exact to the millisecond."""
    hours, rest_ms = divmod(round(duration * 1000), _UNIT_MS["h"])
    minutes, rest_ms = divmod(rest_ms, _UNIT_MS["m"])
    whole = "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m")) if count)
    if not rest_ms:
        return whole or "0s"
    return f"{whole}{rest_ms / 1000:g}s" if whole or rest_ms >= 1000 else f"{rest_ms}ms"
