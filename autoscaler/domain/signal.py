"""A measurement that may be absent: absent is a state of its own, never zero and never None."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, TypeGuard, TypeVar

from autoscaler.domain.units import Instant

T = TypeVar("T")
U = TypeVar("U")


class GapReason(StrEnum):
    """Why a signal is missing."""

    ABSENT = "absent"  # the source answered, and has no such series
    STALE = "stale"  # the newest sample is too old to act on
    PARTIAL = "partial"  # some replicas that should report do not
    NOT_A_NUMBER = "not-a-number"  # 0/0 and the like: nothing happened from which to compute
    UNREACHABLE = "unreachable"  # the source did not answer
    INCONSISTENT = "inconsistent"  # two sources contradict each other, or a value cannot be


@dataclass(frozen=True, slots=True)
class Missing:
    """A signal that is not there. ``since``: the time of its last good sample, or of the first look at it."""

    reason: GapReason
    since: Instant
    detail: str = ""


Signal: TypeAlias = T | Missing


def is_present(signal: Signal[T]) -> TypeGuard[T]:
    """Tell whether a signal carries a value."""
    return not isinstance(signal, Missing)


def known(signal: Signal[T], otherwise: T) -> T:
    """Return the value of a signal, or a substitute that the caller can justify (never a silent zero)."""
    return otherwise if isinstance(signal, Missing) else signal


def mapped(signal: Signal[T], function: Callable[[T], U]) -> Signal[U]:
    """Apply a function to the value, if there is one."""
    return signal if isinstance(signal, Missing) else function(signal)


def combined(function: Callable[..., U], *signals: Signal[float]) -> Signal[U]:
    """Apply a function to several values; the first missing one decides that the result is missing."""
    for signal in signals:
        if isinstance(signal, Missing):
            return signal
    return function(*signals)


@dataclass(frozen=True, slots=True)
class Gap:
    """A missing signal with its name and whom it concerns, for reasons, logs and ``doctor``."""

    signal: str  # e.g. "request_rate", "kv_use"
    subject: str  # profile, variant or pod; empty: everything
    missing: Missing
    policy: str = ""  # SLOPolicy.key; empty: every policy
